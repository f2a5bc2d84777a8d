//! Texts, read as a key, a chain, a price, an address, a role, and as a client's arguments.

#![no_main]

#[path = "../../tests/parsers/properties/mod.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|text: &str| {
    properties::words::word(text);
});
