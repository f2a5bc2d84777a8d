//! The web page: its files, which are part of the executable, and how they are served.
//!
//! The page is plain HTML, CSS and ES modules without a build step. Every front-end serves it at
//! `/`, and its files under `/page/`. It loads nothing from elsewhere: the policy below tells the
//! browser so, and to run no script and apply no style that is not a file of this list.
//!
//! A file's entity tag is the hash of its content. A browser keeps the files, asks each time
//! whether they are still the same, and is answered 304; so a page is never made of the files of
//! two versions of the store.

pub(crate) mod events;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::web::{self, Bytes, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use sha2::{Digest as _, Sha256};

use self::events::Events;
use crate::server::{self, Allow, ErrorReply};
use crate::wire::reply::Failure;

/// The environment's name for the address of the laboratory that `toystore up --lab` serves. The
/// page may call that address, too.
const LAB: &str = "TOYSTORE_LAB";

/// What a browser may do on the page. Images may be written into a style sheet as `data:`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; connect-src 'self'";

/// A file that is part of the executable.
struct Embedded {
    /// Its name under `/page/`.
    name: &'static str,
    kind: &'static str,
    content: &'static [u8],
}

macro_rules! embedded {
    ($($kind:ident $name:literal),* $(,)?) => {
        &[$(Embedded { name: $name, kind: $kind, content: include_bytes!($name) }),*]
    };
}

mod lessons;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The file that is served at `/`.
const INDEX: &str = "index.html";

/// The page's files.
const FILES: &[Embedded] = embedded![
    HTML "index.html",
    HTML "docs.html",
    CSS "style.css",
    CSS "shop.css",
    CSS "docs.css",
    CSS "cluster.css",
    CSS "faults.css",
    CSS "trace.css",
    CSS "vendor/uPlot.css",
    JS "app.js",
    JS "docs.js",
    JS "cluster.js",
    JS "diagram.js",
    JS "faults.js",
    JS "faults-links.js",
    JS "vendor/uPlot.js",
    JS "dom.js",
    JS "live.js",
    JS "purchases.js",
    JS "shop.js",
    JS "theme.js",
    JS "toys.js",
    JS "trace.js",
    SVG "icon.svg",
    TEXT "vendor/uPlot.LICENSE.txt",
];

/// The page's files with their entity tags, and what they may do.
pub(super) struct Page {
    files: Vec<(&'static Embedded, HeaderValue)>,
    policy: HeaderValue,
}

impl Page {
    /// The page, which may call the laboratory if the environment names one.
    #[must_use]
    pub(super) fn of_this_process() -> Arc<Self> {
        let lab = std::env::var(LAB).ok();
        let address = lab.as_ref().and_then(|lab| lab.parse().ok());
        if let (Some(lab), None) = (&lab, address) {
            log::warn!("{LAB} is {lab}, which is not an address such as 127.0.0.1:9000: ignored");
        }
        Arc::new(Self::new(address))
    }

    fn new(lab: Option<SocketAddr>) -> Self {
        let tag = |file: &Embedded| {
            let hash = Sha256::digest(file.content);
            // Half of the hash tells as many versions apart as there will ever be.
            let half = hash.first_chunk().expect("a hash has 32 bytes");
            let tag = format!("\"{:032x}\"", u128::from_be_bytes(*half));
            HeaderValue::from_str(&tag).expect("digits fit in a header")
        };
        let files = FILES.iter().chain(lessons::FILES).chain(lessons::SOURCES);
        let policy = match lab {
            Some(lab) => format!("{POLICY} http://{lab}"),
            None => POLICY.to_owned(),
        };
        Self {
            files: files.map(|file| (file, tag(file))).collect(),
            policy: HeaderValue::from_str(&policy).expect("an address fits in a header"),
        }
    }

