//! Turns a parser's error message into one line of plain English.
//!
//! The JSON and TOML parsers name what they expected after Rust's types (`u64`, `struct
//! Nomination`), quote the input with its control characters, and may use several lines. The
//! reader of an error reply or of a log need not know Rust, and wants one line that is safe to
//! print on a terminal.

use std::fmt;

/// The most characters of a message, which may quote a whole body. The last one may be escaped.
const LONGEST: usize = 400;
/// What stands before the names of Rust's types.
const EXPECTED: &str = "expected ";
/// Rust's kinds of types, each of which the reader knows as an object or a table.
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

/// Rewrites a parser's message. `object` is the format's word for a value with named fields, such
/// as "a table".
#[must_use]
pub fn in_plain_words(parse_error: &impl fmt::Display, object: &str) -> String {
    let parse_error = parse_error.to_string();
    // The input is quoted before what was expected, and may contain the same word.
    let plain = match parse_error.rfind(EXPECTED) {
        Some(place) => {
            let (given, expected) = parse_error.split_at(place + EXPECTED.len());
            format!("{given}{}", expectation(expected, object))
        }
        None => parse_error,
    };
    let mut line = String::new();
    // An escaped letter has up to nine characters.
    let mut length = 0;
    for letter in plain.chars() {
        if length >= LONGEST {
            line.push('…');
            break;
        }
        let begin = line.len();
        match letter {
            '\n' => line.push_str("; "),
            letter if letter.is_control() => line.extend(letter.escape_default()),
            letter => line.push(letter),
        }
        length += line[begin..].chars().count();
    }
    line
}

/// Describes what was expected without Rust's names for it.
fn expectation(expected: &str, object: &str) -> String {
    let numbers = [
        ("u64", "a whole number, 0 or more"),
        ("usize", "a whole number, 0 or more"),
        ("u32", "a whole number from 0 to 4294967295"),
        ("a nonzero u32", "a whole number from 1 to 4294967295"),
        ("f64", "a number"),
    ];
    for (name, plain) in numbers {
        if let Some(rest) = expected.strip_prefix(name) {
            return format!("{plain}{rest}");
        }
    }
    if let Some(rest) = expected.strip_prefix("enum ") {
        return format!("one of the allowed words{}", after_name(rest));
    }
    for kind in KINDS {
        if let Some(rest) = expected.strip_prefix(kind) {
            return format!("{object}{}", after_name(rest));
        }
    }
    expected.to_owned()
}

/// Returns what follows a type's name, such as ` at line 1 column 7`.
fn after_name(text: &str) -> &str {
    text.trim_start_matches(|letter: char| letter.is_alphanumeric() || "_:".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::purchase::CommitReply;
    use crate::wire::replication::{Acquisition, AcquisitionReply, CatalogStatus};

    fn parse_error<T: serde::de::DeserializeOwned>(json: &str) -> String {
        let error = serde_json::from_str::<T>(json).err().expect("the body is invalid");
        in_plain_words(&error, "an object")
    }

    #[test]
    fn rusts_types_are_named_in_plain_english() {
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
    fn the_message_is_one_line_of_a_limited_length() {
        assert_eq!(in_plain_words(&"a\nb\u{1b}[2J\r", ""), "a; b\\u{1b}[2J\\r");
        assert_eq!(in_plain_words(&"x".repeat(1 << 20), "").chars().count(), LONGEST + 1);
        let escaped = in_plain_words(&"\u{7f}".repeat(LONGEST), "");
        assert!((LONGEST..LONGEST + 10).contains(&escaped.chars().count()), "{escaped}");
        assert_eq!(
            in_plain_words(&"`expected u64`, expected u64", ""),
            "`expected u64`, expected a whole number, 0 or more"
        );
    }
}
