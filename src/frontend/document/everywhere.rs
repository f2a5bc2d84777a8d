//! What all paths have in common: the headers of every answer, the errors that any request can
//! meet, and the methods `HEAD` and `OPTIONS`.

use serde_json::{Map, Value, json};

use super::errors::response;
use crate::server::{self, Allow, ErrorReply};

/// Headers of answers, and which answers have them.
const HEADERS: &str = "#/components/headers/";

/// Adds it to what the handlers say.
pub(super) fn add(document: &mut Value) {
    document["components"]["headers"] = headers();
    document["components"]["parameters"] = parameters();
    let paths = document["paths"].as_object_mut().expect("there are paths");
    for (path, methods) in paths {
        let methods = methods.as_object_mut().expect("a path has methods");
        let allow = if methods.contains_key("get") { Allow::Get } else { Allow::Post };
        for operation in methods.values_mut() {
            complete(operation, path, allow);
        }
        if let Some(get) = methods.get("get") {
            let head = head(get);
            methods.insert("head".to_owned(), head);
        }
        methods.insert("options".to_owned(), options(path, allow));
    }
}

/// Adds the parameters, the errors and the headers that every operation has.
fn complete(operation: &mut Value, path: &str, allow: Allow) {
    let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    let shared = ["X-Request-Id", "traceparent"];
    let shared = shared.map(|name| json!({ "$ref": format!("#/components/parameters/{name}") }));
    operation["parameters"] = parameters.into_iter().chain(shared).collect();
    let responses = operation["responses"].as_object_mut().expect("it has responses");
    for (code, response) in everywhere(path, allow) {
        responses.entry(code).or_insert(response);
    }
    for (code, response) in responses {
        let wanted = headers_of(path, code);
        let headers = response.as_object_mut().expect("a response is an object");
        let headers = headers.entry("headers").or_insert_with(|| json!({}));
        for name in wanted {
            headers[name] = json!({ "$ref": format!("{HEADERS}{name}") });
        }
        // What is refused before a purchase is read has the key that was sent, if one was.
        if path == "/orders" && ["421", "429", "503"].contains(&code.as_str()) {
            headers["Idempotency-Key"] = json!({
                "description": "The purchase's key, unless none was sent and none was drawn yet.",
                "schema": { "type": "string" },
            });
        }
    }
}

/// The errors that any request can meet.
fn everywhere(path: &str, allow: Allow) -> Vec<(String, Value)> {
    let bare = |code: u16, description: &str| {
        let error = json!({ "code": code, "message": server::unserved(code) });
        let example = json!({ "error": error });
        let schema = json!({ "$ref": "#/components/schemas/Failure" });
        let content = json!({ "application/json": { "schema": schema, "example": example } });
        (code.to_string(), json!({ "description": description, "content": content }))
    };
    let found = |description: &str, error: &ErrorReply| {
        let (code, response) = response(description, error);
        (code, serde_json::to_value(response).expect("a response can be written as JSON"))
    };
    let mut all = vec![
        bare(400, "The request is not valid."),
        found("The path does not have this method.", &ErrorReply::MethodNotAllowed(allow)),
        bare(408, "The request did not arrive in time."),
        found("The body is too large.", &ErrorReply::TooLarge(server::LARGEST_BODY)),
        found("The request names another host than this one.", &ErrorReply::OtherHost),
        bare(431, "The request's head is too large."),
        bare(503, "Too many requests are under way."),
    ];
    if server::is_counted(path) {
        all.push(found("The host asks more often than it may.", &ErrorReply::TooOften(1)));
    }
    all
}

/// The names of the headers that an answer with this status has.
fn headers_of(path: &str, code: &str) -> Vec<&'static str> {
    let mut names = vec!["X-Request-Id"];
    let is_page = path == "/" || path == "/docs" || path.starts_with("/page/");
    if code != "204" {
        names.push("Cache-Control");
    }
    match code {
        "405" | "204" => names.push("Allow"),
        "429" | "503" => names.push("Retry-After"),
        "200" if path.starts_with("/products") => names.extend(["X-Cache", "Server-Timing"]),
        "200" if path.starts_with("/orders") => names.push("Server-Timing"),
        "200" | "304" if is_page => names.push("ETag"),
        _ => {}
    }
    // The parser's own errors, and those of other hosts, are answered before a purchase is read.
    if path == "/orders"
        && !["204", "400", "405", "408", "421", "429", "431", "503"].contains(&code)
    {
        names.push("Idempotency-Key");
    }
    names
}

