//! How a path is matched: whole, or by its first part alone.

use actix_web::Route;
use actix_web::dev::{AppService, HttpServiceFactory, ResourceDef, ServiceRequest};
use actix_web::guard::{self, Guard};
use actix_web::http::Uri;
use actix_web::http::uri::PathAndQuery;

use super::methods::Allow;

/// Returns a resource for all paths that begin with `first` and a slash, such as `/products/Tux`;
/// `route` is for the methods that `allow` names. Comparing the beginning takes a fraction of the
/// time of the regular expression that `/products/{name:.*}` is.
#[must_use]
pub fn below(first: &'static str, allow: Allow, route: Route) -> impl HttpServiceFactory {
    Below { first, allow, route }
}

struct Below {
    first: &'static str,
    allow: Allow,
    route: Route,
}

impl HttpServiceFactory for Below {
    fn register(self, config: &mut AppService) {
        let Self { first, allow, route } = self;
        let guard = guard::fn_guard(move |context| allow.has(&context.head().method));
        let guards: Vec<Box<dyn Guard>> = vec![Box::new(guard)];
        config.register_service(ResourceDef::prefix(first), Some(guards), route, None);
        config.register_service(ResourceDef::prefix(first), None, allow.others(), None);
    }
}

/// Takes one slash off the end of a request's path, where it changes nothing. (A slash that is part
/// of a name is sent as `%2F`.)
pub(super) fn without_trailing_slash(request: &mut ServiceRequest) {
    let uri = request.uri();
    let Some(path) = uri.path().strip_suffix('/').filter(|path| !path.is_empty()) else { return };
    let shorter = match uri.query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    let mut parts = uri.clone().into_parts();
    // A target that is a whole URL, without a path, has no slash that could be taken off.
    let Ok(shorter) = shorter else { return };
    parts.path_and_query = Some(shorter);
    let Ok(uri) = Uri::from_parts(parts) else { return };
    request.match_info_mut().get_mut().update(&uri);
    request.head_mut().uri = uri;
}
