//! Which methods a path has, and the answer to all others.

use std::fmt;

use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::web;
use actix_web::{HttpResponse, Route, guard};

use super::reply::ErrorReply;

/// The methods that a path has. `OPTIONS` tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allow {
    /// A path that is read: `GET`, and `HEAD` as HTTP asks of every resource that has `GET`
    /// (RFC 9110, 9.3.2).
    Get,
    /// A path that changes something: `POST`.
    Post,
}

impl Allow {
    /// Returns whether the path itself answers this method.
    #[must_use]
    pub fn has(self, method: &Method) -> bool {
        match self {
            Self::Get => method == Method::GET || method == Method::HEAD,
            Self::Post => method == Method::POST,
        }
    }

    /// Returns a route for the path's own methods.
    #[must_use]
    pub fn route(self) -> Route {
        web::route().guard(guard::fn_guard(move |context| self.has(&context.head().method)))
    }

    /// Returns a route for every other method: `OPTIONS` is answered 204, the rest 405.
    #[must_use]
    pub fn others(self) -> Route {
        web::to(move |method: Method| async move {
            if method == Method::OPTIONS {
                self.options()
            } else {
                ErrorReply::MethodNotAllowed(self).into_response()
            }
        })
    }

    /// Returns the value of the header `Allow`.
    #[must_use]
    pub fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Get => "GET, HEAD, OPTIONS",
            Self::Post => "POST, OPTIONS",
        })
    }

    fn options(self) -> HttpResponse {
        let mut response = HttpResponse::new(StatusCode::NO_CONTENT);
        response.headers_mut().insert(header::ALLOW, self.header());
        response
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "GET, HEAD and OPTIONS",
            Self::Post => "POST and OPTIONS",
        })
    }
}
