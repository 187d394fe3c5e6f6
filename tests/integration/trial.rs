//! `modelramp trial` as a process of its own, over models of known rates.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::PathBuf,
    process::Output,
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{
    app::TestApp,
    scripted_upstream::{Reply, Request, Upstream},
    wait::until,
};

const SCHEMA: &str = r#"{"type": "object", "required": ["n"]}"#;

/// Two models at providers of their own, a server that knows them, and a file of prompts.
struct World {
    control: Upstream,
    candidate: Upstream,
    app: TestApp,
    prompts: PathBuf,
}

impl World {
    /// Models that answer the prompt of a number so. `limits` goes into the candidate's provider.
    async fn new(
        prompts: usize,
        control: impl Fn(usize) -> Reply + Send + Sync + 'static,
        candidate: impl Fn(usize) -> Reply + Send + Sync + 'static,
        limits: &str,
    ) -> Self {
        let control = Upstream::with(move |_, request| control(number(request))).await;
        let candidate = Upstream::with(move |_, request| candidate(number(request))).await;
        let catalog = format!(
            r#"
            [providers.a]
            base_url = "{}"
            [providers.b]
            base_url = "{}"
            {limits}
            [models.old]
            provider = "a"
            id = "old"
            context = 8192
            prices = {{ prompt = 1.0, completion = 1.0 }}
            [models.new]
            provider = "b"
            id = "new"
            context = 8192
            prices = {{ prompt = 1.0, completion = 1.0 }}
            [tasks.chat]
            control = ["old"]
            candidate = ["new", "old"]
            [tasks.same]
            control = ["old"]
            candidate = ["old"]
            "#,
            control.base_url, candidate.base_url
        );
        let app = TestApp::builder()
            .with_catalog(&catalog)
            .with_setting("ONE_API_KEY", "one")
            .with_setting("TWO_API_KEY", "two")
            .start()
            .await;
        let path = app.setup.folder().join("prompts.jsonl");
        let mut text = String::new();
        for n in 0..prompts {
            writeln!(
                text,
                r#"{{"id": "p{n}", "kind": "k", "prompt": "Prompt {n}", "schema": {SCHEMA}, "expect": ["\"n\":{n}}}", "none"]}}"#
            )
            .unwrap();
        }
        std::fs::write(&path, text).unwrap();
        Self {
            control,
            candidate,
            app,
            prompts: path,
        }
    }

    async fn command(&self, arguments: &[&str]) -> Command {
        let mut all = vec!["trial", "prompts.jsonl", "--url", &self.app.url];
        all.extend(arguments);
        let mut command = self.app.setup.command(&all);
        command.env("MODELRAMP_TOKEN", self.app.setup.admin().await);
        command
    }

