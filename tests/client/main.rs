//! The client, played against a store of a test's own: as a library, and as the executable.

mod gates;
mod program;
mod reports;
mod series;
mod shopping;
mod store;
