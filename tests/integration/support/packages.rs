//! The npm packages below `tests/`, installed by the first test that needs one.

use std::{
    path::PathBuf,
    process::Command,
    sync::{Mutex, PoisonError},
};

/// The folder `tests/<name>` with its packages; blocks while they are being installed.
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
