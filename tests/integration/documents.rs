//! `/api/openapi.json` and `/api/docs` of the whole application; `tests/documents` has the scripts.

use std::path::Path;

use modelramp::{config::Transformer, schema::Documents};
use tokio::process::Command;

use crate::{
    contract,
    support::{app::TestApp, packages},
};

/// Debian's; `scripts/test` installs it and says that it has to be there.
const CHROMIUM: &str = "/usr/bin/chromium";

/// Runs a script against a server; its last words.
async fn run(script: &str, settings: &[(&str, &str)]) -> String {
    let setup = TestApp::builder().with_settings(settings.iter().copied());
    let server = setup.start().await;
    let token = server.setup.admin().await;
    let folder = tokio::task::spawn_blocking(|| packages::installed("documents"));
    let output = Command::new("node")
        .args([script, &server.url, token])
        .current_dir(folder.await.unwrap())
        .output()
        .await
        .expect("`node` (20 or newer) runs the script");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_document_is_valid_and_the_server_answers_as_it_says() {
    for transformer in ["superjson", "none"] {
        let text = run("openapi.mjs", &[("TRPC_TRANSFORMER", transformer)]).await;
        assert!(text.trim_end().ends_with(" 0 failed"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "says that it was left out")]
async fn the_page_works_in_a_browser() {
    if !Path::new(CHROMIUM).exists() {
        let required = std::env::var_os("MODELRAMP_TEST_REQUIRE_CHROMIUM").is_some();
        assert!(!required, "there is no `{CHROMIUM}`");
        println!("left out: there is no `{CHROMIUM}`");
        return;
    }
    let text = run("page.mjs", &[]).await;
    assert!(text.trim_end().ends_with(" 0 failed"), "{text}");
}

/// The sample has all that a contract can hold, and words that would be HTML if they were not escaped.
#[test]
fn words_of_a_procedure_are_never_html() {
    let documents = Documents::new(contract::registry().into(), Transformer::Superjson, true);
    assert!(
        documents
            .page()
            .contains("Not the end of &lt;i&gt;a comment&lt;/i&gt;.")
    );
    assert!(!documents.page().contains("<i>"));
}
