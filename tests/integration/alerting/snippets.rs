//! The checks of a signature that docs/alerts.md shows, run on a request that really came.

use std::{fs, io::Write as _, path::Path, process::Stdio};

use super::{smtp, *};

/// A delivered request, as the programs below read it: good, and spoiled in each part.
async fn cases() -> serde_json::Value {
    let receiver = Receiver::start(signed, &[]).await;
    Bench::new(&to_webhook(&receiver.origin), &[rollback("a")])
        .turn()
        .await;
    let received = receiver.received().remove(0);
    let header = |name: &str| received.headers[name].to_str().unwrap().to_owned();
    let headers = json!({
        "x-modelramp-timestamp": header("x-modelramp-timestamp"),
        "x-modelramp-signature": header("x-modelramp-signature"),
    });
    let now: i64 = header("x-modelramp-timestamp").parse().unwrap();
    let good = json!([SIGNING_SECRET, headers, received.text, now + 299]);
    let spoiled = |index: usize, value: serde_json::Value| {
        let mut case = good.clone();
        case[index] = value;
        case
    };
    json!([
        [true, good],
        [false, spoiled(0, json!("another secret"))],
        [false, spoiled(1, json!({}))],
        [false, spoiled(2, json!(format!("{} ", received.text)))],
        [false, spoiled(3, json!(now + 301))],
        [false, spoiled(3, json!(now - 301))],
    ])
}

async fn checks(program: &str, arguments: &[&str]) {
    let mut child = std::process::Command::new(program)
        .args(arguments)
        .current_dir(smtp::folder())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let cases = cases().await.to_string();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(cases.as_bytes())
        .unwrap();
    assert!(
        child.wait().unwrap().success(),
        "{program} judges otherwise"
    );
}

#[tokio::test]
async fn javascript_of_the_documentation_tells_good_from_bad() {
    const RUN: &str = "import { readFileSync } from 'node:fs';
        import { verify } from './verify.mjs';
        const cases = JSON.parse(readFileSync(0, 'utf8'));
        process.exit(cases.every(([good, args]) => verify(...args) === good) ? 0 : 1);";
    if smtp::has_node() {
        checks("node", &["--input-type=module", "-e", RUN]).await;
    }
}

#[tokio::test]
async fn python_of_the_documentation_tells_good_from_bad() {
    const RUN: &str = "import json, sys; sys.dont_write_bytecode = True; from verify import verify
sys.exit(0 if all(verify(*args) is good for good, args in json.load(sys.stdin)) else 1)";
    if std::process::Command::new("python3")
        .arg("--version")
        .output()
        .is_ok()
    {
        checks("python3", &["-c", RUN]).await;
    }
}

#[tokio::test]
async fn rust_of_the_documentation_tells_good_from_bad() {
    for case in cases().await.as_array().unwrap() {
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let args = &case[1];
        let mut headers = http::HeaderMap::new();
        for (name, value) in args[1].as_object().unwrap() {
            let name = http::HeaderName::try_from(name).unwrap();
            headers.insert(name, text(value).parse().unwrap());
        }
        let now = args[3].as_i64().unwrap();
        let judged = verify::verify(&text(&args[0]), &headers, &text(&args[2]), now);
        assert_eq!(json!(judged), case[0], "{case}");
    }
}

#[test]
fn the_documentation_shows_what_is_checked_here() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let page = read("docs/alerts.md");
    for (language, path) in [
        ("js", "tests/alerting/verify.mjs"),
        ("python", "tests/alerting/verify.py"),
        ("rust", "tests/integration/alerting/verify.rs"),
    ] {
        let block = format!("```{language}\n{}```", read(path));
        assert!(page.contains(&block), "{path} is not in docs/alerts.md");
    }
}
