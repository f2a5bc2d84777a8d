//! The verbs that run a whole store (`toystore up`, `down`, `status`, …) on real processes, each
//! test with a `roles.toml`, a folder and addresses of its own.

#[path = "../processes/mod.rs"]
mod processes;
mod store;

mod demo;
mod descriptors;
mod foreground;
mod lost_files;
mod marks;
mod verbs;
