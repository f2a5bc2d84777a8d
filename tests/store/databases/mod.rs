//! The catalog's database on both engines: one suite for what every storage must do, and what
//! PostgreSQL's servers may do to it.

mod encrypted;
mod faults;
mod moved;
mod opened;
mod storage;
