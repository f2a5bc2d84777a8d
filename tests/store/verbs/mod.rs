//! The verbs that run a whole store (`toystore up`, `down`, `status`, …) on real processes, each
//! test with a `roles.toml`, a folder and addresses of its own.

pub(crate) mod command;
mod demo;
mod descriptors;
mod each_verb;
mod foreground;
mod guard;
mod lab;
mod lost_files;
mod manual;
mod marks;
