//! Requests at a steady pace, whoever answers how slowly, and what became of them.
//!
//! The pace does not wait for answers, as people do not wait for each other; only when very many
//! requests are open are further ones left out, and counted as such.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::pin,
    time::Duration,
};

use anyhow::Context as _;
use futures::{StreamExt, stream, stream::FuturesUnordered};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::{
    sync::Mutex,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use url::Url;

use crate::_core::http_client;

/// Requests that are open at once.
const MAX_OPEN: usize = 500;
/// One request; more than any deadline of the server.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Messages of one conversation, so that histories stay short.
const CONVERSATION_LENGTH: u32 = 20;
/// Calls at once while conversations are deleted.
const DELETIONS: usize = 16;
/// Between two looks at the progress.
const GLANCE: Duration = Duration::from_millis(250);
/// Requests over which the share of the candidate is shown.
const RECENT: usize = 200;

/// How much traffic.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Requests a second, more than 0.
    pub rate: f64,
    /// How long.
    pub duration: Duration,
}

impl Pace {
    /// All requests together.
    pub fn requests(&self) -> u64 {
        (self.rate * self.duration.as_secs_f64()).ceil() as u64
    }
}

/// How it goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Requests whose time has come.
    pub due: u64,
    /// Requests that got an answer.
    pub answered: u64,
    /// Requests that got none.
    pub failed: u64,
    /// Of the latest requests, those on the candidate, from 0 to 1.
    pub candidate_share: f64,
}

/// How requests of one variant ended in one way.
pub type Latencies = Vec<f64>;

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By variant and outcome: milliseconds from sending to the whole answer.
    pub outcomes: BTreeMap<(String, String), Latencies>,
    /// Requests that were not sent, because too many were open.
    pub left_out: u64,
}

/// The variant of a request that did not get so far.
const UNKNOWN: &str = "unknown";
/// The outcome of a request that reached no server.
pub const NO_CONNECTION: &str = "no connection";
/// The outcome of a request that was answered.
pub const ANSWERED: &str = "answered";

impl Tally {
    /// Requests that were sent.
    pub fn requests(&self) -> usize {
        self.outcomes.values().map(Vec::len).sum()
    }

    /// Requests of one variant, however they ended.
    pub fn of(&self, variant: &str) -> usize {
        let all = self.outcomes.iter();
        all.filter(|((of, _), _)| of == variant)
            .map(|(_, latencies)| latencies.len())
            .sum()
    }

    /// Requests that were answered.
    pub fn answered(&self) -> usize {
        let answered = self.outcomes.iter().filter(|((_, how), _)| how == ANSWERED);
        answered.map(|(_, latencies)| latencies.len()).sum()
    }

    /// How most of the others ended.
    pub fn commonest_failure(&self) -> Option<&str> {
        let mut counts = BTreeMap::<&str, usize>::new();
        for ((_, outcome), latencies) in &self.outcomes {
            *counts.entry(outcome).or_default() += latencies.len();
        }
        counts.remove(ANSWERED);
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        most.map(|(outcome, _)| outcome)
    }

    fn add(&mut self, seen: Seen) {
        let latencies = self.outcomes.entry((seen.variant, seen.outcome));
        latencies.or_default().push(seen.latency_ms);
    }
}

/// What became of one request.
struct Seen {
    variant: String,
    outcome: String,
    latency_ms: f64,
}

/// Users of one server.
pub struct Traffic {
    http: reqwest::Client,
    endpoint: Url,
    task: &'static str,
    users: Vec<User>,
}

struct User {
    token: SecretString,
    /// The conversation in use with the messages it has, then those that are full.
    conversations: Mutex<Vec<(i64, u32)>>,
}

impl Traffic {
    /// One user for each token.
    pub fn new(url: &Url, tokens: Vec<SecretString>, task: &'static str) -> anyhow::Result<Self> {
        let http = http_client::builder()
            .timeout(TIMEOUT)
            .build()
            .context("cannot make an HTTP client")?;
        let mut endpoint = url.clone();
        endpoint.set_path("/rpc");
        endpoint.set_query(None);
        let user = |token| User {
            token,
            conversations: Mutex::default(),
        };
        Ok(Self {
            http,
            endpoint,
            task,
            users: tokens.into_iter().map(user).collect(),
        })
    }

    /// Sends at this pace until the time is over or `stop` resolves, waits for the open requests,
    /// and deletes what it made.
    pub async fn run(
        &self,
        pace: Pace,
        stop: impl Future<Output = ()>,
        mut show: impl FnMut(Progress),
    ) -> Tally {
        let mut stop = pin!(stop);
        let mut seen = Sightings::default();
        let mut open = FuturesUnordered::new();
        let mut glances = interval(GLANCE);
        glances.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let started = Instant::now();
        let (mut due, all) = (0, pace.requests());
        while due < all {
            let next = started + Duration::from_secs_f64(due as f64 / pace.rate);
            tokio::select! {
                () = &mut stop => break,
                () = sleep_until(next) => {
                    if open.len() < MAX_OPEN {
                        open.push(self.request(due));
                    } else {
                        seen.tally.left_out += 1;
                    }
                    due += 1;
                }
                Some(one) = open.next() => seen.add(one),
                _ = glances.tick() => show(seen.progress(due)),
            }
        }
        while let Some(one) = open.next().await {
            seen.add(one);
        }
        show(seen.progress(due));
        self.clear_up().await;
        seen.tally
    }

