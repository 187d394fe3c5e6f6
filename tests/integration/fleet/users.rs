//! Users who go round the replicas, and what they saw.

use std::{
    collections::HashMap,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use secrecy::ExposeSecret;
use serde_json::json;
use sqlx::PgPool;
use tokio::task::JoinHandle;

use crate::support::{
    app::TestAppBuilder,
    process::TestProcess,
    wait::{eventually, until},
};

/// Between two requests of one user.
const PAUSE: Duration = Duration::from_millis(100);
/// Who has no answer by then asks the next replica: the one that was asked is frozen.
const PATIENCE: Duration = Duration::from_secs(2);
/// A killed process may lose the events of its last second, and a write takes a moment.
const MAY_BE_LOST_MS: i64 = 1_000 + 400;
/// What is not in the log by then does not come.
const STORED: Duration = Duration::from_secs(20);

/// Somebody who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// With a session.
    User(i64),
    /// A user of a program that has a key.
    Of(String),
}

/// An answer, as its user saw it.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) who: Who,
    pub(super) request: String,
    pub(super) variant: String,
    pub(super) replica: String,
    pub(super) began_ms: i64,
    pub(super) at_ms: i64,
    /// That of HTTP.
    pub(super) status: u16,
}

/// A replica that was killed, and since when what it recorded may be lost.
#[derive(Debug)]
pub(super) struct Killed {
    pub(super) replica: String,
    pub(super) at_ms: i64,
}

/// What all users saw.
pub(super) struct Seen {
    /// The good ones.
    pub(super) answers: Vec<Answer>,
    pub(super) refusals: Vec<Answer>,
}

/// Users at work.
pub(super) struct Users {
    replicas: Arc<Mutex<Vec<String>>>,
    seen: Arc<Mutex<Vec<Answer>>>,
    turn: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_millis()).unwrap()
}

impl Users {
    pub(super) async fn start(
        setup: &TestAppBuilder,
        replicas: &[TestProcess],
        goes_to: impl Fn(usize) -> bool,
    ) -> Self {
        let replicas = replicas.iter().enumerate();
        let replicas = replicas.filter(|(place, _)| goes_to(*place));
        Self::round(setup, replicas.map(|(_, it)| it), 2..=41).await
    }

    /// Those with these numbers, who go round these replicas.
    pub(super) async fn round(
        setup: &TestAppBuilder,
        replicas: impl Iterator<Item = &TestProcess>,
        numbers: RangeInclusive<i64>,
    ) -> Self {
        let urls: Vec<_> = replicas.map(|it| it.url.clone()).collect();
        let replicas = Arc::new(Mutex::new(urls));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let first = *numbers.start();
        let tokens = setup.tokens(numbers).await;
        let mut users = Self {
            tasks: Vec::new(),
            replicas,
            seen,
            turn: Arc::default(),
        };
        for (user, token) in (first..).zip(tokens) {
            users.add(Who::User(user), token.expose_secret().to_owned());
        }
        users
    }

    /// None yet, who will go round these replicas.
    pub(super) fn of(replicas: &[TestProcess]) -> Self {
        let urls = replicas.iter().map(|it| it.url.clone()).collect();
        Self {
            replicas: Arc::new(Mutex::new(urls)),
            seen: Arc::default(),
            turn: Arc::default(),
            tasks: Vec::new(),
        }
    }

    /// Which side gave the last answers of a replica; none where there are not so many.
    pub(super) fn last_of(&self, replica: &TestProcess, count: usize) -> Vec<String> {
        let seen = self.seen.lock();
        let of = seen.iter().rev().filter(|it| it.replica == replica.url);
        let last: Vec<_> = of.take(count).map(|it| it.variant.clone()).collect();
        if last.len() < count {
            return vec!["too few".into()];
        }
        last
    }

    /// One more, who asks with this token.
    pub(super) fn add(&mut self, who: Who, token: String) {
        let asking = ask(
            who,
            token,
            self.replicas.clone(),
            self.turn.clone(),
            self.seen.clone(),
        );
        self.tasks.push(tokio::spawn(asking));
    }

    /// They go to this replica as well.
    pub(super) fn join(&self, replica: &TestProcess) {
        self.replicas.lock().push(replica.url.clone());
    }

    /// Waits for so many more answers.
    pub(super) async fn until_answered(&self, more: usize) {
        let wanted = self.seen.lock().len() + more;
        until("users are answered", async || {
            self.seen.lock().len() >= wanted
        })
        .await;
    }

