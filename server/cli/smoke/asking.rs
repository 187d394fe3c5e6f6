//! What only asks: a greeting, a mail, and whether both were counted.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};

use super::super::{
    client::{CallError, Client},
    findings::Findings,
};
use crate::{
    _core::{assignment::Variant, errors::in_full, procedure::NoInput},
    ai_metrics::window::Minutes,
    chat::store::{Message, MessageRole},
    email_intelligence::{ANALYSIS, Mail},
    providers::quality::language_of,
    routers::{
        ai_metrics_router::WindowInput,
        chat_router::{CreateConversation, DeleteConversation, GetMessages, SendMessage},
        email_intelligence_router::CategorizeEmail,
        methods::{
            CHAT_CREATE, CHAT_DELETE, CHAT_LIST, CHAT_MESSAGES, CHAT_SEND, EMAIL_CATEGORIZE,
            METRICS_SUMMARY, MODELS_EXPLAIN, MODELS_LIST, REQUESTS_LIST, TRIALS_ARMS,
        },
        models_router::{Explain, ModelExplanation},
        requests_router::{Filter, ListRequests},
        trials_router::WhichArms,
    },
};

/// The longest that a greeting may take.
const GREETED_WITHIN: Duration = Duration::from_secs(3);
/// The longest until a request is stored, where the database is not behind.
const STORED_WITHIN: Duration = Duration::from_secs(15);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);
/// The task of greetings.
const CHAT: &str = "chat";
/// The language of the greeting, as the catalog names it.
const DANISH: &str = "danish";
/// Long enough an answer for its language to be found.
const GREETING: &str =
    "Hej! Fortæl mig med to hele sætninger, hvad du kan hjælpe en lille virksomhed med.";
/// The one thread under which what is found of the mail is kept, whoever asks how often.
const THREAD: &str = "modelramp-smoke";

/// What conversations of a greeting are called.
const TITLE: &str = "modelramp smoke";
/// One that is older than so many minutes was left behind; a younger one may be of another run.
const LEFT_AFTER: i64 = 10;
/// How long an interrupted run tries to delete its conversation.
const TIDIED_WITHIN: Duration = Duration::from_secs(5);

/// What was asked so far, for whom and since when.
pub(super) struct SmokeRun {
    since: DateTime<Utc>,
    user: Option<i64>,
    requests: usize,
    /// The one of the greeting, while it is there.
    conversation: Option<i64>,
}

impl SmokeRun {
    /// Deletes the conversation of a greeting that was interrupted; whether none is left.
    pub(super) async fn tidy(self, client: &Client) -> bool {
        let Some(conversation_id) = self.conversation else {
            return true;
        };
        let which = DeleteConversation { conversation_id };
        let deleted = timeout(TIDIED_WITHIN, client.call(&CHAT_DELETE, &which)).await;
        matches!(deleted, Ok(Ok(_)))
    }

    #[expect(clippy::disallowed_methods, reason = "a command begins now")]
    pub(super) fn begin() -> Self {
        Self {
            since: Utc::now(),
            user: None,
            requests: 0,
            conversation: None,
        }
    }
}

