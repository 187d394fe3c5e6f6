//! Tells the program of which commit it is: `MODELRAMP_COMMIT` where that is set, else what git says.
//!
//! Only for a release: a development build would be made anew after each commit.

use std::{env, path::Path, process::Command};

#[expect(clippy::disallowed_methods, reason = "so cargo tells a build script")]
fn main() {
    println!("cargo:rerun-if-env-changed=MODELRAMP_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let commit = match env::var("MODELRAMP_COMMIT") {
        Ok(commit) if !commit.is_empty() => commit,
        _ if env::var("PROFILE").is_ok_and(|profile| profile == "release") => of_git(),
        _ => "development".into(),
    };
    println!("cargo:rustc-env=MODELRAMP_COMMIT={commit}");
}

/// Commit and day of this folder's checkout.
fn of_git() -> String {
    // The log of the head changes with each commit and each checkout.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"]);
    if let Some(log) = log.filter(|log| Path::new(log).exists()) {
        println!("cargo:rerun-if-changed={log}");
    }
    git(&["log", "-1", "--format=%h, %cs"]).unwrap_or_else(|| "unknown commit".into())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