    /// Runs it to its end: its exit code, what it printed, and what it said beside that.
    async fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(arguments).await.output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    fn file(&self, ending: &str) -> String {
        let path = self.prompts.with_extension(ending);
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// How often each prompt was put to either model.
    fn asked(&self) -> BTreeMap<(&'static str, usize), usize> {
        let mut asked = BTreeMap::new();
        for (arm, upstream) in [("old", &self.control), ("new", &self.candidate)] {
            for request in upstream.requests() {
                *asked.entry((arm, number(&request))).or_default() += 1;
            }
        }
        asked
    }

    async fn start(&self) -> Result<Value, Value> {
        let plan = "name = \"tried\"\ntasks = [\"chat\"]\n\
                    [trial]\npairs = 100\nratio = 3.5\n[[stages]]\nshare = 10\nsoak = \"1h\"";
        let start = json!({"plan": plan, "reason": "a test"});
        self.app.call("rollout.start", start).await
    }
}

/// The number in `Prompt 17`.
fn number(request: &Request) -> usize {
    let content = &request.body["messages"][0]["content"];
    let words = content.as_str().unwrap_or_default();
    words.trim_start_matches("Prompt ").parse().unwrap()
}

fn good(n: usize) -> Reply {
    Reply::ok(&json!({ "n": n }).to_string())
}

/// The line of a metric in the table.
fn line<'t>(table: &'t str, metric: &str) -> &'t str {
    let mut lines = table.lines();
    let found = lines.find(|line| line.split_whitespace().next() == Some(metric));
    found.unwrap_or_else(|| panic!("{metric}: {table}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_is_worse_is_found_by_metric_and_a_plan_that_demands_a_trial_is_refused() {
    // A fifth says nothing, three tenths are no JSON, and a tenth is wrong.
    let candidate = |n: usize| match n % 10 {
        0 | 1 => Reply::ok(""),
        2..=4 => Reply::ok("Certainly! Here is your answer."),
        5 => good(n + 1),
        _ => good(n),
    };
    let world = World::new(120, good, candidate, "").await;

    let refused = world.start().await.unwrap_err();
    let why = refused["message"].as_str().unwrap();
    assert!(
        why.contains("demands a trial") && why.contains("none is recorded"),
        "{why}"
    );
    assert!(why.contains("`new` against `old`"), "{why}");

    let (code, out, err) = world.run(&["--parallel", "4"]).await;
    assert_eq!(code, 1, "{out}{err}");
    assert!(err.contains("`new` is worse than `old`"), "{err}");
    for (metric, figures) in [
        ("errors", "20.0 %"),
        ("schema-invalid", "37.5 %"),
        ("wrong-answer", "50.0 %"),
    ] {
        let line = line(&out, metric);
        assert!(line.ends_with("worse") && line.contains(figures), "{line}");
    }
    assert!(
        line(&out, "cost").contains("no worse by more than 25 %"),
        "{out}"
    );
    let page = world.file("report.md");
    assert!(
        page.contains(
            "For `chat`, `new` is worse than `old`: errors, schema-invalid, wrong-answer"
        ),
        "{page}"
    );
    let picture = world.file("report.svg");
    assert!(page.contains("(prompts.report.svg)") && picture.ends_with("</svg>\n"));

    let trials = world.app.call("trials.list", json!({})).await.unwrap();
    assert_eq!(trials[0]["result"]["verdict"], "worse", "{trials}");
    assert_eq!(trials[0]["actor"], "user:1");
    let refused = world.start().await.unwrap_err();
    assert_eq!(refused["data"]["code"], "PRECONDITION_FAILED");
    let why = refused["message"].as_str().unwrap();
    assert!(why.contains("says `worse`"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_models_are_no_worse_and_the_plan_that_demands_that_begins() {
    let world = World::new(140, good, good, "").await;
    // Over loopback a quarter more is a matter of microseconds.
    let (code, out, err) = world.run(&["--ratio", "3.5"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        out.contains("is no worse than `old` by more than the margins (140 prompts)"),
        "{out}"
    );
    assert_eq!(world.start().await.unwrap()["plan"], "tried");
    // Answers of then, however late they are judged again.
    let (code, out, err) = world.run(&["--ratio", "3.4"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let trials = world.app.call("trials.list", json!({})).await.unwrap();
    assert_eq!(trials.as_array().unwrap().len(), 2);
    assert_eq!(trials[0]["at"], trials[1]["at"], "{trials}");
    assert_ne!(trials[0]["id"], trials[1]["id"]);

    // Decided long before all are asked: a trial may stop whenever it wants.
    let (code, out, err) = world
        .run(&[
            "--ratio",
            "3.5",
            "--until-decided",
            "--results",
            "other.jsonl",
        ])
        .await;
    assert_eq!(code, 0, "{out}{err}");
    let lines = std::fs::read_to_string(world.app.setup.folder().join("other.jsonl")).unwrap();
    assert!(lines.lines().count() < 260, "{}", lines.lines().count());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_says_nothing_of_the_model_and_the_next_ones_answer_counts() {
    let is_first = AtomicBool::new(true);
    let candidate = move |n| match is_first.swap(false, Ordering::Relaxed) {
        true => Reply::status(401),
        false => good(n),
    };
    let keys = r#"api_key_env = "ONE_API_KEY"
                  keys = [{ api_key_env = "TWO_API_KEY", account = "other" }]"#;
    let world = World::new(4, good, candidate, keys).await;
    let (_, out, err) = world.run(&[]).await;
    assert!(out.contains("(4 prompts)"), "{out}{err}");
    assert!(line(&out, "errors").contains("0.0 %"), "{out}");
    assert_eq!(world.candidate.requests().len(), 5, "{out}{err}");
    assert!(world.asked().values().all(|times| *times <= 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_goes_on_and_asks_nothing_twice_that_was_kept() {
    let world = World::new(40, good, good, "").await;
    let kept = || world.file("results.jsonl").lines().count();
    let mut before = 0;
    for _ in 0..3 {
        let mut running = world.command(&[]).await.spawn().unwrap();
        until("some answers are kept", async || kept() >= before + 12).await;
        running.kill().await.unwrap();
        before = kept();
    }
    let (code, out, err) = world.run(&["--ratio", "3.5"]).await;
    assert!(err.contains("answers kept from before"), "{err}");
    assert!(code == 0 || out.contains("not proven"), "{code} {out}{err}");
    assert!(out.contains("(40 prompts)"), "{out}");
    let asked = world.asked();
    assert_eq!(asked.len(), 80);
    // Of each life that was ended, the answer that was on its way.
    let again: usize = asked.values().map(|times| times - 1).sum();
    assert!(again <= 3, "{again} were asked again: {asked:?}");
    assert_eq!(kept(), 81, "what is compared, and each answer once");
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_are_kept_and_what_is_left_is_done_later() {
    // Of a day of which nothing is known, half counts as used.
    let world = World::new(30, good, good, "quota = { day = 20 }").await;
    let (code, out, err) = world.run(&["--per-day", "14"]).await;
    assert_eq!(code, 1, "{out}{err}");
    assert!(
        err.contains("`--per-day`") && err.contains("goes on where this one stopped"),
        "{err}"
    );
    assert_eq!(world.asked().len(), 14);
    let (_, _, err) = world.run(&["--per-day", "14"]).await;
    assert!(err.contains("14 answers kept from before"), "{err}");
    assert_eq!(world.asked().len(), 14, "the same day");

    let (code, out, err) = world.run(&[]).await;
    assert_eq!(code, 1, "{out}{err}");
    assert!(
        err.contains("the quota at `b` leaves no slot: its day is used up"),
        "{err}"
    );
    assert_eq!(world.candidate.requests().len(), 10);
    assert!(world.asked().values().all(|times| *times == 1));
    assert!(out.contains("not proven, would take about"), "{out}");
    let trials = world.app.call("trials.list", json!({})).await.unwrap();
    assert_eq!(trials, json!([]), "it is not over");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_tried_is_refused_before_anything_is_asked() {
    let world = World::new(5, good, good, "").await;
    for (arguments, words) in [
        (
            ["--task", "chta"],
            "unknown task `chta`; known are chat, same; did you mean `chat`?",
        ),
        (
            ["--task", "same"],
            "begin with `old`: there is nothing to compare",
        ),
        (["--plan", "nowhere"], "Unknown plan `nowhere`"),
    ] {
        let (code, _, err) = world.run(&arguments).await;
        assert_eq!(code, 1);
        assert!(err.contains(words), "{err}");
    }
    let mut text = std::fs::read_to_string(&world.prompts).unwrap();
    text.push_str("{\"id\": \"p9\"}\n{\"id\": \"p0\", \"prompt\": \"again\"}\n");
    std::fs::write(&world.prompts, text).unwrap();
    let (code, _, err) = world.run(&[]).await;
    assert_eq!(code, 1);
    for words in [
        "line 6: expected either `prompt` or `messages`",
        "line 7: `id` is `p0`",
    ] {
        assert!(err.contains(words), "{err}");
    }
    assert!(world.asked().is_empty());
}
