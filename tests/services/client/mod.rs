//! The client against a [fake store](crate::fake_store): as a library and as the executable.

mod answers;
mod program;
mod reports;
mod series;
mod shopping;
mod thresholds;
