//! What must hold of each parser, whatever it is given: the properties themselves, apart from where
//! the inputs come from. The tests draw inputs from descriptions of them (`proptest`); the targets
//! in `fuzz/` have inputs grown by a fuzzer, and share this folder.
//!
//! None of the parsers may panic. What one accepts is within the contract, and means the same after
//! it was printed and read again; what it refuses, it refuses in a sentence for people.

#![allow(dead_code, reason = "each user of this uses a part of it")]

pub(crate) mod bodies;
pub(crate) mod http;
pub(crate) mod roles;
pub(crate) mod words;

/// A parse error says something, in one line that a terminal shows as it is, of bearable length.
pub(crate) fn is_clear(parse_error: &str) {
    assert!(!parse_error.trim().is_empty(), "nothing is said");
    assert!(!parse_error.contains(char::is_control), "not one plain line: {parse_error:?}");
    assert!(parse_error.chars().count() <= 1_000, "too long to be read: {parse_error}");
}

/// A parse error of something whose own words are harmless names no type of Rust's, either.
pub(crate) fn is_plain(parse_error: &str) {
    is_clear(parse_error);
    let words = parse_error.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != ':');
    for word in words {
        let type_of_rust =
            ["u8", "u16", "u32", "u64", "usize", "i32", "i64", "f64", "Option", "Vec"];
        let is_rust = type_of_rust.contains(&word) || word.contains("::");
        assert!(!is_rust, "only Rust calls it {word}: {parse_error}");
    }
    for phrase in ["struct ", "tuple of", "enum ", "newtype ", "Spanned"] {
        assert!(!parse_error.contains(phrase), "only Rust says {phrase}: {parse_error}");
    }
}
