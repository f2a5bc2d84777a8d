//! The client against a small store that each test configures: as a library and as the executable.

mod answers;
mod program;
mod reports;
mod series;
mod shopping;
mod store;
mod thresholds;
