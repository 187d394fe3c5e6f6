//! Front ends in Chromium: behind a TLS proxy that rewrites Host (`tests/browser/run.mjs`), and the original's with an old
//! server behind this one (`moves.mjs`).

use std::{path::Path, process::Command};

use crate::support::packages;

/// Debian's; `scripts/test` installs it and says that it has to be there.
const CHROMIUM: &str = "/usr/bin/chromium";

/// Runs a script with the program; fails where it does.
#[expect(
    clippy::print_stdout,
    reason = "the runner's closing line is part of the report"
)]
fn run(script: &str, more: &[&Path]) {
    if !Path::new(CHROMIUM).exists() {
        let required = std::env::var_os("MODELRAMP_TEST_REQUIRE_CHROMIUM").is_some();
        assert!(!required, "there is no `{CHROMIUM}`");
        println!("left out: there is no `{CHROMIUM}`");
        return;
    }
    let output = Command::new("node")
        .arg(script)
        .arg(env!("CARGO_BIN_EXE_modelramp"))
        .args(more)
        .current_dir(packages::installed("browser"))
        .output()
        .expect("`node` (20 or newer) runs the front end");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(
        output.status.success() && text.trim_end().ends_with(" 0 failed"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_front_end_in_chromium_signs_in_and_out_wherever_it_lies() {
    run("run.mjs", &[]);
}

/// Whether each procedure moves by itself, as `scripts/long moves` has it, or by namespaces.
const EACH: &str = "MODELRAMP_MOVE_EACH";

#[test]
fn a_front_end_of_the_original_works_in_chromium_while_its_procedures_move_over_and_back() {
    let old = packages::installed("legacy");
    let which = std::env::var_os(EACH).map_or("", |_| "each");
    run("moves.mjs", &[&old, Path::new(which)]);
}
