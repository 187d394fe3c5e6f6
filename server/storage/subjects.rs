//! What each subject did in some time, as a rollout needs it of the week before.

use std::collections::BTreeMap;

use futures::TryStreamExt;

use super::{Storage, events::outcome, from_name};
use crate::{
    _core::assignment::Subject,
    providers::quality::Quality,
    recording::{Outcome, first_words_ms},
    rollout::evidence::UserHistory,
};

impl Storage {
    /// Every subject that made a request of these tasks in this time (of all where there are none): how often
    /// the first model that was tried answered, how long that took, and how often it or its provider failed.
    pub(super) async fn subjects_between(
        &self,
        from_ms: i64,
        to_ms: i64,
        tasks: &[String],
    ) -> anyhow::Result<Vec<UserHistory>> {
        let mut subjects = BTreeMap::new();
        on!(self.db.read_long(), pool => {
            let mut rows = sqlx::query_as::<_, SubjectRow>(
                "SELECT subject, user_id, task, outcome, latency_ms, first_token_ms, words_ms, answer_chars, quality FROM events \
                 WHERE at_ms >= $1 AND at_ms < $2 AND position = 0 \
                 AND (subject IS NOT NULL OR user_id IS NOT NULL)",
            )
            .bind(from_ms)
            .bind(to_ms)
            .fetch(pool);
            // There may be a million; no more than what is known of each subject is kept.
            while let Some(row) = rows.try_next().await? {
                row.add_to(&mut subjects, tasks);
            }
        });
        Ok(subjects.into_values().collect())
    }
}

#[derive(sqlx::FromRow)]
struct SubjectRow {
    subject: Option<i64>,
    user_id: Option<i64>,
    task: String,
    outcome: String,
    latency_ms: f64,
    first_token_ms: Option<f64>,
    words_ms: Option<i32>,
    answer_chars: Option<i64>,
    quality: Option<String>,
}

impl SubjectRow {
    fn add_to(&self, subjects: &mut BTreeMap<u64, UserHistory>, tasks: &[String]) {
        // Events of the first release know the user only.
        let of_user = || self.user_id.and_then(Subject::user).map(|user| user.key());
        let Some(subject) = self.subject.map(i64::cast_unsigned).or_else(of_user) else {
            return;
        };
        if !tasks.is_empty() && !tasks.contains(&self.task) {
            return;
        }
        let user = subjects.entry(subject).or_insert(UserHistory {
            subject,
            ..UserHistory::default()
        });
        let quality = self.quality.as_deref();
        if let Some(quality) = quality.and_then(|name| from_name::<Quality>(name).ok()) {
            user.answers = user.answers.saturating_add(1);
            user.flawed = user.flawed.saturating_add(u32::from(quality.is_flawed()));
        }
        match outcome(&self.outcome) {
            Outcome::Success | Outcome::Refused => {
                let chars = self
                    .answer_chars
                    .map(|it| it.try_into().unwrap_or(u32::MAX));
                let words_ms = self.words_ms.map(i32::cast_unsigned);
                match first_words_ms(self.latency_ms, self.first_token_ms, words_ms, chars) {
                    Some(ms) => user.first_words.add(ms),
                    None => user.latencies.add(self.latency_ms),
                }
            }
            Outcome::Fault(kind) if kind.is_models_fault() => {
                user.errors = user.errors.saturating_add(1);
            }
            _ => return,
        }
        user.requests = user.requests.saturating_add(1);
    }
}
