//! A real SMTP server, from npm. Needs `node`; without it these tests say so and pass.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::Value;

use crate::support::packages;

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/alerting")
}

/// Whether there is node; says so if not.
#[expect(
    clippy::print_stderr,
    reason = "a skipped test must not look like a passed one"
)]
pub(crate) fn has_node() -> bool {
    let has_node = Command::new("node").arg("--version").output().is_ok();
    if !has_node {
        eprintln!("skipped: `node` is not installed");
    }
    has_node
}

/// A running mail server; ends when dropped.
pub(crate) struct MailServer {
    pub(crate) port: u16,
    node: Child,
    lines: BufReader<ChildStdout>,
}

impl MailServer {
    /// `None` without node.
    pub(crate) fn start(options: &Value) -> Option<Self> {
        if !has_node() {
            return None;
        }
        let mut node = Command::new("node")
            .args(["smtp.mjs", &options.to_string()])
            .current_dir(packages::installed("alerting"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(node.stdout.take().unwrap());
        let mut server = Self {
            port: 0,
            node,
            lines,
        };
        server.port = u16::try_from(server.next()["port"].as_u64().unwrap()).unwrap();
        Some(server)
    }

    /// What the server tells next.
    pub(crate) fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Ends the server; what it has not yet told.
    pub(crate) fn rest(mut self) -> Vec<Value> {
        drop(self.node.stdin.take());
        let lines = self.lines.by_ref().lines().map(Result::unwrap);
        lines
            .map(|line| serde_json::from_str(&line).unwrap())
            .collect()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}
