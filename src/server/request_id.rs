//! `X-Request-Id`, by which one request is followed through all roles.

use actix_web::http::header::{HeaderMap, HeaderValue};

use crate::transport::REQUEST_ID;
use crate::wire::trace::{RequestOrigin, write_digits};

/// Returns the client's id, if it is usable: 1 to 255 printable ASCII characters.
pub(super) fn sent(headers: &HeaderMap) -> Option<&HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    id.to_str().is_ok_and(RequestOrigin::takes).then_some(id)
}

/// Returns the level at which a role logs that it works on a request. A client that sent an id will
/// look for it; drawn ids are as many as requests.
#[must_use]
pub fn log_level(origin: &RequestOrigin) -> log::Level {
    if origin.is_named_by_client { log::Level::Info } else { log::Level::Debug }
}

/// Logs what a role is asked for on behalf of a client's request.
pub fn log_query(origin: &RequestOrigin, asked: impl FnOnce() -> String) {
    let level = log_level(origin);
    if !origin.is_unknown() && log::log_enabled!(level) {
        log::log!(level, "{origin} asks for {}", asked());
    }
}

/// Draws an id: 16 hexadecimal digits.
pub(super) fn draw() -> String {
    String::from_utf8(digits().to_vec()).expect("hexadecimal digits are text")
}

/// Draws an id, as a header.
pub(super) fn draw_header() -> HeaderValue {
    HeaderValue::from_bytes(&digits()).expect("hexadecimal digits fit in a header")
}

fn digits() -> [u8; 16] {
    let mut digits = [0; 16];
    write_digits(&mut digits, rand::random::<u64>().into());
    digits
}
