//! The laboratory of `toystore up --lab`: what the web page may do with the roles, and who may not.
#![allow(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use super::command::{ROLES, Store, has_ended, send};
use crate::eventually::eventually;
use crate::processes::{buy, get, now};

/// Longer than any verb takes.
const ANSWER_LIMIT: Duration = Duration::from_secs(40);

/// A store with a laboratory. Dropping it ends both.
struct Lab {
    supervisor: Child,
    /// Kept open, so that the supervisor can go on printing.
    output: BufReader<ChildStdout>,
    address: String,
    token: String,
    store: Store,
}

/// What the laboratory answered.
#[derive(Debug)]
struct Told {
    status: u16,
    head: String,
    body: Value,
}

impl Lab {
    fn open() -> Self {
        Self::open_in(Store::new())
    }

    fn open_in(store: Store) -> Self {
        let mut command = store.command(&["up", "--lab"]);
        let mut supervisor = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(supervisor.stdout.take().unwrap());
        let page = format!("http://{}/#/faults?lab=", store.0.address("frontend"));
        let mut line = String::new();
        while !line.contains(&page) {
            line.clear();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "it ended: {}", store.0.logs());
        }
        let (address, token) = line.trim().strip_prefix(&page).unwrap().split_once('&').unwrap();
        let (address, token) =
            (address.to_owned(), token.strip_prefix("token=").unwrap().to_owned());
        Self { supervisor, output, address, token, store }
    }

    /// Asks as the page does.
    fn ask(&self, method: &str, path: &str, body: &str) -> Told {
        let (origin, token) = (self.origin(), format!("X-Toystore-Lab: {}", self.token));
        let origin = format!("Origin: {origin}");
        self.ask_with(method, path, &["Sec-Fetch-Site: same-site", &origin, &token], body)
    }

    fn ask_with(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Told {
        let host = format!("Host: {}", self.address);
        self.exchange(method, path, &[&[host.as_str()], headers].concat(), body)
    }

    fn exchange(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Told {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(ANSWER_LIMIT)).unwrap();
        let (headers, length) = (headers.join("\r\n"), body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head[9..12].parse().unwrap();
        let body = serde_json::from_str(body).unwrap_or(Value::Null);
        Told { status, head: head.to_lowercase(), body }
    }

    fn origin(&self) -> String {
        format!("http://{}", self.store.0.address("frontend"))
    }

    fn do_to(&self, role: &str, verb: &str) -> Told {
        self.ask("POST", &format!("/lab/roles/{role}/{verb}"), "")
    }

    fn state(&self, role: &str) -> Value {
        let told = self.ask("GET", "/lab", "");
        let roles = told.body["data"]["roles"].as_array().unwrap();
        roles.iter().find(|one| one["role"] == role).unwrap().clone()
    }

    async fn assert_sells(&self, key: &str) {
        let address = self.store.0.address("frontend");
        let (status, body) = buy(&address, "Tux", 1, key).await.unwrap();
        assert_eq!(status, 200, "{body}");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Ok(None) = self.supervisor.try_wait() {
            send(Pid::from_child(&self.supervisor), Signal::TERM);
            self.supervisor.wait().unwrap();
        }
    }
}

impl Told {
    fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        if status >= 400 {
            assert_eq!(self.body["error"]["code"], status, "{self:?}");
            assert!(self.body["error"]["message"].is_string(), "{self:?}");
        }
        self
    }

    fn lets_read(&self, origin: &str) -> bool {
        self.head.contains(&format!("access-control-allow-origin: {origin}\r\n"))
            || self.head.ends_with(&format!("access-control-allow-origin: {origin}"))
    }
}

fn pid(view: &Value) -> Pid {
    Pid::from_raw(i32::try_from(view["pid"].as_i64().unwrap()).unwrap()).unwrap()
}

