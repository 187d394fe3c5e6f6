//! A user's request, found by who, what and when.

use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;

use super::{
    super::{
        client::Client,
        table::{clean, moment},
    },
    Values,
};
use crate::{
    _core::assignment::Variant,
    routers::{
        methods::REQUESTS_LIST,
        requests_router::{Filter, ListRequests},
    },
};

/// Requests that are looked at.
const MOST: u32 = 200;
/// Others of the same time that are named.
const OTHERS: usize = 5;

#[derive(Deserialize)]
struct Requests {
    rows: Vec<Request>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    request_id: String,
    at: DateTime<Utc>,
    variant: Variant,
    rollout_id: Option<String>,
    outcome: String,
    latency_ms: f64,
    attempts: Vec<Attempt>,
}

#[derive(Deserialize)]
struct Attempt {
    model: String,
    outcome: String,
}

/// The values of the request that is nearest to a time.
pub(super) async fn of_request(
    client: &Client,
    user: i64,
    task: String,
    at: DateTime<Utc>,
    within: Duration,
) -> anyhow::Result<Values> {
    let distance = TimeDelta::from_std(within).unwrap_or(TimeDelta::days(365));
    let filter = Filter {
        from: at.checked_sub_signed(distance),
        to: at.checked_add_signed(distance),
        user_id: Some(user),
        task: Some(task.clone()),
        ..Filter::default()
    };
    let asked = ListRequests {
        filter,
        cursor: None,
        limit: Some(MOST),
    };
    let mut found = client
        .call(&REQUESTS_LIST.reading::<Requests>(), &asked)
        .await?
        .rows;
    found.sort_by_key(|it| (it.at - at).abs());
    let mut found = found.into_iter();
    let request = found.next().with_context(|| {
        let (at, within) = (moment(at), humantime::format_duration(within));
        format!(
            "no request of user {user} for `{task}` is stored within {within} of {at} UTC; look further with \
             `--within`, and see that the time is in UTC. Requests older than EVENT_RETENTION are gone"
        )
    })?;
    let others: Vec<_> = found
        .take(OTHERS)
        .map(|it| format!("{} `{}` ({})", moment(it.at), it.outcome, it.request_id))
        .collect();
    let others = match others.as_slice() {
        [] => "No other request of this user was near.\n".to_owned(),
        others => format!("Others of this user near: {}.\n", others.join(", ")),
    };
    let attempts = request
        .attempts
        .iter()
        .map(|it| format!("`{}` ({})", clean(&it.model), it.outcome));
    let attempts: Vec<_> = attempts.collect();
    let (what_happened, what_to_do) = words(&request);
    Ok(Values::from([
        ("request", request.request_id.clone()),
        ("user", user.to_string()),
        ("task", task),
        ("at", moment(request.at)),
        ("variant", request.variant.name().to_owned()),
        (
            "rollout",
            request
                .rollout_id
                .as_ref()
                .map_or_else(String::new, |id| format!(" of rollout {id}")),
        ),
        ("latency", format!("{:.1} s", request.latency_ms / 1_000.0)),
        ("outcome", request.outcome.clone()),
        ("attempts", attempts.join(", ")),
        ("others", others),
        ("what_happened", what_happened),
        ("what_to_do", what_to_do),
    ]))
}

/// What it was for the user, and what the user can do.
fn words(request: &Request) -> (String, String) {
    let seconds = request.latency_ms / 1_000.0;
    match (request.outcome.as_str(), request.attempts.len()) {
        ("success", ..2) => (
            format!("was answered after {seconds:.1} s."),
            "If the answer itself was wrong, please rate it, or tell us what was wrong with it."
                .to_owned(),
        ),
        ("success", _) => (
            format!(
                "was answered after {seconds:.1} s, by another model than the first one, which did not answer."
            ),
            "Nothing is lost. If the answer was wrong or late, please tell us.".to_owned(),
        ),
        ("refused-answer", _) => (
            "was answered by a model that would not do what you asked for.".to_owned(),
            "Please ask in other words, or tell us what you needed.".to_owned(),
        ),
        ("cancelled", _) => (
            format!("was stopped after {seconds:.1} s, before the answer was there."),
            "Please send it again.".to_owned(),
        ),
        (outcome, _) => (
            format!("could not be answered (`{outcome}`)."),
            "Please try it again. If that does not help, tell us, and we look at this request."
                .to_owned(),
        ),
    }
}
