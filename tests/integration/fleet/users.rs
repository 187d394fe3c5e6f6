//! Users who go round the replicas, and what they saw.

use std::{
    collections::HashMap,
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

/// An answer, as its user saw it.
#[derive(Clone, Debug)]
struct Answer {
    user: i64,
    request: String,
    variant: String,
    replica: String,
    began_ms: i64,
    at_ms: i64,
}

/// A replica that was killed, and when.
pub(super) struct Killed {
    replica: String,
    at_ms: i64,
}

/// What all users saw.
pub(super) struct Seen(Vec<Answer>);

/// Users at work.
pub(super) struct Users {
    replicas: Arc<Mutex<Vec<String>>>,
    seen: Arc<Mutex<Vec<Answer>>>,
    tasks: Vec<JoinHandle<()>>,
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_millis()).unwrap()
}

impl Users {
    pub(super) async fn start(
        setup: &TestAppBuilder,
        replicas: &[TestProcess],
        goes_to: impl Fn(usize) -> bool,
    ) -> Self {
        let urls = replicas.iter().enumerate();
        let urls = urls.filter(|(place, _)| goes_to(*place));
        let urls: Vec<_> = urls.map(|(_, it)| it.url.clone()).collect();
        let replicas = Arc::new(Mutex::new(urls));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let turn = Arc::new(AtomicUsize::new(0));
        let tokens = setup.tokens(2..=41).await;
        let tasks = (2..).zip(tokens).map(|(user, token)| {
            let token = token.expose_secret().to_owned();
            tokio::spawn(ask(
                user,
                token,
                replicas.clone(),
                turn.clone(),
                seen.clone(),
            ))
        });
        Self {
            tasks: tasks.collect(),
            replicas,
            seen,
        }
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
        Seen(std::mem::take(&mut *self.seen.lock()))
    }
}

impl Seen {
    pub(super) fn answered(&self) -> usize {
        self.0.len()
    }

    /// When the last request was sent that this side answered, in milliseconds since 1970.
    pub(super) fn last_begun(&self, variant: &str) -> i64 {
        let of = self.0.iter().filter(|answer| answer.variant == variant);
        of.map(|answer| answer.began_ms).max().unwrap_or(0)
    }

    /// Waits until every answer is in the log, and checks that it is there once, as its user saw it; but for
    /// those that a killed replica gave in its last second.
    pub(super) async fn check(&self, database: &PgPool, killed: &[Killed]) {
        assert!(!self.0.is_empty());
        let may_be_lost = |answer: &&Answer| {
            killed.iter().any(|killed| {
                answer.replica == killed.replica && answer.at_ms >= killed.at_ms - MAY_BE_LOST_MS
            })
        };
        eventually(STORED, async || {
            let logged = logged(database).await;
            let mut missing = Vec::new();
            for answer in &self.0 {
                match logged.get(&answer.request).map(Vec::as_slice) {
                    Some([(user, variant)]) => {
                        assert_eq!(
                            (*user, variant),
                            (answer.user, &answer.variant),
                            "{answer:?}"
                        );
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
                    self.0.len(),
                    missing.into_iter().cloned().collect::<Vec<_>>(),
                ))
            }
        })
        .await;
    }
}

/// Who got which side, by the request, as the log has it.
async fn logged(database: &PgPool) -> HashMap<String, Vec<(i64, String)>> {
    let rows: Vec<(String, i64, String)> = sqlx::query_as(
        "SELECT e.request_id, e.user_id, e.variant FROM events e JOIN event_order o USING (writer, batch) \
         WHERE e.outcome = 'success'",
    )
    .fetch_all(database)
    .await
    .unwrap();
    let mut logged = HashMap::<String, Vec<(i64, String)>>::new();
    for (request, user, variant) in rows {
        logged.entry(request).or_default().push((user, variant));
    }
    logged
}

/// One user, until there is no replica left.
async fn ask(
    user: i64,
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
        let answer = request.bearer_auth(&token).json(&body).send().await;
        if let Ok(answer) = answer
            && answer.status().is_success()
        {
            let header = |name: &str| {
                let value = answer.headers().get(name);
                value.map_or(String::new(), |it| it.to_str().unwrap().to_owned())
            };
            let (request, variant) = (header("x-request-id"), header("x-modelramp-variant"));
            // An answer counts as seen when all of it is there.
            if answer.bytes().await.is_ok() {
                seen.lock().push(Answer {
                    user,
                    request,
                    variant,
                    replica,
                    began_ms,
                    at_ms: now_ms(),
                });
            }
        }
        // The pace of the traffic.
        tokio::time::sleep(PAUSE).await;
    }
}
