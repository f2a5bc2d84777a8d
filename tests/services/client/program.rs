//! The executable: its arguments, its exit status, Ctrl-C, and what it shows on a terminal.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use actix_web::web;
use serde_json::{Value, json};
use toystore::roles::Address;

use crate::fake_store::{Fails, Faults, Store};

/// How long the executable may take. Far more than it takes; a machine may be busy.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(60);

/// An address where no process listens.
pub(crate) fn closed_address() -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("a listener has an address");
    Address::try_from(address.to_string()).expect("a socket's address is host:port")
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toystore"));
    let roles = Path::new(env!("CARGO_MANIFEST_DIR")).join("roles.toml");
    command.arg("--config").arg(roles).arg("client").args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the executable's client to its end.
pub(crate) async fn toystore(arguments: &[&str]) -> Output {
    let mut command = command(arguments);
    finish(move || command.output().expect("the executable can be run")).await
}

pub(crate) async fn finish<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let working = actix_web::rt::time::timeout(TIME_LIMIT, web::block(work));
    working.await.expect("the executable ends in time").expect("the work does not panic")
}

pub(crate) fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("reports are UTF-8")
}

pub(crate) fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("errors are UTF-8")
}

#[actix_web::test]
async fn a_store_that_is_closed_is_one_clear_line_and_status_1() {
    let address = closed_address();
    let output = toystore(&["--frontend", address.as_str()]).await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "");
    let error = stderr(&output);
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains(address.as_str()) && error.contains("./run.sh"), "{error}");
}

#[actix_web::test]
async fn with_a_front_end_in_the_arguments_no_roles_toml_is_needed() {
    let store = Store::open(Faults::default());
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_toystore"));
        command.args(arguments).current_dir(folder.path()).env_remove("ROLES");
        finish(move || command.output().expect("the executable can be run"))
    };
    let output = run(&["client", "-n", "1", "--frontend", store.address.as_str()]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = run(&["client", "-n", "1"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("name the file with --config"), "{}", stderr(&output));
}

#[actix_web::test]
async fn a_failed_check_is_printed_and_status_1() {
    let store = Store::open(Faults { lies_about: Some(0), ..Faults::default() });
    let address = store.address.as_str();
    let output = toystore(&["-c", "1", "-n", "2", "-p", "1", "--frontend", address]).await;
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(
        text.contains("checked 2 of 2 orders: 1 check failed\n  order 0 of client 1"),
        "{text}"
    );
    assert!(stderr(&output).contains("final check"), "{}", stderr(&output));
}

fn send(signal: &str, pid: &str) {
    let sent = Command::new("kill").args([signal, pid]).status();
    assert!(sent.expect("there is a program called kill").success());
}

/// Runs the client for an hour, but sends it a signal once it is at work.
async fn interrupted(store: &mut Store, signal: &str, arguments: &[&str]) -> Output {
    let address = store.address.to_string();
    let base = ["--frontend", &address, "-d", "1h", "-p", "1", "--format", "json"];
    let child =
        command(&[&base[..], arguments].concat()).spawn().expect("the executable can be run");
    let pid = child.id().to_string();
    let shopping = store.queries.wait_for(|queries| *queries >= 20);
    let shopping = actix_web::rt::time::timeout(TIME_LIMIT, shopping).await;
    shopping.expect("the client shops in time").expect("the store is open");
    send(signal, &pid);
    finish(move || child.wait_with_output().expect("the executable ends")).await
}

#[actix_web::test]
async fn after_ctrl_c_or_sigterm_orders_are_still_checked() {
    for signal in ["-INT", "-TERM"] {
        let mut store = Store::open(Faults::default());
        let output = interrupted(&mut store, signal, &[]).await;
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["interrupted"], true);
        let orders = json!(store.read(|books| books.orders.len()));
        assert_eq!((&report["orders"], &report["check"]["matching"]), (&orders, &orders));
    }
}

#[actix_web::test]
async fn what_was_due_after_ctrl_c_is_not_missing() {
    let mut store = Store::open(Faults::default());
    let threshold = ["--rate", "100", "--fail-if", "iterations_missed>100"];
    let output = interrupted(&mut store, "-INT", &threshold).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let due = report["iterations_due"].as_f64().unwrap();
    let shopping_s = report["shopping_s"].as_f64().unwrap();
    assert!(due < shopping_s * 100.0 + 1.0, "{due} in {shopping_s} s");
}

