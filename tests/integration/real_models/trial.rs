//! A trial of two real models that are the same: the machinery from the prompts to the report.

use serde_json::Value;

use super::world::World;

/// Of the example, every tenth prompt: each kind is among them.
const EVERY: usize = 10;
/// Another number, for `scripts/long trial`.
const EVERY_VARIABLE: &str = "MODELRAMP_TRIAL_EVERY";

#[tokio::test(flavor = "multi_thread")]
async fn prompts_are_put_to_both_models_and_equal_ones_are_not_called_worse() {
    let Some(world) = World::start().await else {
        return;
    };
    let example = include_str!("../../../examples/trial.jsonl");
    let every = std::env::var_os(EVERY_VARIABLE).and_then(|it| it.to_str()?.parse().ok());
    let every = every.unwrap_or(EVERY);
    let count = example.lines().step_by(every).count();
    let short = example.lines().step_by(every).map(|line| {
        let mut prompt: Value = serde_json::from_str(line).unwrap();
        // A small model on one thread writes some dozens of tokens a second.
        prompt["max_tokens"] = 8.into();
        format!("{prompt}\n")
    });
    let folder = world.setup.folder();
    std::fs::write(folder.join("twenty.jsonl"), short.collect::<String>()).unwrap();

    let arguments = [
        "trial",
        "twenty.jsonl",
        "--url",
        &world.server.url,
        "--ratio",
        "3",
    ];
    let mut command = world.setup.command(&arguments);
    command.env("MODELRAMP_TOKEN", &world.server.admin);
    let ran = command.output().await.unwrap();
    let (out, err) = (
        String::from_utf8(ran.stdout).unwrap(),
        String::from_utf8(ran.stderr).unwrap(),
    );
    assert!(ran.status.success(), "{out}{err}");
    assert!(
        out.contains(&format!("({count} prompts)")) && !err.contains("is worse than"),
        "{out}"
    );
    // Eight tokens cut nearly every answer off, on both sides alike.
    let truncated = out
        .lines()
        .find(|line| line.starts_with("truncated"))
        .unwrap();
    assert!(!truncated.ends_with("worse"), "{truncated}");
    let results = std::fs::read_to_string(folder.join("twenty.results.jsonl")).unwrap();
    assert_eq!(results.lines().count(), 1 + 2 * count);
    assert!(
        results
            .lines()
            .skip(1)
            .all(|line| line.contains("\"fault\":null")),
        "{results}"
    );
    assert!(folder.join("twenty.report.svg").exists());
}
