//! A front end in Chromium, behind a TLS proxy that rewrites Host: see `tests/browser/run.mjs`.

use std::{path::Path, process::Command};

use crate::support::packages;

/// Debian's; `scripts/test` installs it and says that it has to be there.
const CHROMIUM: &str = "/usr/bin/chromium";

#[test]
#[expect(
    clippy::print_stdout,
    reason = "the runner's closing line is part of the report"
)]
fn a_front_end_in_chromium_signs_in_and_out_wherever_it_lies() {
    if !Path::new(CHROMIUM).exists() {
        let required = std::env::var_os("MODELRAMP_TEST_REQUIRE_CHROMIUM").is_some();
        assert!(!required, "there is no `{CHROMIUM}`");
        println!("left out: there is no `{CHROMIUM}`");
        return;
    }
    let output = Command::new("node")
        .arg("run.mjs")
        .arg(env!("CARGO_BIN_EXE_modelramp"))
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