#[actix_web::test]
async fn ctrl_c_before_the_store_is_open_ends_the_client() {
    // It accepts connections and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let child = command(&["--frontend", &address]).spawn().unwrap();
    let pid = child.id().to_string();
    let connected = finish(move || listener.accept()).await.unwrap();
    send("-INT", &pid);
    let output = finish(move || child.wait_with_output().unwrap()).await;
    drop(connected);
    assert_eq!((output.status.code(), stdout(&output)), (Some(130), ""));
    assert!(stderr(&output).contains("before the shopping began"), "{}", stderr(&output));
}

#[actix_web::test]
async fn a_run_whose_orders_all_failed_is_not_a_success() {
    let store = Store::open(Faults { fails: Fails::Purchases, ..Faults::default() });
    let address = store.address.as_str();
    let output = toystore(&["-c", "1", "-n", "2", "-p", "1", "--frontend", address]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).ends_with("there are no orders to check\n"), "{}", stdout(&output));
    assert!(stderr(&output).contains("no order succeeded"), "{}", stderr(&output));
}

#[actix_web::test]
async fn a_folder_that_cannot_be_written_is_known_before_the_run() {
    let store = Store::open(Faults::default());
    let address = store.address.as_str();
    // Not even root can make files there.
    let output = toystore(&["--frontend", address, "-n", "1", "--out", "/proc"]).await;
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
    assert!(stderr(&output).contains("/proc/report.json"), "{}", stderr(&output));
    assert_eq!(store.read(|books| books.log.len()), 0);
}

#[actix_web::test]
async fn an_address_may_be_written_as_a_browser_shows_it() {
    let store = Store::open(Faults::default());
    let address = format!("http://{}/", store.address);
    let output = toystore(&["-n", "1", "--frontend", &address]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[actix_web::test]
async fn invalid_arguments_are_refused_with_a_hint() {
    for (arguments, hint) in [
        (&["-p", "1.5"][..], "from 0 to 1"),
        (&["-p", "-0.1"], "from 0 to 1"),
        (&["-p", "NaN"], "from 0 to 1"),
        (&["-q", "0"], "0 is not in 1.."),
        (&["-c", "0"], "0 is not in 1.."),
        (&["-n", "0"], "0 is not in 1.."),
        (&["-n", "5", "-d", "5"], "cannot be used with"),
        (&["-d", "soon"], "30s"),
        (&["--rate", "0"], "above 0"),
        (&["--frontend", "localhost"], "host:port"),
        (&["--interval", "0"], "30s"),
        (&["--fail-if", "requests.order.p98_ms>50"], "p95_ms, p999_ms, p99_ms"),
        (&["--fail-if", "slow"], "requests.order.p99_ms>50"),
    ] {
        let output = toystore(arguments).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(hint), "{arguments:?}: {}", stderr(&output));
    }
}

#[actix_web::test]
async fn on_a_terminal_a_bar_shows_the_rate_and_the_errors_and_is_cleared_at_the_end() {
    let store = Store::open(Faults::default());
    let program = env!("CARGO_BIN_EXE_toystore");
    let roles = Path::new(env!("CARGO_MANIFEST_DIR")).join("roles.toml");
    let line = format!(
        "stty cols 80; '{program}' --config '{}' client -d 500ms -p 0 --frontend {}",
        roles.display(),
        store.address
    );
    // `script` gives it a terminal, and `stty` the usual width.
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).env("TERM", "xterm");
    let output = finish(move || command.output().expect("script is part of every Debian")).await;
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    let shown = stdout(&output);
    let bar = shown.find(" iterations/s, 0 orders, 0 refused, 0 errors");
    let report = shown.find("final check: ");
    assert!(bar.is_some() && bar < report, "{shown}");
    // What clears the line comes before the report.
    let cleared = shown.rfind("\u{1b}[2K");
    assert!(bar < cleared && cleared < report, "{shown:?}");
}
