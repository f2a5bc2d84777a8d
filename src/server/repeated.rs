//! What a reply repeats of its request: its id, and the key of a purchase.
//!
//! Most replies have both from the services. What no service sees repeats them as far as the
//! request's head was read.

use super::body::IDEMPOTENCY_KEY;
use super::request_id;
use crate::transport::REQUEST_ID;
use crate::wire::purchase::IdempotencyKey;
use crate::wire::trace::RequestOrigin;

/// What a reply repeats. What a client did not send is drawn.
#[derive(Debug)]
pub(super) struct Repeated {
    pub(super) id: String,
    pub(super) key: Option<String>,
}

impl Repeated {
    /// Reads the whole lines of `head`, which may break off, or be no head.
    pub(super) fn of(head: &[u8]) -> Self {
        let mut lines = head.split_inclusive(|byte| *byte == b'\n').filter_map(|line| {
            Some(line.strip_suffix(b"\n")?.trim_ascii_end()) // One that breaks off says nothing.
        });
        let request = lines.next().and_then(|line| std::str::from_utf8(line).ok());
        let mut words = request.unwrap_or_default().split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (mut id, mut key) = (None, None);
        for line in lines.take_while(|line| !line.is_empty()) {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.eq_ignore_ascii_case(REQUEST_ID.as_str().as_bytes()) {
                let usable = std::str::from_utf8(value).ok().filter(|id| RequestOrigin::takes(id));
                id = id.or(usable);
            } else if name.eq_ignore_ascii_case(IDEMPOTENCY_KEY.as_str().as_bytes()) {
                key = key.or(Some(value));
            }
        }
        let path = target.split('?').next().unwrap_or_default();
        let key = self::key(is_purchase(method, path), key);
        Self {
            id: id.map_or_else(request_id::draw, str::to_owned),
            key: key.map(|key| key.as_sent().to_owned()),
        }
    }
}

/// Returns whether a request is a purchase.
pub(super) fn is_purchase(method: &str, path: &str) -> bool {
    method == "POST" && path.strip_suffix('/').unwrap_or(path) == "/orders"
}

/// Returns the key for a reply: the one that was sent, if it is usable; for a purchase without one,
/// a fresh one.
pub(super) fn key(is_purchase: bool, sent: Option<&[u8]>) -> Option<IdempotencyKey> {
    match sent {
        Some(sent) => IdempotencyKey::from_client(sent),
        None => is_purchase.then(|| IdempotencyKey::from_random(rand::random())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PURCHASE: &str = "POST /orders HTTP/1.1\r\nHost: a\r\nX-REQUEST-ID:  two words \r\n\
                            Idempotency-Key: k\r\n\r\n{}\r\nX-Request-Id: other\r\n";

    #[test]
    fn the_id_and_the_key_that_were_sent_come_back() {
        let Repeated { id, key } = Repeated::of(PURCHASE.as_bytes());
        assert_eq!((id.as_str(), key.as_deref()), ("two words", Some("k")));
    }

    #[test]
    fn what_was_not_sent_is_drawn_and_only_a_purchase_has_a_key() {
        let of = |text: &str| Repeated::of(text.as_bytes());
        let drawn = of("POST /orders/ HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((drawn.id.len(), drawn.key.is_some()), (16, true));
        assert_eq!(of("GET /orders HTTP/1.1\r\nHost: a\r\n\r\n").key, None);
        assert_eq!(of("").key, None);
        let unusable = "POST /orders HTTP/1.1\r\nIdempotency-Key: a b\r\nX-Request-Id: \r\n\r\n";
        assert_eq!((of(unusable).id.len(), of(unusable).key), (16, None));
    }

    #[test]
    fn a_head_that_breaks_off_anywhere_says_no_half_of_anything() {
        for length in 0..PURCHASE.len() {
            let Repeated { id, key } = Repeated::of(&PURCHASE.as_bytes()[..length]);
            assert!(id == "two words" || id.len() == 16, "{length}: {id}");
            assert!(key.is_none_or(|key| key == "k" || key.starts_with("random:")), "{length}");
        }
    }
}
