//! Calls to procedures that this server has not: the old server answers them, in every form.

mod faults;
mod old_server;
mod settings;
mod uploads;

use std::process::Command;

use modelramp::_core::caller::Role;

use self::old_server::NodeServer;
use crate::support::{app::TestApp, packages};

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::print_stdout,
    reason = "the runner's closing line is part of the report"
)]
async fn the_real_clients_see_one_server_where_there_are_two() {
    let old = NodeServer::start().await;
    let app = TestApp::builder()
        .with_setting("LEGACY_TRPC_URL", format!("{}/api/trpc", old.url))
        .with_setting("LEGACY_PATHS", "/api/files")
        .start()
        .await;
    let token = app.setup.token(7, Role::User).await;
    let arguments = [app.url.clone(), old.url.clone(), token];
    let output = tokio::task::spawn_blocking(move || {
        Command::new("node")
            .arg("run.mjs")
            .args(arguments)
            .current_dir(packages::installed("legacy"))
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
