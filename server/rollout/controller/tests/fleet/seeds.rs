//! A seed is a list of numbers, one for each step. A list that fails is shortened for as long as it fails in the same way, and
//! printed with what its steps did.

use std::{
    any::Any,
    io::Write as _,
    ops::Range,
    panic::{AssertUnwindSafe, set_hook, take_hook},
};

use futures::FutureExt as _;

use super::*;

const SEEDS: u64 = 60;
const STEPS: usize = 150;
/// How many, the first of them, and instead of how many for how long, in minutes. Only `scripts/long` sets them.
const VARIABLES: [&str; 3] = [
    "MODELRAMP_FLEET_SEEDS",
    "MODELRAMP_FLEET_FIRST_SEED",
    "MODELRAMP_FLEET_MINUTES",
];
/// Between two lines about how far it is.
const PROGRESS: Duration = Duration::from_secs(60);

/// The steps of a seed.
fn steps(seed: u64) -> Vec<u64> {
    let mut draws = StdRng::seed_from_u64(seed);
    (0..=STEPS).map(|_| draws.random()).collect()
}

/// What came of some steps: what they did, the log, and the history.
#[derive(Debug, PartialEq)]
struct Trace {
    told: Vec<String>,
    log: Vec<String>,
    history: Vec<(i64, f64)>,
}

async fn play(steps: &[u64], told: &mut Vec<String>) -> Trace {
    let mut fleet = Fleet::new(steps[0]).await;
    for step in &steps[1..] {
        fleet.step(*step).await;
        told.clone_from(&fleet.told);
        fleet.check();
    }
    fleet.heal().await;
    fleet.check_rest().await;
    let db = fleet.rigs[0].store.0.lock();
    let log = db.events.iter().map(|it| it.request_id.to_string());
    let history = db.audit.iter().map(|it| (it.version, it.after.share.get()));
    Trace {
        told: fleet.told,
        log: log.collect(),
        history: history.collect(),
    }
}

/// How some steps fail, if they do, and what they did.
async fn failure(steps: &[u64]) -> Option<(String, Vec<String>)> {
    let mut told = Vec::new();
    let played = AssertUnwindSafe(play(steps, &mut told))
        .catch_unwind()
        .await;
    played.err().map(|panic| (words(&*panic), told))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()));
    text.unwrap_or_default()
}

/// What is the same of a failure whatever the figures: the beginning of what is said of it.
fn kind(failure: &str) -> String {
    let line = failure.lines().next().unwrap_or_default();
    let line = line.strip_prefix("assertion `left == right` failed: ");
    let line = line.unwrap_or(failure).chars();
    line.filter(|it| !it.is_ascii_digit()).take(30).collect()
}

/// As few of these steps as fail in this way still.
async fn shortened(mut steps: Vec<u64>, way: &str) -> Vec<u64> {
    let mut size = steps.len() / 2;
    while size > 0 {
        let mut from = 1;
        while from < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(from..(from + size).min(fewer.len()));
            match failure(&fewer).await {
                Some((words, _)) if kind(&words) == way => steps = fewer,
                _ => from += size,
            }
        }
        size /= 2;
    }
    steps
}

fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Which, and until when.
fn seeds() -> (Range<u64>, Option<std::time::Instant>) {
    #[expect(clippy::disallowed_methods, reason = "a setting of the tests")]
    let [count, first, minutes] =
        VARIABLES.map(|name| std::env::var(name).ok()?.parse::<u64>().ok());
    let first = first.unwrap_or(0);
    let until = minutes.map(|it| std::time::Instant::now() + Duration::from_secs(60 * it));
    let count = match until {
        Some(_) => u64::MAX - first,
        None => count.unwrap_or(SEEDS),
    };
    (first..first + count, until)
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_each_event_is_judged_once() {
    let (seeds, until) = seeds();
    let (first, mut told_at) = (seeds.start, std::time::Instant::now());
    let mut failed = Vec::new();
    for seed in seeds {
        if until.is_some_and(|until| std::time::Instant::now() >= until) {
            say(&format!(
                "seeds {first} to {}: {} fail\n",
                seed - 1,
                failed.len()
            ));
            break;
        }
        if until.is_some() && told_at.elapsed() >= PROGRESS {
            told_at = std::time::Instant::now();
            say(&format!(
                "seed {seed}, {} of them fail: {failed:?}\n",
                failed.len()
            ));
        }
        let Some((words, _)) = failure(&steps(seed)).await else {
            continue;
        };
        let hook = take_hook();
        set_hook(Box::new(|_| {}));
        let fewest = shortened(steps(seed), &kind(&words)).await;
        let last = failure(&fewest).await;
        set_hook(hook);
        let (words, told) = last.unwrap_or_default();
        let told = told.join("\n");
        say(&format!(
            "seed {seed}, as few steps as fail:\n{told}\n{words}\n"
        ));
        failed.push(seed);
    }
    assert!(failed.is_empty(), "seeds {failed:?} fail");
}

#[tokio::test(start_paused = true)]
async fn a_seed_plays_the_same_twice() {
    let [first, second] = [(); 2].map(|()| steps(7));
    let mut told = Vec::new();
    let first = play(&first, &mut told).await;
    assert_eq!(first, play(&second, &mut told).await);
}
