//! Requests at a steady pace, whoever answers how slowly, and what became of them.
//!
//! The pace does not wait for answers, as people do not wait for each other; only when very many
//! requests are open are further ones left out, and counted as such.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    pin::pin,
    time::Duration,
};

use futures::{StreamExt, stream, stream::FuturesUnordered};
use secrecy::SecretString;
use tokio::{
    sync::Mutex,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use url::Url;

use crate::{
    cli::client::{CallError, Client},
    config::ClientConfig,
    routers::{
        chat_router::{CreateConversation, DeleteConversation, SendMessage},
        methods::{CHAT_CREATE, CHAT_DELETE, CHAT_SEND, MODELS_EXPLAIN},
        models_router::Explain,
    },
};

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
pub struct DriveRate {
    /// Requests a second, more than 0.
    pub rate: f64,
    /// How long.
    pub duration: Duration,
    /// Requests that may be open at once; further ones are left out.
    pub max_open: usize,
}

impl DriveRate {
    /// All requests together.
    pub fn requests(&self) -> u64 {
        (self.rate * self.duration.as_secs_f64()).ceil() as u64
    }
}

/// How it goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct DriveProgress {
    /// Requests whose time has come.
    pub due: u64,
    /// Of these the first ones, of which none is open any more.
    pub settled: u64,
    /// Requests that got an answer.
    pub answered: u64,
    /// Requests that got none.
    pub failed: u64,
    /// Of the latest requests, those on the candidate, from 0 to 1.
    pub candidate_share: f64,
}

/// How requests of one variant ended in one way.
pub type DriveLatencies = Vec<f64>;

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct DriveTally {
    /// By variant and outcome: milliseconds from sending to the whole answer.
    pub outcomes: BTreeMap<(String, String), DriveLatencies>,
    /// Requests that were not sent, because too many were open.
    pub left_out: u64,
}

/// The variant of a request that did not get so far.
const UNKNOWN: &str = "unknown";
/// The outcome of a request that reached no server.
pub const NO_CONNECTION: &str = "no connection";
/// The outcome of a request that was answered.
pub const ANSWERED: &str = "answered";

impl DriveTally {
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
    n: u64,
    variant: String,
    outcome: String,
    latency_ms: f64,
}

/// Users of one server.
pub struct DrivenServer {
    task: &'static str,
    users: Vec<DrivenUser>,
}

struct DrivenUser {
    client: Client,
    /// The conversation in use with the messages it has, then those that are full.
    conversations: Mutex<Vec<(i64, u32)>>,
}

impl DrivenServer {
    /// One user for each token.
    pub fn new(url: &Url, tokens: &[SecretString], task: &'static str) -> anyhow::Result<Self> {
        let server = Client::new(&ClientConfig {
            url: url.to_string(),
            token: None,
        })?;
        let user = |token| {
            Ok(DrivenUser {
                client: server.signed_in(token)?,
                conversations: Mutex::default(),
            })
        };
        Ok(Self {
            task,
            users: tokens.iter().map(user).collect::<anyhow::Result<_>>()?,
        })
    }

    /// Sends at this pace until the time is over or `stop` resolves, waits for the open requests,
    /// and deletes what it made.
    pub async fn run(
        &self,
        pace: DriveRate,
        stop: impl Future<Output = ()>,
        mut show: impl FnMut(DriveProgress),
    ) -> DriveTally {
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
                    if open.len() < pace.max_open {
                        open.push(self.request(due));
                        seen.open.insert(due);
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
            Err(error) => (UNKNOWN.into(), outcome(error)),
        };
        Seen {
            n,
            variant,
            outcome,
            latency_ms: started.elapsed().as_secs_f64() * 1_000.0,
        }
    }

    async fn try_request(&self, n: u64) -> Result<(String, String), CallError> {
        let turn = usize::try_from(n).unwrap_or(0) % self.users.len().max(1);
        let Some(user) = self.users.get(turn) else {
            return Ok((UNKNOWN.into(), "no users".into()));
        };
        let message = SendMessage {
            conversation_id: self.conversation(user).await?,
            content: format!("Message {n}: what can you do for me?"),
            model: None,
            context: None,
        };
        let who = Explain {
            user_id: None,
            task: self.task.to_owned(),
        };
        let (explained, sent) = user
            .client
            .call_both((&MODELS_EXPLAIN, &who), (&CHAT_SEND, &message))
            .await?;
        let variant = explained.map_or(UNKNOWN, |explained| explained.variant.name());
        let outcome = sent.map_or_else(outcome, |_| ANSWERED.into());
        Ok((variant.into(), outcome))
    }

    /// Where the user writes, which is begun anew when it gets long.
    async fn conversation(&self, user: &DrivenUser) -> Result<i64, CallError> {
        let mut conversations = user.conversations.lock().await;
        if let Some((id, messages)) = conversations.last_mut()
            && *messages < CONVERSATION_LENGTH
        {
            *messages += 1;
            return Ok(*id);
        }
        let title = CreateConversation {
            title: Some("modelramp drive".to_owned()),
        };
        let created = user.client.call(&CHAT_CREATE, &title).await?;
        conversations.push((created.id, 1));
        Ok(created.id)
    }

    /// Deletes the conversations that were begun; what fails stays.
    async fn clear_up(&self) {
        let deletions = self.users.iter().map(async |user| {
            for (id, _) in std::mem::take(&mut *user.conversations.lock().await) {
                let which = DeleteConversation {
                    conversation_id: id,
                };
                let deleted = user.client.call(&CHAT_DELETE, &which).await;
                tracing::debug!(id, deleted = deleted.is_ok(), "a conversation of the drive");
            }
        });
        stream::iter(deletions)
            .buffer_unordered(DELETIONS)
            .collect::<()>()
            .await;
    }
}

/// How a request that was not answered ended.
fn outcome(error: CallError) -> String {
    match error {
        CallError::Slow { .. } | CallError::Silent { .. } => "no reply in time".into(),
        CallError::Foreign { status, .. } => format!("HTTP {}", status.as_u16()),
        CallError::Unauthorized(_) => "UNAUTHORIZED".into(),
        CallError::Forbidden => "FORBIDDEN".into(),
        CallError::Unknown { .. } => "NOT_FOUND".into(),
        CallError::Unreadable { .. } => "an answer of another version".into(),
        CallError::Refused { code, .. } if code.is_empty() => "an error without a code".into(),
        CallError::Refused { code, .. } => code,
        CallError::Unreachable { .. }
        | CallError::Setup(_)
        | CallError::Address { .. }
        | CallError::Token { .. } => NO_CONNECTION.into(),
    }
}

/// What was seen so far, and of the latest requests their variants.
#[derive(Default)]
struct Sightings {
    tally: DriveTally,
    open: BTreeSet<u64>,
    answered: u64,
    failed: u64,
    recent: VecDeque<bool>,
}

impl Sightings {
    fn add(&mut self, seen: Seen) {
        self.open.remove(&seen.n);
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

    fn progress(&self, due: u64) -> DriveProgress {
        let candidates = self.recent.iter().filter(|is_candidate| **is_candidate);
        DriveProgress {
            due,
            settled: self.open.first().copied().unwrap_or(due),
            answered: self.answered,
            failed: self.failed,
            candidate_share: candidates.count() as f64 / self.recent.len().max(1) as f64,
        }
    }
}
