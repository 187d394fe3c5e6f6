//! What a model makes of a user's e-mails: categories, priorities, replies to choose from.
//!
//! The text of a mail is data. It enters a request quoted, in the turn of a user, with no tools beside it, and
//! an answer is used only as far as it has the form that was asked for; so nothing that a mail says can
//! do anything but be wrong about that mail. What is found belongs to the user who asked.

mod answers;
mod asking;
mod mail;
mod quick_replies;
pub mod store;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::Serialize;

pub use self::{
    answers::{
        Categorized, Category, Prioritized, PriorityFactors, Suggestion, SuggestionKind, Tone,
    },
    asking::{EmailError, NotDone},
    mail::{Mail, Relationship},
    quick_replies::quick_replies,
};
use self::{
    answers::{PriorityAnswer, SuggestionsAnswer},
    asking::EmailAsker,
    store::{EmailStore, Insight, StoredSuggestion, ThreadFindings},
};
use crate::{
    _core::{caller::User, context::Context, rate_limit::RateLimiter},
    model_router::ModelRouter,
};

/// The catalog's task that reads mails.
pub const ANALYSIS: &str = "email-analysis";
/// The catalog's task that writes mails.
pub const DRAFT: &str = "email-draft";
/// Replies that are kept of a thread, the newest.
const KEPT_REPLIES: u32 = 5;
/// Findings of which statistics are made, the newest.
const COUNTED: u32 = 100;
/// Mails that models look at for one user in a minute: an inbox that is opened, and not a quota in seconds.
pub const PER_MINUTE: usize = 60;
/// How long findings and replies are kept.
pub const KEPT: TimeDelta = TimeDelta::days(90);

/// The procedures' work.
pub struct EmailIntelligence {
    store: Arc<dyn EmailStore>,
    models: Arc<ModelRouter>,
    /// For one call, both tries together.
    deadline: Duration,
    limiter: Arc<RateLimiter>,
}

/// A reply to choose from, as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct KeptSuggestion {
    /// What `markSuggestionUsed` takes.
    pub id: i64,
    /// What it says.
    #[serde(flatten)]
    pub suggestion: Suggestion,
}

/// How a user's mails fall into categories.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CategoryStats {
    /// How many fell into each category; one that is missing has none.
    pub distribution: BTreeMap<String, u32>,
    /// How many that were.
    pub total: u32,
    /// 0 to 1; 0 where there are none.
    pub average_confidence: f64,
}

/// What is known of a thread.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct KnownThread {
    /// Its category; `null` where none was found yet.
    pub category: Option<Categorized>,
    /// Its priority; `null` where none was found yet.
    pub priority: Option<Prioritized>,
}

impl EmailIntelligence {
    /// Works with a store and the models of a catalog.
    pub fn new(store: Arc<dyn EmailStore>, models: Arc<ModelRouter>, deadline: Duration) -> Self {
        Self {
            store,
            models,
            deadline,
            limiter: RateLimiter::per_minute(PER_MINUTE).into(),
        }
    }

    /// How many mails users may have looked at.
    pub fn limiter(&self) -> &Arc<RateLimiter> {
        &self.limiter
    }

    fn asking<'a>(&'a self, user: &'a User, context: &'a Context) -> EmailAsker<'a> {
        EmailAsker {
            models: &self.models,
            user,
            context,
            deadline: self.deadline,
            limiter: &self.limiter,
        }
    }

    /// Which category a mail belongs to, by a model; kept for its thread.
    pub async fn categorize(
        &self,
        user: &User,
        context: &Context,
        mail: &Mail,
    ) -> Result<Categorized, EmailError> {
        let asking = self.asking(user, context);
        let found: Categorized = asking.ask(ANALYSIS, mail::CATEGORIZE, mail).await?;
        let insight = Insight::Category(found.clone());
        self.keep(user, mail, insight, context.received_at).await?;
        Ok(found)
    }

    /// How urgent a mail is, by a model; kept for its thread.
    pub async fn prioritize(
        &self,
        user: &User,
        context: &Context,
        mail: &Mail,
    ) -> Result<Prioritized, EmailError> {
        let asking = self.asking(user, context);
        let found: PriorityAnswer = asking.ask(ANALYSIS, mail::PRIORITIZE, mail).await?;
        let found = Prioritized::from(found);
        let insight = Insight::Priority(found.clone());
        self.keep(user, mail, insight, context.received_at).await?;
        Ok(found)
    }

    /// Replies to choose from, by a model, in the language of the mail; kept for its thread.
    pub async fn suggest(
        &self,
        user: &User,
        context: &Context,
        mail: &Mail,
        relationship: Relationship,
    ) -> Result<Vec<KeptSuggestion>, EmailError> {
        let asking = self.asking(user, context);
        let instructions = mail::replies_to(relationship);
        let found: SuggestionsAnswer = asking.ask(DRAFT, &instructions, mail).await?;
        let kept = self.store.add_suggestions(
            user.id,
            &mail.thread_id,
            &found.suggestions,
            context.received_at,
        );
        let ids = kept.await?;
        let suggestions = ids.into_iter().zip(found.suggestions);
        let kept = suggestions.map(|(id, suggestion)| KeptSuggestion { id, suggestion });
        Ok(kept.collect())
    }

    async fn keep(
        &self,
        user: &User,
        mail: &Mail,
        insight: Insight,
        now: DateTime<Utc>,
    ) -> Result<(), EmailError> {
        let kept = self.store.keep(user.id, &mail.thread_id, &insight, now);
        Ok(kept.await?)
    }

    /// What was found of these threads of a user's.
    pub async fn known(
        &self,
        user: &User,
        threads: &[String],
    ) -> Result<BTreeMap<String, KnownThread>, EmailError> {
        let mut known: BTreeMap<String, KnownThread> = BTreeMap::new();
        for ThreadFindings { thread_id, insight } in self.store.found(user.id, threads).await? {
            let thread = known.entry(thread_id).or_default();
            match insight {
                Insight::Category(found) => thread.category = Some(found),
                Insight::Priority(found) => thread.priority = Some(found),
            }
        }
        Ok(known)
    }

    /// The newest replies of a thread of a user's, the newest first.
    pub async fn suggestions(
        &self,
        user: &User,
        thread_id: &str,
    ) -> Result<Vec<KeptSuggestion>, EmailError> {
        let kept = self
            .store
            .suggestions(user.id, thread_id, KEPT_REPLIES)
            .await?;
        let kept = kept.into_iter();
        Ok(kept
            .map(|StoredSuggestion { id, suggestion }| KeptSuggestion { id, suggestion })
            .collect())
    }

    /// Notes that a user took a reply; fails where the user has no such reply.
    pub async fn mark_used(
        &self,
        user: &User,
        id: i64,
        now: DateTime<Utc>,
    ) -> Result<(), EmailError> {
        match self.store.mark_used(user.id, id, now).await? {
            true => Ok(()),
            false => Err(EmailError::NoSuggestion),
        }
    }

    /// How the newest mails of a user's fall into categories.
    pub async fn category_stats(&self, user: &User) -> Result<CategoryStats, EmailError> {
        let newest = self.store.newest_categories(user.id, COUNTED).await?;
        let mut stats = CategoryStats {
            distribution: BTreeMap::new(),
            total: 0,
            average_confidence: 0.0,
        };
        for found in &newest {
            *stats
                .distribution
                .entry(found.category.name().to_owned())
                .or_default() += 1;
            stats.total += 1;
            stats.average_confidence += found.confidence;
        }
        stats.average_confidence /= f64::from(stats.total.max(1));
        Ok(stats)
    }
}
