//! Bytes, read as the body of every request and reply there is.

#![no_main]

#[path = "../../tests/parsers/properties/mod.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    properties::bodies::bytes(bytes);
});
