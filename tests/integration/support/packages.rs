//! The packages below `tests/`, installed or built by the first test that needs one.

use std::{
    path::PathBuf,
    process::Command,
    sync::{Mutex, PoisonError},
};

/// The npm package `tests/<name>`, with those that it needs; blocks while they are being installed.
pub(crate) fn installed(name: &str) -> PathBuf {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _alone = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name);
    // Written last, so a set-up that broke off is done again.
    if !folder.join("node_modules/.package-lock.json").exists() {
        let install = Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(&folder)
            .status()
            .expect("`npm` installs the packages of the tests");
        assert!(install.success(), "`npm ci` failed in tests/{name}");
    }
    folder
}

/// The program of the Rust package `tests/<folder>`, which has a lock file of its own; blocks while it is being built,
/// in what others leave of the processors.
pub(crate) fn built(folder: &str, program: &str) -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(folder)
        .join("Cargo.toml");
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(program);
    let build = Command::new("nice")
        .args(["-n", "19", env!("CARGO"), "build", "--locked", "--quiet"])
        .arg("--manifest-path")
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        .status()
        .expect("`cargo` builds the packages of the tests");
    assert!(build.success(), "`cargo build` failed in tests/{folder}");
    target.join("debug").join(program)
}
