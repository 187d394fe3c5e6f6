//! `modelramp demo`, whole, as a person runs it.

use std::{process::Stdio, time::Duration};

use tokio::process::Command;

#[tokio::test]
async fn it_ends_well_in_less_than_three_minutes_and_reads_no_settings() {
    let folder = tempfile::tempdir().unwrap();
    // A server with these would not even start.
    std::fs::write(
        folder.path().join(".env"),
        "PORT=none\nDATABASE_URL=nowhere\n",
    )
    .unwrap();
    let demo = Command::new(env!("CARGO_BIN_EXE_modelramp"))
        .arg("demo")
        .env_clear()
        .env("TMPDIR", folder.path())
        .env("OPENROUTER_ROLLOUT_PERCENTAGE", "nonsense")
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(180), demo).await;
    let output = output.expect("less than three minutes").unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let fault = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}\n{fault}");
    for says in [
        "completed at",
        "rolled-back at",
        "All three rollouts went as they should",
        // Why, in words.
        "the candidate is worse than control: flawed are",
        "in another language), and on control none of",
    ] {
        assert!(text.contains(says), "{text}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}
