//! The real binary, killed again and again while rollouts run under traffic.
//!
//! Nothing in the server knows of these tests, so the kills are aimed by time: each process lives for
//! another, seeded span, so that over many kills every step of a transition is hit. What must come
//! out is what comes out without kills.

mod flags;
mod ledger;
mod process;

use std::{io::Write, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use self::{ledger::Ledger, process::Server};
use crate::support::{stored_rollout::StoredRollout, wait::until};

/// Kills in one test run; `scripts/long crashes` asks for more.
const KILLS: u32 = 50;
/// How many kills, and where chance starts; only `scripts/long crashes` sets them.
const VARIABLES: [&str; 2] = ["MODELRAMP_CAMPAIGN_KILLS", "MODELRAMP_CAMPAIGN_SEED"];
/// The program of a campaign, which has a release build: at each start a debug build reads for seconds what hundreds of
/// processes before it have stored.
const PROGRAM: &str = "MODELRAMP_CAMPAIGN_PROGRAM";
/// A process lives for so many milliseconds after it listens: from before its first tick until
/// after its second.
const LIFE_MS: std::ops::Range<u64> = 20..2_200;
/// Before a stop: about two seconds of traffic.
const ANSWERS: usize = 400;
/// Processes that one rollout may take.
const PATIENCE: u32 = 60;

/// Kills, and the seed.
fn campaign() -> (u32, u64) {
    let [kills, seed] = VARIABLES.map(|name| std::env::var(name).ok());
    (
        kills.map_or(KILLS, |text| text.parse().unwrap()),
        seed.map_or(3, |text| text.parse().unwrap()),
    )
}

/// A plan whose stages last a second, judged by errors alone: at 100 % latency is held against
/// control's as it was, and a machine that starts fifty processes is not as it was. Nothing lies below a
/// rollback: whether a look falls between is the machine's speed, and no matter of kills.
fn plan(candidate: &str) -> String {
    let stage = |share| {
        format!(
            "[[stages]]\nshare = {share}\nsoak = \"1s\"\nmin_requests = 8\nmin_users = 2\nmin_time = \"1s\"\n"
        )
    };
    format!(
        "name = \"quick-{candidate}\"\ntasks = [\"chat\"]\ndeadline = \"1h\"\nholdout = 0\n\
         control = [\"trusty\"]\ncandidate = [\"{candidate}\", \"trusty\"]\n\
         [no_traffic]\nalert_after = \"10m\"\nhold = false\n\
         [evidence]\nwatch = 100\nhold = 100\ngood_error_rate = 0.4\nmax_error_rate = 0.6\noutage_period = \"0s\"\nweights = {{ errors = 1 }}\n{}{}",
        stage(50),
        stage(100)
    )
}

/// Starts a rollout; a server that was killed may have done so without telling.
async fn start(server: &Server, candidate: &str) -> Option<String> {
    let params = json!({"plan": plan(candidate), "reason": "a crash test", "takeBack": true});
    match server.call("rollout.start", params).await? {
        Ok(started) => Some(started["id"].as_str().unwrap().to_owned()),
        Err(error) => {
            let list = server.call("rollout.list", json!({})).await?.unwrap();
            let live = list.as_array().unwrap().first().cloned();
            let live = live.unwrap_or_else(|| panic!("{error}"));
            Some(live["id"].as_str().unwrap().to_owned())
        }
    }
}

async fn is_over(server: &Server, id: &str) -> Option<bool> {
    let get = server.call("rollout.get", json!({"id": id})).await?;
    Some(get.unwrap()["live"] == Value::Bool(false))
}

/// Whether what came out with kills is what comes out without.
fn check(without: &StoredRollout, with: &StoredRollout) {
    let both = || format!("without kills {without:#?}\nwith kills {with:#?}");
    assert_eq!(without.state, with.state, "{}", both());
    assert_eq!(without.share, with.share, "{}", both());
    assert_eq!(without.actions, with.actions, "{}", both());
    assert_eq!(without.versions, with.versions, "{}", both());
    assert_eq!(without.alerts, with.alerts, "{}", both());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_a_rollout_ends_as_it_would_have() {
    let (wanted, seed) = campaign();
    let mut draws = StdRng::seed_from_u64(seed);
    let ledger = Ledger::new().await;

    let mut expected = Vec::new();
    for candidate in ["good", "bad"] {
        let server = ledger.serve().await;
        let id = start(&server, candidate).await.unwrap();
        until("the rollout is over", async || {
            is_over(&server, &id).await.unwrap()
        })
        .await;
        server.terminate().await;
        expected.push(ledger.rollout(&id).await);
    }
    assert_eq!(expected[0].state, "completed", "{:?}", expected[0]);
    assert_eq!(expected[1].state, "rolled-back", "{:?}", expected[1]);

    let (mut killed, mut round) = (0, 0);
    while killed < wanted {
        let candidate = ["good", "bad"][round % 2];
        let mut id = None;
        for process in 0.. {
            assert!(process < PATIENCE, "`{candidate}` does not come to an end");
            let server = ledger.serve().await;
            let life = Duration::from_millis(draws.random_range(LIFE_MS));
            let driven = async {
                let id: &mut Option<String> = &mut id;
                if id.is_none() {
                    *id = start(&server, candidate).await;
                }
                let Some(id) = id else {
                    return std::future::pending().await;
                };
                until("the rollout is over", async || {
                    is_over(&server, id).await == Some(true)
                })
                .await;
            };
            // Whether it is over, only the database knows: a lowering is in force before it is
            // written, and one that was not written is made again by the next process.
            let _ = tokio::time::timeout(life, driven).await;
            server.kill().await;
            killed += 1;
            ledger.check_what_was_acknowledged().await;
            if let Some(id) = &id
                && ledger.rollout(id).await.is_over()
            {
                break;
            }
        }
        let seen = ledger.rollout(&id.unwrap()).await;
        check(&expected[round % 2], &seen);
        round += 1;
    }
    let done = format!("{killed} kills over {round} rollouts\n");
    std::io::stdout().write_all(done.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_loses_nothing() {
    let ledger = Ledger::new().await;
    let server = ledger.serve().await;
    let id = start(&server, "good").await.unwrap();
    // So many that they came over several ticks.
    until("there was traffic", async || server.answers() >= ANSWERS).await;
    server.terminate().await;
    ledger.check_that_every_answer_has_its_event().await;
    let StoredRollout { versions, .. } = ledger.rollout(&id).await;
    let counted: Vec<i64> = (versions[0]..).take(versions.len()).collect();
    assert_eq!(versions, counted);
}