#[actix_web::test]
async fn a_page_kills_stops_continues_and_starts_roles() {
    let lab = Lab::open();
    let told = lab.ask("GET", "/lab", "").is(200);
    let roles = told.body["data"]["roles"].as_array().unwrap();
    assert_eq!(roles.iter().map(|role| role["role"].as_str().unwrap()).collect::<Vec<_>>(), ROLES);
    assert!(roles.iter().all(|role| role["state"] == "running"), "{told:?}");
    assert_eq!(told.body["data"]["load"], json!({ "running": false }));
    lab.assert_sells("a").await;

    let leader = lab.state("order-3");
    let killed = lab.do_to("order-3", "kill").is(200).body;
    assert_eq!((&killed["data"]["state"], &killed["data"]["pid"]), (&json!("down"), &Value::Null));
    assert!(has_ended(pid(&leader)));
    for verb in ["kill", "stop", "continue"] {
        lab.do_to("order-3", verb).is(409);
    }
    lab.assert_sells("b").await;

    let stopped = lab.do_to("order-1", "stop").is(200).body["data"].clone();
    assert_eq!(stopped["state"], "stopped");
    lab.do_to("order-1", "start").is(409);
    lab.assert_sells("c").await;
    assert_eq!(lab.do_to("order-1", "continue").is(200).body["data"]["state"], "running");
    assert_eq!(lab.state("order-1")["pid"], stopped["pid"]);

    let started = lab.do_to("order-3", "start").is(200).body["data"].clone();
    assert_eq!((&started["state"], &started["address"]), (&json!("running"), &leader["address"]));
    assert_ne!(started["pid"], leader["pid"]);
    lab.do_to("frontend", "kill").is(200);
    lab.do_to("frontend", "start").is(200);
    lab.store.expect(0, &["status"]);
    lab.assert_sells("d").await;
}