    /// Nobody goes to this replica any more.
    pub(super) fn leave(&self, replica: &TestProcess) -> Killed {
        self.replicas.lock().retain(|url| *url != replica.url);
        Killed {
            replica: replica.url.clone(),
            at_ms: now_ms(),
        }
    }

    pub(super) async fn stop(self) -> Seen {
        self.replicas.lock().clear();
        for task in self.tasks {
            task.await.unwrap();
        }
        let seen = std::mem::take(&mut *self.seen.lock());
        let (answers, refusals) = seen.into_iter().partition(|it| it.status == 200);
        Seen { answers, refusals }
    }
}

impl Seen {
    pub(super) fn answered(&self) -> usize {
        self.answers.len()
    }

    /// When the last request was sent that this side answered, in milliseconds since 1970.
    pub(super) fn last_begun(&self, variant: &str) -> i64 {
        let of = self
            .answers
            .iter()
            .filter(|answer| answer.variant == variant);
        of.map(|answer| answer.began_ms).max().unwrap_or(0)
    }

    /// Waits until every answer is in the log, and checks that it is there once, as its user saw it; but for
    /// those that a killed replica gave in its last second.
    pub(super) async fn check(&self, database: &PgPool, killed: &[Killed]) {
        assert!(!self.answers.is_empty());
        let may_be_lost = |answer: &&Answer| {
            killed.iter().any(|killed| {
                answer.replica == killed.replica && answer.at_ms >= killed.at_ms - MAY_BE_LOST_MS
            })
        };
        eventually(STORED, async || {
            let logged = logged(database).await;
            let mut missing = Vec::new();
            for answer in &self.answers {
                match logged.get(&answer.request).map(Vec::as_slice) {
                    Some([(user, variant)]) => {
                        let whose = match &answer.who {
                            Who::User(user) => Some(*user),
                            Who::Of(_) => None,
                        };
                        let logged = (*user, variant);
                        assert_eq!(logged, (whose, &answer.variant), "{answer:?}");
                    }
                    Some(several) => panic!("{answer:?} is in the log as {several:?}"),
                    None => missing.push(answer),
                }
            }
            missing.retain(|answer| !may_be_lost(answer));
            if missing.is_empty() {
                Ok(())
            } else {
                Err((
                    self.answers.len(),
                    missing.into_iter().cloned().collect::<Vec<_>>(),
                ))
            }
        })
        .await;
    }
}

/// Who got which side, by the request, as the log has it.
async fn logged(database: &PgPool) -> HashMap<String, Vec<(Option<i64>, String)>> {
    let rows: Vec<(String, Option<i64>, String)> = sqlx::query_as(
        "SELECT e.request_id, e.user_id, e.variant FROM events e JOIN event_order o USING (writer, batch) \
         WHERE e.outcome = 'success'",
    )
    .fetch_all(database)
    .await
    .unwrap();
    let mut logged = HashMap::<String, Vec<(Option<i64>, String)>>::new();
    for (request, user, variant) in rows {
        logged.entry(request).or_default().push((user, variant));
    }
    logged
}

/// One user, until there is no replica left.
async fn ask(
    who: Who,
    token: String,
    replicas: Arc<Mutex<Vec<String>>>,
    turn: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Answer>>>,
) {
    let http = modelramp::_core::http_client::builder().timeout(PATIENCE);
    let http = http.build().unwrap();
    let body = json!({"model": "task/chat", "messages": [{"role": "user", "content": "hej"}]});
    loop {
        let replica = {
            let replicas = replicas.lock();
            let Some(last) = replicas.len().checked_sub(1) else {
                return;
            };
            replicas[turn.fetch_add(1, Ordering::Relaxed) % (last + 1)].clone()
        };
        let began_ms = now_ms();
        let request = http.post(format!("{replica}/v1/chat/completions"));
        let request = match &who {
            Who::User(_) => request,
            Who::Of(subject) => request.header("x-modelramp-subject", subject),
        };
        let answer = request.bearer_auth(&token).json(&body).send().await;
        if let Ok(answer) = answer {
            let header = |name: &str| {
                let value = answer.headers().get(name);
                value.map_or(String::new(), |it| it.to_str().unwrap().to_owned())
            };
            let (request, variant) = (header("x-request-id"), header("x-modelramp-variant"));
            let status = answer.status().as_u16();
            // An answer counts as seen when all of it is there.
            if answer.bytes().await.is_ok() {
                seen.lock().push(Answer {
                    who: who.clone(),
                    request,
                    variant,
                    replica,
                    began_ms,
                    at_ms: now_ms(),
                    status,
                });
            }
        }
        // The pace of the traffic.
        tokio::time::sleep(PAUSE).await;
    }
}
