//! An account of 20 requests a minute and 50 a day, which three processes use.

use std::{collections::VecDeque, time::Instant};

use parking_lot::Mutex;
use secrecy::ExposeSecret;
use tokio::task::JoinSet;

use super::*;
use crate::support::scripted_upstream::{Reply, Upstream};

/// Whether the account has its minute as well, so that a day takes two minutes; only `scripts/long quota` sets it.
const WHOLE: &str = "MODELRAMP_FLEET_QUOTA";
const MINUTE: Duration = Duration::from_secs(60);

/// What the provider saw.
#[derive(Default)]
struct Account {
    last_minute: VecDeque<Instant>,
    served: usize,
    refused: usize,
}

impl Account {
    fn serves(&mut self, minute: usize, day: usize) -> bool {
        let now = Instant::now();
        while self
            .last_minute
            .pop_front_if(|at| *at + MINUTE <= now)
            .is_some()
        {}
        if self.last_minute.len() >= minute || self.served >= day {
            self.refused += 1;
            return false;
        }
        self.last_minute.push_back(now);
        self.served += 1;
        true
    }
}

/// One user, who goes round the replicas for as long as the day may have something left: how many answers.
async fn ask(urls: Vec<String>, first: usize, token: String) -> usize {
    let client = modelramp::_core::http_client::builder().build().unwrap();
    let mut answers = 0;
    for turn in 0.. {
        let url = format!("{}/v1/chat/completions", urls[(first + turn) % urls.len()]);
        let asking = client.post(url).bearer_auth(&token).json(&json!({
            "model": "task/chat", "messages": [{"role": "user", "content": "hej"}],
        }));
        let answer = asking.send().await.unwrap();
        match answer.status().as_u16() {
            200 => answers += 1,
            429 => {
                let text = answer.text().await.unwrap();
                assert!(text.contains("quota_exhausted"), "{text}");
                if text.contains("(day)") {
                    return answers;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            other => panic!("{other}: {}", answer.text().await.unwrap()),
        }
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_serves_its_whole_day_over_all_replicas_and_refuses_nobody() {
    let Some(database) = postgres::database().await else {
        return;
    };
    let is_whole = std::env::var(WHOLE).is_ok();
    let minute = if is_whole { 20 } else { 1_000 };
    let account: &'static Mutex<Account> = Box::leak(Box::default());
    let upstream = Upstream::with(move |_, _| match account.lock().serves(minute, 50) {
        true => Reply::ok("hej"),
        false => Reply::status(429),
    })
    .await;
    let catalog = format!(
        "[providers.one]\nbase_url = \"{}\"\nquota = {{ minute = {minute}, day = 50 }}\n\
         [models.free]\nprovider = \"one\"\nid = \"free\"\ncontext = 8000\n\
         [tasks.chat]\ncandidate = [\"free\"]\ncontrol = [\"free\"]\n",
        upstream.base_url
    );
    let setup = Fleet::setup(&database).with_catalog(&catalog);
    let pool = PgPoolOptions::new().connect(&database).await.unwrap();
    let first = setup.spawn().await;
    // Nothing is stored of this day, of which half would count as used.
    let today = "INSERT INTO quotas (provider, used) VALUES ('one', json_build_object('day', \
                 FLOOR(EXTRACT(EPOCH FROM clock_timestamp() - INTERVAL '2 seconds') / 86400)::BIGINT, \
                 'requests', 0, 'sent_ms', '[]'::JSON)::TEXT)";
    sqlx::query(today).execute(&pool).await.unwrap();
    let replicas = [first, setup.spawn().await, setup.spawn().await];
    let urls: Vec<_> = replicas.iter().map(|it| it.url.clone()).collect();
    let mut users = JoinSet::new();
    for (place, token) in setup.tokens(2..=13).await.into_iter().enumerate() {
        users.spawn(ask(urls.clone(), place, token.expose_secret().to_owned()));
    }
    let began = Instant::now();
    let answers: usize = users.join_all().await.into_iter().sum();
    let (served, refused) = {
        let account = account.lock();
        (account.served, account.refused)
    };
    writeln!(
        std::io::stdout(),
        "quota of the fleet: {answers} answers, {refused} refusals of the provider, in {:.0} s",
        began.elapsed().as_secs_f64()
    )
    .unwrap();
    assert_eq!((answers, served, refused), (50, 50, 0));
    for replica in &replicas {
        eventually(PATIENCE, async || {
            let quota = replica
                .call("quota.list", json!({}))
                .await
                .unwrap()
                .unwrap();
            match &quota["accounts"][0]["day"] {
                day if *day == json!({"limit": 50, "left": 0}) => Ok(()),
                _ => Err(quota),
            }
        })
        .await;
    }
}
