//! `/openapi.json` against the front-end that sends it: every path that is registered is in it and
//! in the metrics, and its examples are what the store answers. (`tests/interfaces.sh` has others'
//! programs read it and try it out.)

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::neighbours::of_frontend::Fixture;
use crate::neighbours::{Answer, Store, finish};

async fn document(fixture: &Fixture<'_>) -> Value {
    let answer = fixture.frontend.get("/openapi.json").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    answer.json()
}

/// The paths that a front-end registers, as its sources say. A path below another is written
/// `/products/…`.
fn registered() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![src.join("frontend")];
    let mut files = vec![src.join("health.rs"), src.join("server/metrics.rs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    for file in files.iter().filter(|file| file.extension().is_some_and(|it| it == "rs")) {
        let text = std::fs::read_to_string(file).expect("text");
        for (call, below) in [("resource(\"", ""), ("below(\"", "/…"), ("scope(\"", "/…")] {
            for rest in text.split(call).skip(1) {
                let path = rest.split('"').next().expect("a first part");
                found.insert(format!("{path}{below}"));
            }
        }
    }
    found
}

/// The paths with a parameter as the sources say it.
fn as_registered(paths: impl Iterator<Item = String>) -> BTreeSet<String> {
    let whole = |path: String| match path.split_once("/{") {
        Some((before, _)) => format!("{before}/…"),
        None => path,
    };
    paths.map(whole).collect()
}

#[actix_web::test]
async fn every_path_that_a_front_end_registers_is_in_its_document_and_has_metrics_of_its_own() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let document = document(&fixture).await;
    let documented = document["paths"].as_object().expect("paths").keys().cloned();
    let documented = as_registered(documented);
    assert!(documented.len() > 10, "{documented:?}");
    assert_eq!(registered(), documented);

    let metrics = String::from_utf8(fixture.frontend.get("/metrics").await.body.to_vec());
    let metrics = metrics.expect("metrics are text");
    let routes = metrics.split("route=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let routes = routes.filter(|route| *route != "other" && !route.starts_with("/internal"));
    assert_eq!(as_registered(routes.map(str::to_owned)), documented);
}

#[actix_web::test]
async fn each_path_has_the_methods_that_its_document_and_its_allow_header_name() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    for (path, methods) in document(&fixture).await["paths"].as_object().expect("paths") {
        let path = path.replace("{name}", "Tux").replace("{number}", "0");
        let path = path.replace("{file}", "docs.js");
        let documented: BTreeSet<String> =
            methods.as_object().expect("methods").keys().map(|it| it.to_uppercase()).collect();
        let options = finish(fixture.frontend.request("OPTIONS", &path).send()).await;
        let allowed = options.header("allow").expect("it names the methods");
        let allowed: BTreeSet<String> = allowed.split(", ").map(str::to_owned).collect();
        assert_eq!((options.status, &allowed), (204, &documented), "{path}");
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"] {
            // A stream of events has no end that could be awaited.
            if path == "/events" && method == "GET" {
                continue;
            }
            let answer = finish(fixture.frontend.request(method, &path).send()).await;
            assert_eq!(answer.status == 405, !documented.contains(method), "{method} {path}");
        }
    }
}

/// What the document gives as an example of an answer.
fn example(document: &Value, path: &str, method: &str, code: &str) -> Value {
    let response = &document["paths"][path][method]["responses"][code];
    let media = &response["content"]["application/json"];
    assert!(media["example"].is_object(), "{method} {path} {code}: {response}");
    media["example"].clone()
}

#[actix_web::test]
async fn the_examples_of_the_document_are_what_the_store_answers() {
    let store = Store::new();
    let fixture = Fixture::ready(&store).await;
    let document = document(&fixture).await;
    let frontend = &fixture.frontend;
    let buy = async |body: Value, key: &'static str| -> Answer {
        let request = frontend.request("POST", "/orders").insert_header(("idempotency-key", key));
        finish(request.send_json(&body)).await
    };
    let order = document["paths"]["/orders"]["post"]["requestBody"]["content"]["application/json"]
        ["example"]
        .clone();
    let foreign = frontend.request("POST", "/orders").insert_header(("origin", "http://a.example"));
    let other = frontend.request("GET", "/cluster").insert_header(("host", "a.example"));
    let large = format!("{{\"name\":\"{}\"", "x".repeat(20_000));
    let answers = [
        ("/products/{name}", "get", frontend.get("/products/Tux").await),
        ("/products/{name}", "get", frontend.get("/products/none").await),
        ("/products/{name}", "get", frontend.get("/products/%ff").await),
        ("/orders", "post", buy(order.clone(), "a").await),
        ("/orders", "post", buy(json!({ "name": "Tux" }), "b").await),
        ("/orders", "post", finish(foreign.send_json(&order)).await),
        ("/orders", "post", buy(json!({ "name": "none", "quantity": 1 }), "c").await),
        ("/orders", "post", buy(json!({ "name": "Tux", "quantity": 1_000 }), "d").await),
        ("/orders", "post", finish(frontend.request("POST", "/orders").send_body(large)).await),
        ("/orders", "post", buy(json!({ "name": "Tux", "quantity": 2 }), "a").await),
        ("/orders/{number}", "get", frontend.get("/orders/0").await),
        ("/orders/{number}", "get", frontend.get("/orders/7").await),
        ("/orders/{number}", "get", frontend.get("/orders/x").await),
        ("/cluster", "get", finish(frontend.request("PUT", "/cluster").send()).await),
        ("/cluster", "get", finish(other.send()).await),
    ];
    let statuses: Vec<u16> = answers.iter().map(|(_, _, answer)| answer.status).collect();
    let expected = [200, 404, 400, 200, 400, 403, 404, 409, 413, 422, 200, 404, 400, 405, 421];
    assert_eq!(statuses, expected);
    for (path, method, answer) in answers {
        let given = example(&document, path, method, &answer.status.to_string());
        assert_eq!(answer.json(), given, "{method} {path}");
    }
}
