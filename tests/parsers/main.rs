//! Every parser of what comes from outside, under inputs that no author thought of: bodies,
//! headers, paths, arguments, `roles.toml`, databases, and bytes that are not HTTP.
//!
//! What must hold is in `properties`; here the inputs are drawn: valid ones from descriptions of
//! what is allowed, near misses by changing valid ones, and anything at all. An input for which a
//! property does not hold is made as small as it can be, printed, and kept (in
//! `tests/proptest-regressions`, to be committed), so that it is tried first from then on. `fuzz/`
//! has the same properties for a fuzzer.

#[path = "../support/eventually.rs"]
mod eventually;
#[path = "../support/neighbours/mod.rs"]
mod neighbours;
mod properties;

mod arguments;
mod bodies;
mod changes;
mod databases;
mod frames;
mod inputs;
mod liveness;
mod peers;
mod roles;
mod servers;
mod texts;
mod wrong_answers;
