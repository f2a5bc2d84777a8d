//! What is read out of headers, paths, arguments and the fields of bodies.

use std::str::FromStr;

use actix_web::http::Uri;
use toystore::client::core::schedule::{Rate, RunTime};
use toystore::client::core::shopper::Probability;
use toystore::roles::{Address, Role};
use toystore::wire::order::Chain;
use toystore::wire::purchase::IdempotencyKey;
use toystore::wire::toy::Price;

use super::is_clear;

/// A text read as every word there is.
pub(crate) fn word(text: &str) {
    key(text.as_bytes());
    chain(text);
    address(text);
    role(text);
    arguments(text);
    if let Ok(amount) = text.parse() {
        price(amount);
    }
}

/// A client's idempotency key is 1 to 255 visible ASCII characters, in a namespace of its own.
pub(crate) fn key(bytes: &[u8]) {
    let fits = (1..=255).contains(&bytes.len()) && bytes.iter().all(|b| (0x21..=0x7e).contains(b));
    match IdempotencyKey::from_client(bytes) {
        Some(key) => {
            assert!(fits, "{bytes:?} was a key");
            let kept = key.as_str().strip_prefix("client:").expect("a namespace of its own");
            assert_eq!(kept.as_bytes(), bytes);
        }
        None => assert!(!fits, "{bytes:?} was no key"),
    }
}

/// A chain is 32 hexadecimal digits.
pub(crate) fn chain(text: &str) {
    let fits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.parse::<Chain>() {
        Ok(chain) => {
            assert!(fits, "{text:?} was a chain");
            assert_eq!(chain.to_string(), text.to_ascii_lowercase());
        }
        Err(problem) => {
            assert!(!fits, "{text:?} was no chain");
            is_clear(problem);
        }
    }
}

/// A price is above 0, at most a million, in whole cents, and printed as it was read.
pub(crate) fn price(amount: f64) {
    let Some(price) = Price::from_decimal(amount) else { return };
    assert!((1..=100_000_000).contains(&price.cents()), "{amount} was {price:?}");
    assert_eq!(Price::from_decimal(price.as_decimal()), Some(price));
    assert_eq!(serde_json::json!(price.as_decimal()), serde_json::json!(amount));
}

/// An address is a host and a port that a URL can have.
pub(crate) fn address(text: &str) {
    match Address::try_from(text.to_owned()) {
        Ok(address) => {
            assert_eq!(address.as_str(), text);
            let url: Uri = format!("http://{address}/").parse().expect("a URL can have it");
            let authority = url.authority().expect("it has a host");
            assert_eq!(authority.as_str(), text);
            assert!(url.port_u16().is_some_and(|port| port > 0), "{text}");
        }
        Err(problem) => is_clear(&problem.replace(&format!("{text:?}"), "")),
    }
}

/// A role that was read is printed as what is read as the same.
pub(crate) fn role(text: &str) {
    match text.parse::<Role>() {
        Ok(role) => assert_eq!(role.to_string().parse(), Ok(role), "{text}"),
        Err(problem) => assert!(problem.contains(text)),
    }
}

/// A client's numbers are within their bounds.
pub(crate) fn arguments(text: &str) {
    within(text, |rate: Rate| rate.per_second() > 0.0 && rate.per_second() <= 1_000_000.0);
    within(text, |time: RunTime| time.get().as_secs() <= 7 * 24 * 3_600);
    within(text, |probability: Probability| (0.0..=1.0).contains(&probability.get()));
}

fn within<T: FromStr<Err = String>>(text: &str, is_within: impl Fn(T) -> bool) {
    match text.parse() {
        Ok(number) => assert!(is_within(number), "{text:?} was taken"),
        Err(problem) => is_clear(&problem),
    }
}