    /// Answers a request for the file of this name.
    pub(super) fn answer(
        &self,
        name: &str,
        request: &HeaderMap,
    ) -> Result<HttpResponse, ErrorReply> {
        let found = self.files.iter().find(|(file, _)| file.name == name);
        let (file, tag) = found.ok_or(ErrorReply::NotFound("the page has no such file"))?;
        let mut response = if has(request, tag) {
            HttpResponse::new(StatusCode::NOT_MODIFIED)
        } else {
            let body = BoxBody::new(Bytes::from_static(file.content));
            let mut response = HttpResponse::with_body(StatusCode::OK, body);
            let kind = HeaderValue::from_static(file.kind);
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, tag.clone());
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        let fixed: [(HeaderName, &'static str); 4] = [
            (header::CACHE_CONTROL, "no-cache"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            // The address of a page may hold the laboratory's token.
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
        ];
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
        Ok(response)
    }
}

/// Adds `/`, `/page/…` and `/events`.
pub(super) fn routes(config: &mut ServiceConfig, page: &Arc<Page>, events: &Arc<Events>) {
    events::routes(config, events);
    config.app_data(Data::from(Arc::clone(page)));
    config
        .service(
            web::resource("/")
                .route(Allow::Get.route().to(index))
                .default_service(Allow::Get.others()),
        )
        .service(server::below("/page", Allow::Get, web::to(file)));
}

/// Shows the page with the shop and the cluster.
#[utoipa::path(
    get,
    path = "/",
    tag = "pages",
    params(("If-None-Match" = Option<String>, Header, description = "The tag of a copy.")),
    responses(
        (status = 200, description = "The page.", body = String, content_type = "text/html"),
        (status = 304, description = "The copy is the same.")
    )
)]
pub(super) async fn index(
    request: HttpRequest,
    page: Data<Page>,
) -> Result<HttpResponse, ErrorReply> {
    page.answer(INDEX, request.headers())
}

/// Shows a file of the page.
#[utoipa::path(
    get,
    path = "/page/{file}",
    tag = "pages",
    params(
        ("file" = String, Path, description = "The file's name.", example = "style.css"),
        ("If-None-Match" = Option<String>, Header, description = "The tag of a copy.")
    ),
    responses(
        (status = 200, description = "The file.", content(
            (String = "text/css"), (String = "text/javascript"), (String = "image/svg+xml"),
            (String = "text/html")
        )),
        (status = 304, description = "The copy is the same."),
        (status = 404, description = "The page has no such file.", body = Failure)
    )
)]
pub(super) async fn file(
    request: HttpRequest,
    page: Data<Page>,
) -> Result<HttpResponse, ErrorReply> {
    page.answer(request.path().strip_prefix("/page/").unwrap_or_default(), request.headers())
}

/// Whether the browser has the file with this tag already.
fn has(request: &HeaderMap, tag: &HeaderValue) -> bool {
    let tags = request.get_all(header::IF_NONE_MATCH).filter_map(|tags| tags.to_str().ok());
    tags.flat_map(|tags| tags.split(',')).map(str::trim).any(|candidate| {
        // A cache on the way may have made the tag a weak one (RFC 9110, 13.1.2).
        candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate) == tag
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(page: &Page, name: &str, tags: &[&str]) -> HttpResponse {
        let mut headers = HeaderMap::new();
        for tag in tags {
            headers.append(header::IF_NONE_MATCH, HeaderValue::from_str(tag).unwrap());
        }
        page.answer(name, &headers).unwrap()
    }

    #[test]
    fn a_browser_that_has_a_file_is_told_that_it_is_the_same() {
        let page = Page::new(None);
        let first = answered(&page, "app.js", &[]);
        assert_eq!(first.status(), StatusCode::OK);
        let tag = first.headers().get(header::ETAG).unwrap().to_str().unwrap();
        for tags in [tag, &format!("\"other\", W/{tag}"), "*"] {
            let second = answered(&page, "app.js", &[tags]);
            assert_eq!(second.status(), StatusCode::NOT_MODIFIED, "{tags}");
            assert_eq!(second.headers().get(header::ETAG).unwrap().to_str().unwrap(), tag);
        }
        assert_eq!(answered(&page, "app.js", &["\"other\""]).status(), StatusCode::OK);
        assert_eq!(answered(&page, "style.css", &[tag]).status(), StatusCode::OK);
        assert_eq!(answered(&page, "app.js", &["\"other\"", tag]).status(), 304);
    }

    #[test]
    fn the_page_may_call_its_own_front_end_and_the_laboratory_only() {
        let policy = |page: &Page| page.policy.to_str().unwrap().to_owned();
        assert!(policy(&Page::new(None)).ends_with("; connect-src 'self'"));
        let lab = Page::new(Some("127.0.0.1:9000".parse().unwrap()));
        assert!(policy(&lab).ends_with("; connect-src 'self' http://127.0.0.1:9000"));
    }

    #[test]
    fn no_file_of_the_page_names_another_site_or_has_inline_code() {
        for file in FILES.iter().chain(lessons::FILES) {
            let text = std::str::from_utf8(file.content).unwrap();
            // The name of SVG's vocabulary is not loaded from anywhere.
            let text = text.replace("http://www.w3.org/2000/svg", "");
            // A page links to other front-ends, whose addresses it is given.
            let text = text.replace("`http://$", "");
            // A library names its home in its head.
            let text = text.replace("https://github.com/leeoniya/uPlot", "");
            assert!(!text.contains("http://") && !text.contains("https://"), "{}", file.name);
            if file.kind == HTML {
                for inline in [" style=", "<style", " onclick=", " onload=", "javascript:"] {
                    assert!(!text.contains(inline), "{} has {inline}", file.name);
                }
                let modules = text.matches("<script type=\"module\" src=\"/page/").count();
                let scripts = text.matches("<script src=\"/page/").count();
                assert_eq!(text.matches("<script").count(), modules + scripts);
            }
        }
    }
}
