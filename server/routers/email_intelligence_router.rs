//! `emailIntelligence`: what a model makes of a user's e-mails; each user sees what was found for that user.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    _core::{
        context::Context,
        declared::Declared,
        errors::{ErrorCode, RpcError},
        registry::Registry,
    },
    email_intelligence::{
        Categorized, CategoryStats, EmailError, EmailIntelligence, KeptSuggestion, KnownThread,
        Mail, NotDone, Prioritized, Relationship, quick_replies,
    },
    procedures,
};

/// Registers `emailIntelligence.*`.
pub fn register(registry: &mut Registry, emails: impl Into<Option<Arc<EmailIntelligence>>>) {
    procedures!(registry.outline("emailIntelligence", emails.into());
        /// Says which category a mail belongs to, by a model, and keeps that for its thread.
        mutation SignedIn categorizeEmail = categorize_email, errors NOT_DONE;
        /// The category that was found for a thread; `null` where none was.
        query SignedIn getEmailCategory = get_email_category;
        /// Writes one to four replies to choose from, by a model, in the language of the mail. Nothing is sent.
        mutation SignedIn generateResponses = generate_responses, errors NOT_DONE;
        /// The five newest replies of a thread, the newest first.
        query SignedIn getResponses = get_responses;
        /// Notes that a reply was taken.
        mutation SignedIn markSuggestionUsed = mark_suggestion_used, errors [
            Declared::new(ErrorCode::NotFound, "The caller has no such suggestion."),
        ];
        /// Says how urgent a mail is, by a model, and keeps that for its thread.
        mutation SignedIn scorePriority = score_priority, errors NOT_DONE;
        /// The priority that was found for a thread; `null` where none was.
        query SignedIn getEmailPriority = get_email_priority;
        /// How the caller's 100 newest mails fall into categories.
        query SignedIn getCategoryStats = get_category_stats;
        /// Three short replies that fit every mail, in its language, without a model.
        query SignedIn getQuickReplies = get_quick_replies;
        /// What was found for each of these threads; threads of which nothing is known are missing.
        query SignedIn getBatchIntelligence = get_batch_intelligence;
    );
}

const NOT_DONE: &[Declared] = &[
    Declared::with::<NotDone>(
        ErrorCode::InternalServerError,
        "No model answered, or none in the form that was asked for.",
    ),
    Declared::rate_limited("Models looked at 60 mails for the caller within a minute."),
];

/// A thread.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct WhichThread {
    /// Its id.
    #[schemars(length(min = 1, max = 200))]
    thread_id: String,
}

/// A mail to sort.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct CategorizeEmail {
    /// The mail.
    #[serde(flatten)]
    pub(crate) mail: Mail,
    /// When it came; not used.
    #[serde(default, rename = "timestamp", skip_serializing_if = "Option::is_none")]
    pub(crate) _timestamp: Option<DateTime<Utc>>,
}

/// A mail to answer.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct GenerateResponses {
    /// The mail.
    #[serde(flatten)]
    mail: Mail,
    /// What the sender is to the user.
    #[serde(default)]
    sender_relationship: Option<Relationship>,
}

/// A category that was found before.
#[derive(Serialize, JsonSchema)]
struct CachedCategory {
    /// The category.
    #[serde(flatten)]
    found: Categorized,
    /// Always true: no model was asked.
    cached: bool,
}

/// A priority that was found before.
#[derive(Serialize, JsonSchema)]
struct CachedPriority {
    /// The priority.
    #[serde(flatten)]
    found: Prioritized,
    /// Always true: no model was asked.
    cached: bool,
}

/// That it is done.
#[derive(Serialize, JsonSchema)]
struct Done {
    /// Always true.
    success: bool,
}

/// A reply of [`KeptSuggestion`].
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct MarkSuggestionUsed {
    /// Its id.
    suggestion_id: i64,
}

/// Threads.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct GetBatchIntelligence {
    /// Their ids, 50 at most.
    #[schemars(length(max = 50), inner(length(min = 1, max = 200)))]
    thread_ids: Vec<String>,
}

