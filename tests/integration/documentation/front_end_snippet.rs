//! The README's front end, as a newcomer makes it: an empty folder, `npm install`, the snippet.

use std::{path::Path, process::Command};

use super::{blocks, root};
use crate::support::app::TestApp;

/// Runs a program there, and returns what it printed.
fn run(program: &str, arguments: &[&str], folder: &Path, token: &str) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("MODELRAMP_TOKEN", token)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}\n{text}{errors}"
    );
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_front_end_of_the_readme_works_after_a_plain_install() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let [snippet] = blocks(&readme, "ts").try_into().unwrap();
    let [install] = blocks(&readme, "sh")
        .iter()
        .flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter(|line| line.starts_with("npm install "))
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    let server = TestApp::start().await;
    let address = "http://127.0.0.1:3000";
    assert!(snippet.contains(address), "{snippet}");
    let snippet = snippet.replace(address, &server.url);
    let token = server.setup.admin().await.to_owned();

    let ran = tokio::task::spawn_blocking(move || {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        let run =
            |program: &str, arguments: &[&str]| run(program, arguments, folder.path(), &token);
        write("package.json", r#"{"private": true, "type": "module"}"#);
        // The README's own line, with the folder of this checkout in place of a newcomer's.
        let packages = install.split_whitespace().skip(2);
        let schema = root().join("schema").display().to_string();
        let packages: Vec<_> = packages
            .map(|package| {
                if package.ends_with("/schema") {
                    schema.clone()
                } else {
                    package.to_owned()
                }
            })
            .collect();
        assert!(packages.contains(&schema), "{install}");
        let mut arguments = vec!["install", "--no-audit", "--no-fund", "--loglevel=error"];
        arguments.extend(packages.iter().map(String::as_str));
        arguments.extend(["typescript@5.9.3", "@types/node@20"]);
        run("npm", &arguments);
        let ending = "\nconst isAny: 0 extends 1 & typeof summary ? true : false = false;\n\
             console.log(isAny, JSON.stringify(summary));\n";
        write("client.ts", &(snippet + ending));
        let compiler = [
            "tsc",
            "--strict",
            "--module",
            "esnext",
            "--moduleResolution",
            "bundler",
            "--target",
            "es2022",
            "--types",
            "node",
            "--skipLibCheck",
            "client.ts",
        ];
        run("npx", &compiler);
        run("node", &["client.js"])
    });
    let printed = ran.await.unwrap();
    assert!(
        printed.starts_with("false {\"totalRequests\":0,"),
        "{printed}"
    );
}