/// `HEAD` is answered as `GET` is, without the body (RFC 9110, 9.3.2).
fn head(get: &Value) -> Value {
    let mut head = get.clone();
    head["summary"] = format!("{} Only the headers.", text(&get["summary"])).into();
    head["operationId"] = format!("{}_head", text(&get["operationId"])).into();
    let responses = head["responses"].as_object_mut().expect("it has responses");
    for response in responses.values_mut() {
        response.as_object_mut().map(|response| response.remove("content"));
    }
    head
}

/// `OPTIONS` tells the methods that a path has.
fn options(path: &str, allow: Allow) -> Value {
    let mut operation = json!({
        "tags": ["operations"],
        "summary": "Tells the methods that the path has.",
        "operationId": format!("{}_options", path.trim_start_matches('/').replace(['/', '.'], "_")),
        "responses": { "204": { "description": "The header `Allow` names them." } },
    });
    if path.contains('{') {
        let name = path.split(['{', '}']).nth(1).unwrap_or_default();
        let schema = json!({ "type": "string", "minLength": 1 });
        let parameter = json!({ "name": name, "in": "path", "required": true, "schema": schema });
        operation["parameters"] = json!([parameter]);
    }
    complete(&mut operation, path, allow);
    operation
}

fn headers() -> Value {
    fn header(description: &str, schema: &Value) -> Value {
        json!({ "description": description, "required": true, "schema": schema })
    }

    let text = |example: &str| json!({ "type": "string", "minLength": 1, "examples": [example] });
    let mut headers = Map::new();
    for (name, description, schema) in [
        (
            "X-Request-Id",
            "The request's id: the one that was sent or, without a usable one, a fresh one.",
            text("2d1f60c7b3a49e58"),
        ),
        (
            "Cache-Control",
            "Whether the answer may be kept.",
            json!({ "type": "string", "enum": ["no-store", "no-cache"] }),
        ),
        ("Allow", "The methods that the path has.", text("GET, HEAD, OPTIONS")),
        ("ETag", "The tag of the file, for `If-None-Match`.", text("\"5d41402abc4b2a76\"")),
        (
            "Retry-After",
            "After how many seconds to try again.",
            json!({ "type": "string", "pattern": "^[0-9]+$", "examples": ["1"] }),
        ),
        (
            "X-Cache",
            "Whether the cache answered; `off` where none is configured.",
            json!({ "type": "string", "enum": ["hit", "miss", "off"] }),
        ),
        (
            "Server-Timing",
            "Where the time went, in milliseconds; the leader's has the other parts in it.",
            text("leader;dur=4.412, catalog;dur=1.602, fsync;dur=2.307, followers;dur=0.410"),
        ),
        (
            "Idempotency-Key",
            "The purchase's key: the one that was sent, or the one that was drawn for it.",
            text("a-present"),
        ),
    ] {
        headers.insert(name.to_owned(), header(description, &schema));
    }
    headers.into()
}

fn parameters() -> Value {
    let parameter = |name: &str, description: &str, example: &str| {
        json!({
            "name": name,
            "in": "header",
            "description": description,
            "schema": { "type": "string" },
            "example": example,
        })
    };
    json!({
        "X-Request-Id": parameter(
            "X-Request-Id",
            "An id of 1 to 255 printable ASCII characters, which each role that works on the \
             request logs, and which the reply has. Without a usable one, the store draws one, \
             and logs it at the level `debug`.",
            "my-request-1",
        ),
        "traceparent": parameter(
            "traceparent",
            "The trace that the request belongs to (W3C Trace Context). Without a valid one, a \
             trace begins here.",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