    /// The n-th request: users take turns. The server is asked, in the same batch, which variant
    /// the user is in.
    async fn request(&self, n: u64) -> Seen {
        let started = Instant::now();
        let (variant, outcome) = match self.try_request(n).await {
            Ok(seen) => seen,
            Err(error) if error.is_timeout() => (UNKNOWN.into(), "no reply in time".into()),
            Err(_) => (UNKNOWN.into(), NO_CONNECTION.into()),
        };
        Seen {
            variant,
            outcome,
            latency_ms: started.elapsed().as_secs_f64() * 1_000.0,
        }
    }

    async fn try_request(&self, n: u64) -> reqwest::Result<(String, String)> {
        let turn = usize::try_from(n).unwrap_or(0) % self.users.len().max(1);
        let Some(user) = self.users.get(turn) else {
            return Ok((UNKNOWN.into(), "no users".into()));
        };
        let conversation = match self.conversation(user).await? {
            Ok(conversation) => conversation,
            Err(code) => return Ok((UNKNOWN.into(), code)),
        };
        let content = format!("Message {n}: what can you do for me?");
        let message = json!({"conversationId": conversation, "content": content});
        let [explained, sent] = self
            .call(
                user,
                [
                    ("models.explain", json!({"task": self.task})),
                    ("chat.sendMessage", message),
                ],
            )
            .await?;
        let variant = explained.ok().and_then(|mut explained| {
            let variant = explained.get_mut("variant")?.take();
            variant.as_str().map(str::to_owned)
        });
        let outcome = sent.map_or_else(|code| code, |_| ANSWERED.into());
        Ok((variant.unwrap_or_else(|| UNKNOWN.into()), outcome))
    }

    /// Where the user writes, which is begun anew when it gets long.
    async fn conversation(&self, user: &User) -> reqwest::Result<Result<i64, String>> {
        let mut conversations = user.conversations.lock().await;
        if let Some((id, messages)) = conversations.last_mut()
            && *messages < CONVERSATION_LENGTH
        {
            *messages += 1;
            return Ok(Ok(*id));
        }
        let title = json!({"title": "modelramp drive"});
        let [created] = self
            .call(user, [("chat.createConversation", title)])
            .await?;
        Ok(created.map(|created| {
            let id = created.get("id").and_then(Value::as_i64).unwrap_or(0);
            conversations.push((id, 1));
            id
        }))
    }

    /// Calls that go in one request; each brings its result or the code of its error.
    async fn call<const N: usize>(
        &self,
        user: &User,
        calls: [(&str, Value); N],
    ) -> reqwest::Result<[Result<Value, String>; N]> {
        let numbered = calls.into_iter().enumerate();
        let batch: Vec<Value> = numbered
            .map(|(id, (method, params))| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .collect();
        let response = self
            .http
            .post(self.endpoint.clone())
            .bearer_auth(user.token.expose_secret())
            .json(&batch)
            .send()
            .await?;
        let status = response.status();
        let replies: Value = response.json().await.unwrap_or_default();
        let reply = |id| {
            let replies = replies.as_array()?;
            replies
                .iter()
                .find(|reply| reply.get("id") == Some(&json!(id)))
        };
        Ok(std::array::from_fn(|id| {
            let Some(reply) = reply(id) else {
                return Err(format!("HTTP {}", status.as_u16()));
            };
            match (reply.get("result"), reply.pointer("/error/data/code")) {
                (Some(result), _) => Ok(result.clone()),
                (None, Some(Value::String(code))) => Err(code.clone()),
                (None, _) => Err("an error without a code".into()),
            }
        }))
    }

    /// Deletes the conversations that were begun; what fails stays.
    async fn clear_up(&self) {
        let deletions = self.users.iter().map(async |user| {
            for (id, _) in std::mem::take(&mut *user.conversations.lock().await) {
                let which = json!({"conversationId": id});
                let deleted = self.call(user, [("chat.deleteConversation", which)]).await;
                tracing::debug!(id, deleted = deleted.is_ok(), "a conversation of the drive");
            }
        });
        stream::iter(deletions)
            .buffer_unordered(DELETIONS)
            .collect::<()>()
            .await;
    }
}

/// What was seen so far, and of the latest requests their variants.
#[derive(Default)]
struct Sightings {
    tally: Tally,
    answered: u64,
    failed: u64,
    recent: VecDeque<bool>,
}

impl Sightings {
    fn add(&mut self, seen: Seen) {
        if seen.outcome == ANSWERED {
            self.answered += 1;
        } else {
            self.failed += 1;
        }
        if seen.variant != UNKNOWN {
            self.recent.push_back(seen.variant == "candidate");
            if self.recent.len() > RECENT {
                self.recent.pop_front();
            }
        }
        self.tally.add(seen);
    }

    fn progress(&self, due: u64) -> Progress {
        let candidates = self.recent.iter().filter(|is_candidate| **is_candidate);
        Progress {
            due,
            answered: self.answered,
            failed: self.failed,
            candidate_share: candidates.count() as f64 / self.recent.len().max(1) as f64,
        }
    }
}
