//! Runs `tests/conformance`, which drives a server with the real npm clients.

use std::process::Command;

use super::packages;

/// Runs every check against a server and fails with those that failed.
///
/// Blocks; needs `node` and, the first time, `npm`.
#[expect(
    clippy::print_stdout,
    reason = "the closing line is what a reader of the test's output looks for"
)]
pub(crate) fn run(url: &str, environment: &[(&str, &str)]) {
    let folder = packages::installed("conformance");
    let output = Command::new("node")
        .arg("run.mjs")
        .arg(url)
        .envs(environment.iter().copied())
        .current_dir(folder)
        .output()
        .expect("`node` (20 or newer) runs the conformance harness");
    let text = String::from_utf8_lossy(&output.stdout);
    let closing = text.lines().last().unwrap_or_default();
    println!("{closing}");
    let found = |mark: &str| -> Vec<&str> {
        let mark = format!("{mark} ");
        text.lines()
            .filter(|line| line.starts_with(&mark))
            .collect()
    };
    for warning in found("WARN") {
        println!("{warning}");
    }
    let failures = found("FAIL");
    assert!(
        output.status.success() && failures.is_empty() && closing.ends_with(" 0 failed"),
        "{}\n{closing}\n{}",
        failures.join("\n"),
        String::from_utf8_lossy(&output.stderr)
    );
}
