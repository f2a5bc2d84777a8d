//! Keeps web pages of other sites from changing anything, and from reading what they should not.
//!
//! A browser sends a `POST` with a plain body to any address that a page names, also to a store on
//! the machine that the browser runs on. It says where the page is from: `Origin` with every
//! `POST`, and `Sec-Fetch-Site`. Programs send neither.
//!
//! A page can also have its own name resolve to a loopback address after it was loaded (*DNS
//! rebinding*). The browser then takes the store for the page's own site, and lets it read the
//! answers. But the browser still sends the page's name as `Host`:
//!
//! ```text
//! a page of evil.example     DNS: evil.example is 127.0.0.1 now
//!   | GET /internal/toys, Host: evil.example:8081
//!   |------------------------------------------------► 421
//! ```

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::dev::ServiceRequest;
use actix_web::http::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};

use super::reply::ErrorReply;
use crate::roles::Host;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// What a browser says of a request by a page of this very address, and of one by a person. (Pages
/// of the same host on another port are of the "same site", and not this store's.)
const OWN_SITES: [&[u8]; 2] = [b"same-origin", b"none"];

/// The hosts that requests to a role may name.
#[derive(Clone, Debug)]
pub(super) enum KnownHosts {
    /// Beyond the loopback addresses: every host, since names and tunnels that lead here are not
    /// known, and whatever can reach the address can make requests anyway.
    Every,
    /// On a loopback address: its names, which are these and those of [`names_loopback`].
    These {
        /// The address and the port, as nearly all clients send them.
        usual: Arc<str>,
        others: Arc<[Host]>,
    },
}

impl KnownHosts {
    /// For a role that listens on `address` and is known as `hosts`.
    pub(super) fn new(address: SocketAddr, hosts: &[Host]) -> Self {
        if !address.ip().to_canonical().is_loopback() {
            return Self::Every;
        }
        Self::These { usual: address.to_string().into(), others: hosts.into() }
    }

    /// Refuses a request to a host that is not known. A request without `Host`, as HTTP/1.0 has
    /// them, is by no browser.
    ///
    /// # Errors
    ///
    /// 421.
    pub(super) fn check(&self, request: &ServiceRequest) -> Result<(), ErrorReply> {
        let Self::These { usual, others } = self else { return Ok(()) };
        let sent = request.headers().get_all(HOST).map(HeaderValue::as_bytes);
        let target = request.uri().authority().map(|authority| authority.as_str().as_bytes());
        let is_known = |authority| authority == usual.as_bytes() || is_known(authority, others);
        if sent.chain(target).all(is_known) {
            return Ok(());
        }
        Err(ErrorReply::OtherHost)
    }
}

/// Refuses a request that a page of another site sent.
///
/// # Errors
///
/// 403 if the `Origin` is not this server as the request names it in `Host`, or if `Sec-Fetch-Site`
/// is of another site.
pub fn refuse_other_sites(request: &HttpRequest) -> Result<(), ErrorReply> {
    let headers = request.headers();
    let is_own =
        |site: &HeaderValue| OWN_SITES.iter().any(|own| site.as_bytes().eq_ignore_ascii_case(own));
    let host = host(headers);
    if headers.get_all(FETCH_SITE).all(is_own)
        && headers.get_all(ORIGIN).all(|origin| is_of(origin, host))
    {
        return Ok(());
    }
    Err(ErrorReply::OtherSite)
}

/// Whether an authority, such as `127.0.0.1:8080`, names a loopback address or one of `known`.
fn is_known(authority: &[u8], known: &[Host]) -> bool {
    let host = std::str::from_utf8(authority).ok().and_then(without_port);
    host.is_some_and(|host| {
        names_loopback(host) || known.iter().any(|it| it.as_str().eq_ignore_ascii_case(host))
    })
}

/// The host of an authority. `None` if that is not a host with or without a port.
fn without_port(authority: &str) -> Option<&str> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let digits = port.strip_prefix(':').unwrap_or(port);
    digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(host)
}

/// Whether a host is a loopback address or their common name, to which no page's name can lead.
fn names_loopback(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let ip = rest.strip_suffix(']').map(str::parse::<Ipv6Addr>);
        return matches!(ip, Some(Ok(ip)) if ip.to_canonical().is_loopback());
    }
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
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
            ("http://[::1]:8080", "[::1]:8080", true),
            ("http://[::1]", "[::1]:80", true),
            ("http://[::1]:8081", "[::1]:8080", false),
            ("http://localhost:8080", "127.0.0.1:8080", false),
            ("http://evil.example", "127.0.0.1:8080", false),
            ("http://127.0.0.1:8080.evil.example", "127.0.0.1:8080", false),
            ("http://evil.example@127.0.0.1:8080", "127.0.0.1:8080", false),
            ("null", "127.0.0.1:8080", false),
            ("", "", false),
        ] {
            let origin = HeaderValue::from_static(origin);
            assert_eq!(is_of(&origin, Some(host)), is_same, "{origin:?} at {host}");
        }
        assert!(!is_of(&HeaderValue::from_static("http://a"), None));
    }

    #[test]
    fn loopback_addresses_are_known_and_so_are_the_names_of_roles_toml() {
        let known = [Host::try_from("shop.example.org".to_owned()).unwrap()];
        for authority in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "127.8.9.10:1",
            "localhost:8080",
            "LocalHost",
            "[::1]",
            "[::1]:8080",
            "[0:0:0:0:0:0:0:1]:8080",
            "[::ffff:127.0.0.1]",
            "shop.example.org",
            "Shop.Example.Org:443",
        ] {
            assert!(is_known(authority.as_bytes(), &known), "{authority}");
        }
        for authority in [
            "",
            "evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "localhost.evil.example:8080",
            "sub.shop.example.org",
            "0.0.0.0:8080",
            "10.0.0.1",
            "[::2]:8080",
            "[::1",
            "[::1]x",
            "[::1]:8080:1",
            "127.0.0.1:80x",
            "127.0.0.1:8080@evil.example",
            "evil.example@127.0.0.1:8080",
            "::1",
            "127.1",
            "0x7f000001",
            "2130706433",
            "localhost ",
            "127.0.0.1, evil.example",
        ] {
            assert!(!is_known(authority.as_bytes(), &known), "{authority}");
        }
        assert!(!is_known(b"\xff", &known));
    }

    #[test]
    fn beyond_the_loopback_addresses_every_host_is_known() {
        let hosts = |ip: &str| KnownHosts::new(SocketAddr::new(ip.parse().unwrap(), 8_080), &[]);
        for loopback in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            assert!(matches!(hosts(loopback), KnownHosts::These { .. }));
        }
        for beyond in ["0.0.0.0", "10.0.0.1", "::", "2001:db8::1"] {
            assert!(matches!(hosts(beyond), KnownHosts::Every));
        }
    }
}
