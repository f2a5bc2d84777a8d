//! Texts, read as `roles.toml`.

#![no_main]

#[path = "../../tests/parsers/properties/mod.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _either = properties::roles::text(text);
});