/// A model as far as a greeting concerns it.
#[derive(Deserialize)]
struct Models {
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    name: String,
    #[serde(default)]
    languages: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Talk {
    id: i64,
    title: Option<String>,
    created_at: DateTime<Utc>,
}

impl Talk {
    fn is_left(&self, now: DateTime<Utc>) -> bool {
        self.title.as_deref() == Some(TITLE) && (now - self.created_at).num_minutes() >= LEFT_AFTER
    }
}

#[derive(Deserialize)]
struct Messages {
    messages: Vec<Message>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counted {
    total_requests: u64,
}

#[derive(Deserialize)]
struct Requests {
    rows: Vec<Request>,
}

#[derive(Deserialize)]
struct Request {
    task: String,
    outcome: String,
}

/// Which model the caller would get.
async fn explain(client: &Client, task: &str) -> Result<ModelExplanation, CallError> {
    let which = Explain {
        user_id: None,
        task: task.to_owned(),
    };
    client.call(&MODELS_EXPLAIN, &which).await
}

/// Whether the caller's model answers a greeting in Danish, in time.
pub(super) async fn greeting(client: &Client, asked: &mut SmokeRun, findings: &mut Findings) {
    let check = "greeting";
    let route = match explain(client, CHAT).await {
        Ok(route) => route,
        Err(error) => {
            return findings.fail(
                check,
                in_full(&error),
                error.advice("see what the answer asks for"),
            );
        }
    };
    asked.user = Some(route.user_id);
    let models = match client
        .call(&MODELS_LIST.reading::<Models>(), &NoInput {})
        .await
    {
        Ok(models) => models.models,
        Err(error) => {
            return findings.fail(check, in_full(&error), error.advice("see the server's log"));
        }
    };
    let mut named = models.iter().filter(|it| it.name == route.model);
    if !named.any(|it| it.languages.iter().any(|language| language == DANISH)) {
        return findings.skip(
            check,
            format!(
                "`{}` was not greeted: the catalog does not list Danish",
                route.model
            ),
            format!(
                "add `languages = [\"{DANISH}\"]` to the model in the catalog where it speaks it"
            ),
        );
    }
    let (model, arm) = (&route.model, route.variant.name());
    match greet(client, asked).await {
        Ok((answer, took)) => {
            asked.requests += 1;
            let ms = took.as_millis();
            let language = language_of(&answer);
            if answer.trim().is_empty() {
                findings.fail(
                    check,
                    format!("`{model}` answered nothing"),
                    "see `modelramp check --call-models`",
                );
            } else if took > GREETED_WITHIN {
                findings.fail(
                    check,
                    format!("`{model}` ({arm}) answered a greeting after {ms} ms; 3,000 are meant"),
                    "see the latencies of its provider, or choose a faster model",
                );
            } else if let Some(other) = language.filter(|it| it != DANISH) {
                findings.warn(
                    check,
                    format!(
                        "`{model}` ({arm}) answered in {ms} ms, but in {other}: {}",
                        beginning(&answer)
                    ),
                    "read the answer; ask for the language in the catalog (`[tasks.chat.answers]`)",
                );
            } else {
                findings.pass(
                    check,
                    format!("`{model}` ({arm}) answered in Danish within {ms} ms"),
                );
            }
        }
        Err(error) => findings.fail(
            check,
            format!("`{model}` ({arm}) did not answer: {}", in_full(&error)),
            error
                .advice("see the request in `requests.list` or on the dashboard, and its provider"),
        ),
    }
}

/// The first words of an answer.
fn beginning(answer: &str) -> String {
    answer.chars().take(60).collect()
}

/// An answer in a conversation of its own, which is deleted, and how long it took.
async fn greet(client: &Client, asked: &mut SmokeRun) -> Result<(String, Duration), CallError> {
    delete_left(client).await?;
    let conversation = CreateConversation {
        title: Some(TITLE.to_owned()),
    };
    let conversation_id = client.call(&CHAT_CREATE, &conversation).await?.id;
    asked.conversation = Some(conversation_id);
    let message = SendMessage {
        conversation_id,
        content: GREETING.to_owned(),
        model: None,
        context: None,
    };
    let began = Instant::now();
    let sent = client.call(&CHAT_SEND, &message).await;
    let took = began.elapsed();
    let page = GetMessages {
        conversation_id,
        cursor: None,
        limit: 50,
    };
    let messages = client
        .call(&CHAT_MESSAGES.reading::<Messages>(), &page)
        .await;
    let deleted = client
        .call(&CHAT_DELETE, &DeleteConversation { conversation_id })
        .await;
    if deleted.is_ok() {
        asked.conversation = None;
    }
    sent?;
    let messages = messages?.messages;
    deleted?;
    let answer = messages
        .into_iter()
        .find(|it| it.role == MessageRole::Assistant);
    Ok((answer.map(|it| it.content).unwrap_or_default(), took))
}

/// Deletes what runs that were killed left behind, of the caller.
#[expect(clippy::disallowed_methods, reason = "a command looks now")]
async fn delete_left(client: &Client) -> Result<(), CallError> {
    let all = CHAT_LIST.reading::<Vec<Talk>>();
    let all = client.call(&all, &NoInput {}).await?;
    let now = Utc::now();
    for left in all.into_iter().filter(|it| it.is_left(now)) {
        let which = DeleteConversation {
            conversation_id: left.id,
        };
        client.call(&CHAT_DELETE, &which).await?;
    }
    Ok(())
}

/// Whether a mail is sorted by an answer of the form that was asked for.
pub(super) async fn email(client: &Client, asked: &mut SmokeRun, findings: &mut Findings) {
    let check = "email";
    let route = match explain(client, ANALYSIS).await {
        Ok(route) => route,
        Err(CallError::Refused { message, .. }) => {
            let todo = format!("where users have e-mails, give the catalog a task `{ANALYSIS}`");
            return findings.skip(check, format!("no mail was sorted: {message}"), todo);
        }
        Err(error) => {
            return findings.fail(check, in_full(&error), error.advice("see the server's log"));
        }
    };
    asked.user = Some(route.user_id);
    if is_simulated(client, &route).await {
        return findings.skip(
            check,
            format!(
                "`{}` is simulated, and gives no answers of a form",
                route.model
            ),
            "give its provider a key",
        );
    }
    let mail = Mail {
        thread_id: THREAD.to_owned(),
        from: "kunde@example.com".to_owned(),
        to: "kontor@example.com".to_owned(),
        subject: "Faktura 1042".to_owned(),
        body: "Hej. Vi har modtaget faktura 1042, men beløbet passer ikke med tilbuddet. Kan I se på det inden \
               fredag? Venlig hilsen, Mette"
            .to_owned(),
    };
    let input = CategorizeEmail {
        mail,
        _timestamp: None,
    };
    match client.call(&EMAIL_CATEGORIZE, &input).await {
        Ok(found) => {
            asked.requests += 1;
            let (category, sure) = (found.category.name(), found.confidence);
            findings.pass(
                check,
                format!("`{}` sorted a mail by the schema: {category}, {sure:.2} sure", route.model),
            );
        }
        Err(error) => findings.fail(
            check,
            format!("`{}` did not sort a mail: {}", route.model, in_full(&error)),
            error.advice("see the request's outcome on the dashboard, and whether the model takes schemas (docs/emails.md)"),
        ),
    }
}

/// Whether the sandbox stands in for the model that the caller would get.
async fn is_simulated(client: &Client, route: &ModelExplanation) -> bool {
    let which = WhichArms {
        task: Some(route.task.clone()),
        plan: None,
    };
    let arms = client.call(&TRIALS_ARMS, &which).await;
    arms.is_ok_and(|arms| match route.variant {
        Variant::Control => arms.control.simulated,
        Variant::Candidate => arms.candidate.simulated,
    })
}

/// Whether what was asked is in the figures, and is stored.
#[expect(clippy::disallowed_methods, reason = "a command looks now")]
pub(super) async fn metrics(client: &Client, asked: &SmokeRun, findings: &mut Findings) {
    let check = "metrics";
    let (Some(user), 1..) = (asked.user, asked.requests) else {
        return findings.skip(
            check,
            "no model answered, so nothing was to be counted",
            "see above",
        );
    };
    let minutes = (Utc::now() - asked.since).num_minutes() + 1;
    let window = WindowInput {
        last_minutes: Minutes::try_from(minutes as f64).unwrap_or_default(),
    };
    let summary = METRICS_SUMMARY.reading::<Counted>();
    match client.call(&summary, &window).await {
        Ok(it) if it.total_requests >= asked.requests as u64 => {}
        Ok(it) => {
            return findings.fail(
                check,
                format!(
                    "{} requests were made and {} counted",
                    asked.requests, it.total_requests
                ),
                "see whether another server answers behind the same address",
            );
        }
        Err(error) => {
            return findings.fail(check, in_full(&error), error.advice("see the server's log"));
        }
    }
    let own = ListRequests {
        filter: Filter {
            from: Some(asked.since),
            user_id: Some(user),
            ..Filter::default()
        },
        ..ListRequests::default()
    };
    let own_requests = REQUESTS_LIST.reading::<Requests>();
    let began = Instant::now();
    loop {
        let stored = match client.call(&own_requests, &own).await {
            Ok(stored) => stored.rows,
            Err(error) => {
                return findings.fail(check, in_full(&error), error.advice("see the server's log"));
            }
        };
        if stored.len() >= asked.requests {
            let told: Vec<_> = (stored.iter().rev())
                .map(|it| format!("{} {}", it.task, it.outcome))
                .collect();
            return findings.pass(check, format!("counted and stored: {}", told.join(", ")));
        }
        if began.elapsed() > STORED_WITHIN {
            return findings.fail(
                check,
                format!("of {} requests {} are stored", asked.requests, stored.len()),
                "see `/readyz`, the disk, and whether another server leads the same database",
            );
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn only_an_old_conversation_of_a_greeting_was_left_behind() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(1);
        for (title, minutes, is_left) in [
            (Some(TITLE), 11, true),
            (Some(TITLE), 9, false),
            (Some("Hello"), 11, false),
            (None, 11, false),
        ] {
            let talk = Talk {
                id: 1,
                title: title.map(str::to_owned),
                created_at: now - TimeDelta::minutes(minutes),
            };
            assert_eq!(talk.is_left(now), is_left, "{title:?} {minutes}");
        }
    }
}
