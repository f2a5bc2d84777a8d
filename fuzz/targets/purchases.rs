//! Bytes, read as the body of a client's purchase.

#![no_main]

#[path = "../../tests/parsers/properties/mod.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    properties::bodies::purchase(bytes);
});
