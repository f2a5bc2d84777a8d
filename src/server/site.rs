//! Keeps web pages of other sites from changing anything.
//!
//! A browser sends a `POST` with a plain body to any address that a page names, also to a store on
//! the machine that the browser runs on. It says where the page is from: `Origin` with every
//! `POST`, and `Sec-Fetch-Site`. Programs send neither.

use actix_web::HttpRequest;
use actix_web::http::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};

use super::reply::ErrorReply;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses a request that a page of another site sent.
///
/// # Errors
///
/// 403 if the `Origin` is not this server as the request names it in `Host`, or if `Sec-Fetch-Site`
/// is `cross-site`.
pub fn refuse_other_sites(request: &HttpRequest) -> Result<(), ErrorReply> {
    let headers = request.headers();
    let is_cross_site =
        headers.get_all(FETCH_SITE).any(|site| site.as_bytes().eq_ignore_ascii_case(b"cross-site"));
    let host = host(headers);
    if is_cross_site || headers.get_all(ORIGIN).any(|origin| !is_of(origin, host)) {
        return Err(ErrorReply::OtherSite);
    }
    Ok(())
}

fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(HOST)?.to_str().ok()
}

/// Whether an origin, such as `http://127.0.0.1:8080`, is the host. (A proxy in front may speak
/// HTTPS; the scheme is not compared.)
fn is_of(origin: &HeaderValue, host: Option<&str>) -> bool {
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let (Some((scheme, authority)), Some(host)) = (origin, host) else { return false };
    let default_port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let plain = |name: &str| name.strip_suffix(default_port).unwrap_or(name).to_ascii_lowercase();
    plain(authority) == plain(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_the_host_with_or_without_the_default_port() {
        for (origin, host, is_same) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080", true),
            ("http://Store.example", "store.example:80", true),
            ("https://store.example:443", "store.example", true),
            ("http://store.example:443", "store.example", false),
            ("http://127.0.0.1:8081", "127.0.0.1:8080", false),
            ("http://127.0.0.1", "127.0.0.1:8080", false),
            ("http://evil.example", "127.0.0.1:8080", false),
            ("null", "127.0.0.1:8080", false),
            ("", "", false),
        ] {
            let origin = HeaderValue::from_static(origin);
            assert_eq!(is_of(&origin, Some(host)), is_same, "{origin:?} at {host}");
        }
        assert!(!is_of(&HeaderValue::from_static("http://a"), None));
    }
}
