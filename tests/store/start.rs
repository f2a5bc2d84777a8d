//! A role that cannot start prints one line with the reason and what to do, and exits with status 1
//! or 2.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

const SHIPPED: &str = include_str!("../../roles.toml");

/// Runs `toystore` in a folder with this `roles.toml`; its exit status and standard error.
fn said(folder: &Path, roles: &str, arguments: &[&str]) -> (Option<i32>, String) {
    std::fs::write(folder.join("roles.toml"), roles).expect("the folder can be written");
    let output = Command::new(env!("CARGO_BIN_EXE_toystore"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("ROLES")
        .env("RUST_LOG", "error")
        .output()
        .expect("it can be run");
    (output.status.code(), String::from_utf8(output.stderr).expect("errors are UTF-8"))
}

/// Asserts that it failed with one line that has all of `parts`.
fn fails_saying((status, text): (Option<i32>, String), parts: &[&str]) {
    assert_eq!(status, Some(1), "{text}");
    assert!(text.starts_with("toystore: "), "{text}");
    for part in parts {
        assert!(text.contains(part), "it does not say {part:?}: {text}");
    }
}

#[test]
fn a_taken_port_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let roles = SHIPPED.replace("127.0.0.1:8081", &address);
    let answer = said(folder.path(), &roles, &["catalog"]);
    fails_saying(answer, &["catalog cannot listen", &address, "change the address"]);
}

#[test]
fn a_data_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    // A file where the folder should be stops every user, the superuser included.
    std::fs::write(folder.path().join("data"), "").unwrap();
    let roles = SHIPPED.replace("127.0.0.1:8091", "127.2.3.4:18091");
    let answer = said(folder.path(), &roles, &["order", "--id", "1"]);
    fails_saying(answer, &["cannot write", "data", "set data_dir"]);
}

#[test]
fn an_unknown_role_is_refused_with_those_that_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let there_are = "catalog, order-1, order-2, order-3, frontend";
    for arguments in [["order", "--id", "7"], ["frontend", "--id", "2"], ["frontend", "--id", "0"]]
    {
        fails_saying(said(folder.path(), SHIPPED, &arguments), &["roles.toml has no", there_are]);
    }
}

#[test]
fn an_error_in_roles_toml_names_the_file_the_line_and_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let roles = SHIPPED.replace("capacity = 1000", "capacity = \"many\"");
    fails_saying(
        said(folder.path(), &roles, &["catalog"]),
        &["roles.toml", "line ", "capacity: ", "many"],
    );
    let roles = SHIPPED.replace("[cache]", "[cash]");
    fails_saying(
        said(folder.path(), &roles, &["catalog"]),
        &["unknown key `cash`", "allowed: ", "`cache`"],
    );
}

#[test]
fn a_missing_roles_toml_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let answer = said(folder.path(), SHIPPED, &["catalog", "--config", "nowhere.toml"]);
    fails_saying(answer, &["nowhere.toml", "--config", "ROLES"]);
}

#[test]
fn a_role_that_runs_already_is_not_started_twice() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let pid_file = std::fs::File::create(folder.path().join("data/catalog.pid")).unwrap();
    pid_file.lock().unwrap();
    let roles = SHIPPED.replace("127.0.0.1:8081", "127.2.3.4:18081");
    fails_saying(said(folder.path(), &roles, &["catalog"]), &["runs already", "data_dir"]);
}

#[test]
fn a_role_that_others_could_reach_needs_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let roles = SHIPPED.replace("127.0.0.1:8092", "0.0.0.0:18092");
    let answer = said(folder.path(), &roles, &["order", "--id", "2"]);
    fails_saying(answer, &["0.0.0.0:18092", "set `secret`"]);
}

#[test]
fn wrong_arguments_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["order"][..], &["order", "--id", "x"], &["shop"], &[]] {
        let (status, text) = said(folder.path(), SHIPPED, arguments);
        assert_eq!(status, Some(2), "{text}");
        assert!(text.contains("--help"), "{text}");
    }
}

/// Runs `toystore ARGUMENTS` in a shell after `before`; its exit status and standard output.
fn printed(folder: &Path, before: &str, after: &str) -> (Option<i32>, String) {
    let script = format!(r#"{before} exec "$0" catalog {after}"#);
    let output = Command::new("bash")
        .args(["-c", &script, env!("CARGO_BIN_EXE_toystore")])
        .current_dir(folder)
        .env_remove("ROLES")
        .output()
        .expect("there is a shell");
    (output.status.code(), String::from_utf8(output.stdout).expect("errors are UTF-8"))
}

#[test]
fn a_role_whose_log_cannot_be_written_ends_with_its_reason_on_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let roles = SHIPPED.replace("127.0.0.1:8081", &address);
    std::fs::write(folder.path().join("roles.toml"), roles).unwrap();
    // env_logger prints what is wrong with RUST_LOG, and panics where it cannot.
    for before in ["", "RUST_LOG=a=b=c", "RUST_LOG=debug"] {
        fails_saying(
            printed(folder.path(), before, "2>/dev/full"),
            &["catalog cannot listen", &address],
        );
        let (status, _) = printed(folder.path(), before, ">/dev/full 2>/dev/full");
        assert_eq!(status, Some(1), "{before}");
    }
    // A log that is as long as `ulimit -f` allows.
    fails_saying(
        printed(folder.path(), "ulimit -f 0;", "2>log"),
        &["catalog cannot listen", &address],
    );
}

#[test]
fn a_role_that_others_can_reach_says_that_the_network_can_read_its_secret() {
    let folder = tempfile::tempdir().unwrap();
    // Bound for a moment, so that the port is free.
    let port = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    let text = SHIPPED.replace("127.0.0.1:8080", &format!("0.0.0.0:{port}"));
    let roles = format!("secret = \"0123456789abcdef\"\n{text}");
    std::fs::write(folder.path().join("roles.toml"), roles).unwrap();
    let mut role = Command::new(env!("CARGO_BIN_EXE_toystore"))
        .arg("frontend")
        .current_dir(folder.path())
        .env_remove("ROLES")
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(role.stderr.take().unwrap()).lines().map_while(Result::ok);
    // Without a catalog, it soon says a third thing.
    let said = lines.take(3).find(|line| line.contains("without TLS"));
    role.kill().unwrap();
    role.wait().unwrap();
    assert!(said.is_some_and(|line| line.contains("WARN") && line.contains("read the secret")));
}