/// The original's text, with what programs get; what is no fault of models keeps its own.
fn refused(text: &'static str) -> impl Fn(EmailError) -> RpcError {
    move |error| match error.not_done() {
        Some(details) => RpcError::new(ErrorCode::InternalServerError, text)
            .with_cause(error)
            // A struct of plain fields is always JSON.
            .with_details(serde_json::to_value(details).unwrap_or_default()),
        None => error.into(),
    }
}

impl From<EmailError> for RpcError {
    fn from(error: EmailError) -> Self {
        match error {
            EmailError::NoSuggestion => Self::not_found("Suggestion not found"),
            EmailError::RateLimited { frees_at } => Self::rate_limited(
                "Too many e-mails within a minute. Please wait.",
                // One that is exactly a minute old still counts.
                frees_at + TimeDelta::milliseconds(1),
            ),
            error => Self::internal(error),
        }
    }
}

async fn categorize_email(
    emails: Arc<EmailIntelligence>,
    context: Context,
    input: CategorizeEmail,
) -> Result<Categorized, RpcError> {
    let found = emails.categorize(context.user()?, &context, &input.mail);
    found.await.map_err(refused("Failed to categorize email"))
}

async fn get_email_category(
    emails: Arc<EmailIntelligence>,
    context: Context,
    input: WhichThread,
) -> Result<Option<CachedCategory>, RpcError> {
    let known = known(&emails, &context, input).await?;
    let found = known.category;
    Ok(found.map(|found| CachedCategory {
        found,
        cached: true,
    }))
}

async fn generate_responses(
    emails: Arc<EmailIntelligence>,
    context: Context,
    input: GenerateResponses,
) -> Result<Vec<KeptSuggestion>, RpcError> {
    let relationship = input.sender_relationship.unwrap_or_default();
    let found = emails.suggest(context.user()?, &context, &input.mail, relationship);
    found
        .await
        .map_err(refused("Failed to generate response suggestions"))
}

async fn get_responses(
    emails: Arc<EmailIntelligence>,
    context: Context,
    input: WhichThread,
) -> Result<Vec<KeptSuggestion>, RpcError> {
    Ok(emails
        .suggestions(context.user()?, &input.thread_id)
        .await?)
}

async fn mark_suggestion_used(
    emails: Arc<EmailIntelligence>,
    context: Context,
    input: MarkSuggestionUsed,
) -> Result<Done, RpcError> {
    let now = context.received_at;
    emails
        .mark_used(context.user()?, input.suggestion_id, now)
        .await?;
    Ok(Done { success: true })
}

async fn score_priority(
    emails: Arc<EmailIntelligence>,
    context: Context,
    input: Mail,
) -> Result<Prioritized, RpcError> {
    let found = emails.prioritize(context.user()?, &context, &input);
    found
        .await
        .map_err(refused("Failed to score email priority"))
}

async fn get_email_priority(
    emails: Arc<EmailIntelligence>,
    context: Context,
    input: WhichThread,
) -> Result<Option<CachedPriority>, RpcError> {
    let known = known(&emails, &context, input).await?;
    let found = known.priority;
    Ok(found.map(|found| CachedPriority {
        found,
        cached: true,
    }))
}

async fn get_category_stats(
    emails: Arc<EmailIntelligence>,
    context: Context,
) -> Result<CategoryStats, RpcError> {
    Ok(emails.category_stats(context.user()?).await?)
}

async fn get_quick_replies(
    _: Arc<EmailIntelligence>,
    _: Context,
    input: Mail,
) -> Result<Vec<String>, RpcError> {
    Ok(quick_replies(&input).map(str::to_owned).to_vec())
}

async fn get_batch_intelligence(
    emails: Arc<EmailIntelligence>,
    context: Context,
    input: GetBatchIntelligence,
) -> Result<BTreeMap<String, KnownThread>, RpcError> {
    Ok(emails.known(context.user()?, &input.thread_ids).await?)
}

async fn known(
    emails: &EmailIntelligence,
    context: &Context,
    input: WhichThread,
) -> Result<KnownThread, RpcError> {
    let threads = [input.thread_id];
    let known = emails.known(context.user()?, &threads).await?;
    Ok(known.into_values().next().unwrap_or_default())
}
