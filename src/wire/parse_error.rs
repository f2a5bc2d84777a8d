//! What a parser has to complain of, in words for people who need not know Rust.
//!
//! The parsers name what they expected after Rust's types (`u64`, `struct Nomination`), quote what
//! they were given as it is, and may take several lines for it. Whoever reads the answer of a
//! server or the last words of a process wants one line that a terminal prints as it stands.

use std::fmt;

/// The most characters of a parse error; what was given may be a whole body.
const LONGEST: usize = 400;
/// What comes before the names that are Rust's, not the reader's.
const EXPECTED: &str = "expected ";
/// Rust's kinds of types, each of which is an object (or a table) or one of several words.
const KINDS: [&str; 8] = [
    "tuple struct ",
    "unit struct ",
    "newtype struct ",
    "struct variant ",
    "tuple variant ",
    "newtype variant ",
    "unit variant ",
    "struct ",
];

/// A parse error in one line of plain words; `object` is what the format calls a thing with
/// named fields.
#[must_use]
pub fn in_plain_words(parse_error: &impl fmt::Display, object: &str) -> String {
    let parse_error = parse_error.to_string();
    // What was given stands before what was expected, and may say anything.
    let plain = match parse_error.rfind(EXPECTED) {
        Some(place) => {
            let (given, expected) = parse_error.split_at(place + EXPECTED.len());
            format!("{given}{}", expectation(expected, object))
        }
        None => parse_error,
    };
    let mut line = String::new();
    for (count, letter) in plain.chars().enumerate() {
        match letter {
            _ if count == LONGEST => {
                line.push('…');
                break;
            }
            '\n' => line.push_str("; "),
            letter if letter.is_control() => line.extend(letter.escape_default()),
            letter => line.push(letter),
        }
    }
    line
}

/// What was expected, without the names that Rust has for it.
fn expectation(expected: &str, object: &str) -> String {
    let numbers = [
        ("u64", "a whole number from 0 on"),
        ("usize", "a whole number from 0 on"),
        ("u32", "a whole number from 0 to 4294967295"),
        ("f64", "a number"),
    ];
    for (name, plain) in numbers {
        if let Some(rest) = expected.strip_prefix(name) {
            return format!("{plain}{rest}");
        }
    }
    if let Some(rest) = expected.strip_prefix("enum ") {
        return format!("one of the words for it{}", after_name(rest));
    }
    for kind in KINDS {
        if let Some(rest) = expected.strip_prefix(kind) {
            return format!("{object}{}", after_name(rest));
        }
    }
    expected.to_owned()
}

/// What follows a type's name, such as ` at line 1 column 7`.
fn after_name(text: &str) -> &str {
    text.trim_start_matches(|letter: char| letter.is_alphanumeric() || "_:".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::purchase::CommitReply;
    use crate::wire::replication::{Acquisition, AcquisitionReply, CatalogStatus};

    fn parse_error<T: serde::de::DeserializeOwned>(json: &str) -> String {
        let error = serde_json::from_str::<T>(json).err().expect("it is no such thing");
        in_plain_words(&error, "an object")
    }

    #[test]
    fn types_have_names_that_people_know() {
        for (parse_error, plain) in [
            (parse_error::<Acquisition>("7"), "expected an object at line 1"),
            (parse_error::<Acquisition>(r#"{"nominee":-1}"#), "expected a whole number from 0 to"),
            (parse_error::<CatalogStatus>(r#"{"leadership":7}"#), "expected an object at line 1"),
            (parse_error::<AcquisitionReply>("7"), "expected value at line 1"),
            (parse_error::<CommitReply>(r#"{"decided":7}"#), "expected an object at line 1"),
            (parse_error::<f64>("{}"), "expected a number at line 1"),
        ] {
            assert!(parse_error.contains(plain), "{parse_error}");
        }
    }

    #[test]
    fn what_was_given_is_told_in_one_line_and_not_at_any_length() {
        assert_eq!(in_plain_words(&"a\nb\u{1b}[2J\r", ""), "a; b\\u{1b}[2J\\r");
        assert_eq!(in_plain_words(&"x".repeat(1 << 20), "").chars().count(), LONGEST + 1);
        assert_eq!(
            in_plain_words(&"`expected u64`, expected u64", ""),
            "`expected u64`, expected a whole number from 0 on"
        );
    }
}