#[actix_web::test]
async fn a_page_gets_what_it_asks_for_by_name_and_nothing_else() {
    let lab = Lab::open();
    let leader = pid(&lab.state("order-3")).as_raw_nonzero();
    for (method, path, body, status) in [
        ("POST", "/lab/roles/order-9/kill", "", 404),
        ("POST", "/lab/roles/nonsense/kill", "", 404),
        ("POST", &format!("/lab/roles/{leader}/kill"), "", 404),
        ("POST", "/lab/roles/order-3/terminate", "", 404),
        ("POST", "/lab/roles/..%2Forder-3/kill", "", 404),
        ("POST", "/lab/roles/order-3", "", 404),
        ("POST", "/lab/roles/order-3/kill/now", "", 404),
        ("GET", "/lab/roles/order-3/kill", "", 405),
        ("DELETE", "/lab", "", 405),
        ("PUT", "/lab/load", "{}", 405),
        ("POST", "/lab/links/order-3/order-9", r#"{"state":"cut"}"#, 404),
        ("POST", "/lab/links/order-3/order-3", r#"{"state":"cut"}"#, 404),
        ("POST", "/lab/links/order-3/catalog", r#"{"state":"lossy"}"#, 400),
        ("POST", "/lab/links/order-3/catalog", r#"{"state":"open","delay_ms":10001}"#, 400),
        ("GET", "/lab/links/order-3/catalog", "", 405),
        ("GET", "/other", "", 404),
        ("GET", "/lab/load?after=x", "", 400),
        ("POST", "/lab/load", "{", 400),
        ("POST", "/lab/load", "{}", 400),
        ("POST", "/lab/load", r#"{"probability":2}"#, 400),
        ("POST", "/lab/load", r#"{"probability":0.2,"out":"/etc"}"#, 400),
        ("POST", "/lab/load", &format!("{{\"probability\":{}}}", " ".repeat(17_000)), 413),
    ] {
        lab.ask(method, path, body).is(status);
    }
    lab.store.expect(0, &["status"]);
}

#[actix_web::test]
async fn with_tls_the_page_may_come_by_https() {
    let store = Store::new();
    let roles = std::fs::read_to_string(store.0.roles()).unwrap();
    std::fs::write(store.0.roles(), format!("{roles}\n[tls]\n")).unwrap();
    store.expect(0, &["certs"]);
    let lab = Lab::open_in(store);
    let token = format!("X-Toystore-Lab: {}", lab.token);
    let encrypted = lab.origin().replacen("http:", "https:", 1);
    for own in [lab.origin(), encrypted] {
        let told = lab.ask_with("GET", "/lab", &[&format!("Origin: {own}"), &token], "");
        assert!(told.is(200).lets_read(&own), "{own}");
    }
}

#[actix_web::test]
async fn only_this_stores_page_with_the_token_may_use_the_laboratory() {
    let lab = Lab::open();
    let (token, own) = (format!("X-Toystore-Lab: {}", lab.token), lab.origin());
    let from_own = format!("Origin: {own}");
    let kill = |headers: &[&str]| lab.ask_with("POST", "/lab/roles/order-3/kill", headers, "");
    // Without the token, or with another one. The page may read why.
    assert!(kill(&[&from_own]).is(403).lets_read(&own));
    for wrong in ["X-Toystore-Lab: ", "X-Toystore-Lab: 0", &format!("{token}0")] {
        assert!(kill(&[&from_own, wrong]).is(403).lets_read(&own), "{wrong}");
        kill(&[wrong]).is(403);
    }
    kill(&[]).is(403);
    // From another page, even if it knew the token.
    let other_port = format!("Origin: http://{}", lab.store.0.address("catalog"));
    for origin in [
        "Origin: http://evil.example",
        "Origin: null",
        &other_port,
        &format!("{from_own}.evil.example"),
        &from_own.replacen("http:", "https:", 1),
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ] {
        let told = kill(&[origin, &token]).is(403);
        assert!(!told.head.contains("access-control-allow-origin"), "{told:?}");
        let told = lab.ask_with("OPTIONS", "/lab", &[origin], "").is(403);
        assert!(!told.head.contains("access-control-allow"), "{told:?}");
    }
    kill(&[&from_own, "Origin: http://evil.example", &token]).is(403);
    // By a name that leads to this machine.
    for host in ["Host: evil.example", "Host: 10.0.0.1"] {
        lab.exchange("POST", "/lab/roles/order-3/kill", &[host, &from_own, &token], "").is(421);
    }
    assert_eq!(lab.state("order-3")["state"], "running");
    // What a browser asks before it sends the page's request.
    let asks = ["Access-Control-Request-Method: DELETE", from_own.as_str()];
    let told = lab.ask_with("OPTIONS", "/lab/load", &asks, "").is(204);
    assert!(told.lets_read(&own), "{told:?}");
    for header in ["methods: get, post, delete", "headers: x-toystore-lab, content-type"] {
        assert!(told.head.contains(&format!("access-control-allow-{header}")), "{told:?}");
    }
    // A program sends no Origin.
    lab.ask_with("GET", "/lab", &[&token], "").is(200);
    // The front-end lets its page connect to the laboratory, and to nothing else.
    let (status, policy) = policy(&lab.store.0.address("frontend")).await;
    assert!(
        status == 200 && policy.ends_with(&format!("'self' http://{}", lab.address)),
        "{policy}"
    );
}

/// The status of the web page, and its Content-Security-Policy.
async fn policy(frontend: &str) -> (u16, String) {
    let response = awc::Client::new().get(format!("http://{frontend}/")).send().await.unwrap();
    let policy = response.headers().get("content-security-policy").unwrap().to_str().unwrap();
    (response.status().as_u16(), policy.to_owned())
}

#[actix_web::test]
async fn a_load_is_started_watched_and_ended() {
    let lab = Lab::open();
    let idle = lab.ask("GET", "/lab/load", "").is(200).body["data"].clone();
    assert_eq!((&idle["running"], &idle["samples"]), (&json!(false), &json!([])));
    let body = r#"{"probability":0.5,"rate":200,"clients":3,"seed":7}"#;
    let begun = lab.ask("POST", "/lab/load", body).is(200).body["data"].clone();
    assert_eq!(
        (&begun["running"], &begun["seed"], &begun["rate"]),
        (&json!(true), &json!(7), &json!(200.0))
    );
    lab.ask("POST", "/lab/load", body).is(409);
    let at = eventually("there are latencies", async || {
        let load = lab.ask("GET", "/lab/load", "").is(200).body["data"].clone();
        let samples = load["samples"].as_array().unwrap();
        let sample = samples
            .iter()
            .find(|sample| sample["query_p50_ms"].is_f64() && sample["purchase_p99_ms"].is_f64())?;
        assert!(load["queries"].as_u64() > Some(0) && load["purchases"].as_u64() > Some(0));
        sample["at_ms"].as_u64()
    })
    .await;
    let later = lab.ask("GET", &format!("/lab/load?after={at}"), "").is(200);
    let later = later.body["data"]["samples"].as_array().unwrap().clone();
    assert!(later.iter().all(|sample| sample["at_ms"].as_u64() > Some(at)), "{later:?}");
    lab.ask("DELETE", "/lab/load", "").is(200);
    eventually("the load ends", async || {
        lab.ask("GET", "/lab/load", "").body["data"]["running"] == json!(false)
    })
    .await;
    let ended = lab.ask("GET", "/lab/load", "").body["data"].clone();
    assert_eq!((&ended["problem"], &ended["failed"]), (&Value::Null, &json!(0)), "{ended}");
    lab.ask("POST", "/lab/load", r#"{"p":0}"#).is(200);
}

#[actix_web::test]
async fn links_are_cut_slowed_and_mended_by_the_page_and_by_command() {
    let lab = Lab::open();
    let leads = async |id: u64| {
        eventually("the leader", async || {
            let (_, body) = get(&lab.store.0.address("frontend"), "/cluster").await.ok()?;
            (body["data"]["leader"] == id).then_some(())
        })
        .await;
    };
    leads(3).await;
    let told = lab.ask("GET", "/lab", "").is(200);
    let links = told.body["data"]["links"].as_array().unwrap();
    assert!(links.iter().all(|link| link["state"] == "open" && link["delay_ms"] == 0), "{told:?}");
    // The leader does not reach the catalog any more, and another one takes over.
    let cut = lab.ask("POST", "/lab/links/order-3/catalog", r#"{"state":"cut"}"#).is(200);
    assert_eq!(cut.body["data"]["state"], "cut");
    leads(2).await;
    lab.assert_sells("a").await;
    lab.store.expect(0, &["link"]).says("order-3      -> catalog      cut");
    lab.store.expect(0, &["link", "order-3", "catalog", "mend"]).says("open");
    // A front-end that does not hear from a replica does not have it lead, and it is not down.
    lab.store.expect(0, &["link", "frontend", "order-2", "hold"]).says("held");
    leads(3).await;
    lab.store.expect(0, &["link", "frontend", "order-2", "mend"]);
    // A call takes so much longer.
    lab.store.expect(0, &["link", "frontend", "catalog", "slow", "--delay-ms", "150"]).says("150");
    let began = now();
    let (status, _) = get(&lab.store.0.address("frontend"), "/products/Slinky").await.unwrap();
    assert!(status == 200 && now() - began >= Duration::from_millis(150));
    // What another terminal starts has links as well.
    lab.store.expect(0, &["link", "frontend", "catalog", "mend"]);
    lab.store.expect(0, &["kill", "order-1"]);
    lab.store.expect(0, &["start", "order-1"]);
    lab.store.expect(0, &["link", "order-1", "catalog", "cut"]);
    let order_1 = lab.store.0.address("order-1");
    eventually("order-1 does not reach the catalog", async || {
        let (status, _) = get(&order_1, "/readyz").await.ok()?;
        (status == 503).then_some(())
    })
    .await;
    lab.store.expect(2, &["link", "order-1"]);
    lab.store.expect(2, &["link", "order-9", "catalog", "cut"]).says("order-9");
    lab.store.expect(1, &["link", "catalog", "catalog", "cut"]).says("never calls");
}

#[actix_web::test]
async fn a_store_without_a_laboratory_has_no_links() {
    let store = Store::new();
    store.expect(1, &["link"]).says("up --lab");
}

#[actix_web::test]
async fn ctrl_c_closes_the_store_also_with_roles_that_are_stopped() {
    let mut lab = Lab::open();
    lab.do_to("order-2", "stop").is(200);
    lab.do_to("catalog", "kill").is(200);
    lab.ask("POST", "/lab/load", r#"{"probability":1}"#).is(200);
    let pids = ["order-1", "order-2", "order-3", "frontend"].map(|role| pid(&lab.state(role)));
    send(Pid::from_child(&lab.supervisor), Signal::INT);
    let mut said = String::new();
    lab.output.read_to_string(&mut said).unwrap();
    assert!(lab.supervisor.wait().unwrap().success(), "{said}");
    assert!(pids.iter().all(|pid| has_ended(*pid)), "{said}");
    assert!(said.contains("order-2 has stopped") && !said.contains("SIGKILL"), "{said}");
    lab.store.expect_all_down();
}

#[actix_web::test]
async fn a_laboratory_is_for_a_store_on_loopback_that_it_starts_itself() {
    let store = Store::new();
    store.expect(0, &["up"]);
    store.expect(1, &["up", "--lab"]).says("runs already").says("down");
    let (_, policy) = policy(&store.0.address("frontend")).await;
    assert!(policy.ends_with("connect-src 'self'"), "{policy}");
    store.expect(0, &["down"]);
    let address = store.0.address("frontend");
    let port = address.rsplit_once(':').unwrap().1;
    store.edit_roles(|text| {
        let text = text.replace(&address, &format!("0.0.0.0:{port}"));
        format!("secret = \"0123456789abcdef\"\n{text}")
    });
    store.expect(1, &["up", "--lab"]).says("--lab").says("loopback");
    store.expect_all_down();
    assert!(get(&address, "/healthz").await.is_err());
}
