//! The front end's own set-up, with the real client, against the whole application.

use std::{collections::BTreeMap, process::Command};

use crate::support::{packages, recorded_app::RecordedApp};

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::print_stdout,
    reason = "the runner's closing line is part of the report"
)]
async fn a_front_end_of_the_typescript_server_works_unchanged() {
    let settings = BTreeMap::from([("CHAT_RATE_LIMIT".to_owned(), "10".to_owned())]);
    let recorded = RecordedApp::start(&settings).await;
    let (base, cookie) = (recorded.app.url.clone(), recorded.cookie("user"));
    let output = tokio::task::spawn_blocking(move || {
        Command::new("node")
            .arg("run.mjs")
            .arg(base)
            .arg(cookie)
            .current_dir(packages::installed("front_end"))
            .output()
    });
    let output = output.await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{}", text.lines().last().unwrap_or_default());
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
