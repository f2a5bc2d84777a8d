//! What `/metrics` says, read as Prometheus reads it.
#![allow(clippy::expect_used, reason = "a failure here is a test's failure")]

use std::io::Write as _;
use std::process::{Command, Stdio};

/// The value of a metric, with its labels as they are written.
pub(crate) fn value(text: &str, metric: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    assert!(line.is_some(), "{metric} is missing: {text}");
    line.and_then(|number| number.parse().ok()).expect("a number")
}

/// Has Prometheus' own tool read the text, which must find nothing to complain of.
pub(crate) fn is_accepted_by_promtool(text: &str) {
    let tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut tool = match tool {
        Ok(tool) => tool,
        Err(error) => {
            // tests/run.sh installs it; a run without it must not pass for one with it.
            assert!(std::env::var_os("CI").is_none(), "promtool is missing: {error}");
            let what = "left out: promtool is missing; get it with: apt-get install prometheus";
            writeln!(std::io::stderr(), "{what}").expect("standard error can be written");
            return;
        }
    };
    tool.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    let output = tool.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&said));
    assert!(said.is_empty(), "{}", String::from_utf8_lossy(&said));
}
