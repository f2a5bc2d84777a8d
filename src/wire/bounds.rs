//! The bounds of texts and lists in messages between roles, checked where a message is parsed.
//!
//! A message of valid JSON may be as long as a body may be, with a key of megabytes in it. What no
//! honest role sends is refused here, before it is stored, logged or passed on.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use super::toy::ToyName;

/// The most characters of an `X-Request-Id`.
pub const LONGEST_REQUEST_ID: usize = 255;

/// Parses a text without first copying it into a `String`.
pub(super) fn text<'de, T, E, D>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, D::Error>
where
    E: fmt::Display,
    D: Deserializer<'de>,
{
    deserializer.deserialize_str(Parse(parse, PhantomData))
}

struct Parse<F, O>(F, PhantomData<O>);

impl<T, E: fmt::Display, F: FnOnce(&str) -> Result<T, E>> Visitor<'_> for Parse<F, (T, E)> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<D: de::Error>(self, text: &str) -> Result<T, D> {
        (self.0)(text).map_err(D::custom)
    }
}

/// Reads a list of at most `MOST` entries.
pub(super) fn list<'de, const MOST: u64, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let list = Vec::deserialize(deserializer)?;
    if list.len() as u64 > MOST {
        let problem = format_args!("{} entries are too many, at most {MOST}", list.len());
        return Err(de::Error::custom(problem));
    }
    Ok(list)
}

/// Reads a toy's name that `roles.toml` could have.
pub(super) fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ToyName, D::Error> {
    text(deserializer, |name| match name.len() {
        ..=ToyName::LONGEST => Ok(ToyName::from(name)),
        length => Err(format!("a toy's name has at most {} bytes, not {length}", ToyName::LONGEST)),
    })
}

/// Reads an `X-Request-Id`, if there is one.
pub(super) fn request_id<'de, D>(deserializer: D) -> Result<Option<String>, D::Error>
where
    D: Deserializer<'de>,
{
    let id = Option::<String>::deserialize(deserializer)?;
    if id.as_deref().is_none_or(is_request_id) {
        return Ok(id);
    }
    Err(de::Error::custom("a request id has 1 to 255 printable ASCII characters"))
}

/// Whether a text is a request id: what a client may send, roles pass on.
pub(super) fn is_request_id(text: &str) -> bool {
    let is_printable = |byte| matches!(byte, b' '..=b'~');
    (1..=LONGEST_REQUEST_ID).contains(&text.len()) && text.bytes().all(is_printable)
}

/// Whether a text has 1 to `most` characters, all of them visible ASCII.
pub(super) fn is_visible(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use crate::wire::purchase::{CommitRequest, IdempotencyKey, MOST_IN_BATCH, Purchase};
    use crate::wire::toy::ToyName;
    use crate::wire::trace::RequestOrigin;

    fn purchase(key: &str, name: &str, more: &str) -> serde_json::Result<Purchase> {
        let key = serde_json::json!(key);
        serde_json::from_str(&format!(r#"{{"key":{key},"name":"{name}","quantity":1{more}}}"#))
    }

    #[test]
    fn texts_that_no_role_sends_are_refused() {
        let longest = "k".repeat(IdempotencyKey::LONGEST_STORED);
        let name = "n".repeat(ToyName::LONGEST);
        assert!(purchase(&longest, &name, "").is_ok());
        assert!(purchase(&format!("{longest}k"), "Tux", "").is_err());
        assert!(purchase("client:a", &format!("{name}n"), "").is_err());
        for key in ["", "client:a b", "client:\u{1}", "client:ü"] {
            assert!(purchase(key, "Tux", "").is_err(), "{key:?} was read as a key");
        }
        let origin = |id: &str| {
            serde_json::from_str::<RequestOrigin>(&format!(r#"{{"request_id":"{id}"}}"#))
        };
        assert!(origin(&"i".repeat(255)).is_ok());
        assert!(origin("two words, 'quoted'").is_ok());
        assert!(origin(&"i".repeat(256)).is_err() && origin("").is_err());
        assert!(origin("a tab\\t").is_err() && origin("ü").is_err());
    }

    #[test]
    fn a_batch_has_at_most_as_many_purchases_as_a_leader_sends() {
        let batch = |count: usize| {
            let one = r#"{"key":"client:a","name":"Tux","quantity":1}"#;
            let start = r#""log":{"length":0,"chain":"00000000000000000000000000000000"}"#;
            let purchases = vec![one; count].join(",");
            let text = format!(r#"{{"leader":1,"epoch":1,{start},"purchases":[{purchases}]}}"#);
            serde_json::from_str::<CommitRequest>(&text)
        };
        assert!(batch(MOST_IN_BATCH).is_ok());
        let problem = batch(MOST_IN_BATCH + 1).unwrap_err().to_string();
        assert!(problem.starts_with("257 entries are too many, at most 256"), "{problem}");
    }
}
