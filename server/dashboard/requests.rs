//! Requests as people look for them: the attempts of one call, found by what is true of one of them.
//!
//! What is stored are attempts. A request is found where an attempt fits the filter, and stands at the
//! newest one that does; so it is found once, however many of its attempts fit.

use async_trait::async_trait;

use crate::{
    _core::assignment::Variant,
    recording::{Event, Outcome},
};

/// What must be true of one attempt; what is not given is not looked at.
#[derive(Clone, Debug, Default)]
pub struct RequestFilter {
    /// It ended at or after, in milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// It ended before, in milliseconds since 1970.
    pub to_ms: Option<i64>,
    /// It was at one of these models; by their names in the catalog.
    pub models: Option<Vec<String>>,
    /// For this variant.
    pub variant: Option<Variant>,
    /// For this task.
    pub task: Option<String>,
    /// It ended in one of these ways.
    pub outcomes: Option<Vec<&'static str>>,
    /// This user's.
    pub user_id: Option<i64>,
    /// Decided by this rollout.
    pub rollout: Option<String>,
    /// It took longer, in milliseconds.
    pub slower_ms: Option<f64>,
    /// Evidence counts it, or does not.
    pub counted: Option<bool>,
}

impl RequestFilter {
    /// Whether an attempt fits. The store finds by the same rules.
    pub fn fits(&self, event: &Event) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| match wanted {
            Some(wanted) => found == Some(wanted),
            None => true,
        };
        event.outcome.is_end()
            && self.from_ms.is_none_or(|from| event.at_ms >= from)
            && self.to_ms.is_none_or(|to| event.at_ms < to)
            && (self.models.as_ref()).is_none_or(|all| all.iter().any(|it| **it == *event.model))
            && self.variant.is_none_or(|variant| event.variant == variant)
            && is(&self.task, Some(&event.task))
            && (self.outcomes.as_ref()).is_none_or(|all| all.contains(&event.outcome.name()))
            && self.user_id.is_none_or(|user| event.user_id == Some(user))
            && is(&self.rollout, event.rollout.as_deref())
            && self.slower_ms.is_none_or(|ms| event.latency_ms > ms)
            && self.counted.is_none_or(|counted| event.counted == counted)
    }
}

/// A place in the list of requests: the newest attempt that fits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestPlace {
    /// When it ended, in milliseconds since 1970.
    pub at_ms: i64,
    /// Its request.
    pub request_id: String,
}

/// What one look found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundRequests {
    /// The newest first; several may be of one request.
    pub found: Vec<RequestPlace>,
    /// Nothing before this time was looked at, in milliseconds since 1970; `None` where there is nothing.
    pub floor_ms: Option<i64>,
}

/// How many requests fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatchingRequests {
    /// So many were found.
    pub found: u64,
    /// Whether all were looked at.
    pub is_exact: bool,
}

/// Where requests are looked up.
#[async_trait]
pub trait RequestStore: Send + Sync {
    /// The places of the newest attempts that fit, before a place, at most `limit`. It passes so many attempts
    /// at most, however few fit, and says how far it got.
    async fn places(
        &self,
        filter: &RequestFilter,
        before: Option<&RequestPlace>,
        limit: u32,
        passing: u32,
    ) -> anyhow::Result<FoundRequests>;

    /// How many requests fit, where at most `most` attempts that fit are counted, and so many passed.
    async fn count(
        &self,
        filter: &RequestFilter,
        most: u32,
        passing: u32,
    ) -> anyhow::Result<MatchingRequests>;

    /// All that is stored of these requests, in the order in which it happened.
    async fn attempts(&self, request_ids: &[String]) -> anyhow::Result<Vec<Event>>;
}

/// Requests on a page, each with its attempts, and where the next page begins.
#[derive(Clone, Debug, Default)]
pub struct RequestPage {
    /// The newest first; the attempts of each in their order.
    pub requests: Vec<(RequestPlace, Vec<Event>)>,
    /// Before this the next page begins; `None` after the last.
    pub next: Option<RequestPlace>,
    /// Where the page is not full: so far back was looked, in milliseconds since 1970, and there is more.
    pub searched_to_ms: Option<i64>,
}

/// Attempts that one look passes at most, whatever fits.
const PASSING: u32 = 50_000;
/// Attempts that fit and are counted, and attempts among which they are looked for.
const MOST_COUNTED: u32 = 10_001;
const PASSING_TO_COUNT: u32 = 100_000;
/// Looks for one page: those after the first fill up what was of requests that stand elsewhere, or look
/// farther back.
const ROUNDS: usize = 4;

/// The newest requests before a place, at most `limit`; fewer where many attempts of the same requests fit,
/// or hardly any do.
pub async fn page(
    store: &dyn RequestStore,
    filter: &RequestFilter,
    mut before: Option<RequestPlace>,
    limit: u32,
) -> anyhow::Result<RequestPage> {
    let mut page = RequestPage::default();
    let most = limit as usize;
    for _ in 0..ROUNDS {
        let FoundRequests { found, floor_ms } =
            (store.places(filter, before.as_ref(), limit + 1, PASSING)).await?;
        let is_through = found.len() <= most;
        let mut ids: Vec<String> = found.iter().map(|it| it.request_id.clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        let attempts = store.attempts(&ids).await?;
        for place in found {
            let id = &*place.request_id;
            let own: Vec<Event> = (attempts.iter())
                .filter(|it| &*it.request_id == id)
                .cloned()
                .collect();
            let fitting = own.iter().filter(|event| filter.fits(event));
            let newest = fitting.map(|event| event.at_ms).max();
            let is_there = page.requests.iter().any(|(it, _)| it.request_id == id);
            if newest.is_none_or(|newest| newest == place.at_ms) && !is_there {
                if page.requests.len() == most {
                    return Ok(RequestPage {
                        next: before,
                        searched_to_ms: None,
                        ..page
                    });
                }
                page.requests.push((place.clone(), own));
            }
            before = Some(place);
        }
        if is_through {
            let Some(at_ms) = floor_ms else {
                return Ok(RequestPage {
                    searched_to_ms: None,
                    ..page
                });
            };
            page.searched_to_ms = Some(at_ms);
            // No request is before the empty one, so the next look is for what is older.
            before = Some(RequestPlace {
                at_ms,
                request_id: String::new(),
            });
        }
    }
    page.next = before;
    Ok(page)
}

/// How many requests fit, as far as that is quickly known.
pub async fn count(
    store: &dyn RequestStore,
    filter: &RequestFilter,
) -> anyhow::Result<MatchingRequests> {
    store.count(filter, MOST_COUNTED, PASSING_TO_COUNT).await
}

/// The names of all outcomes of an attempt that is over.
pub fn outcomes() -> impl Iterator<Item = &'static str> {
    let faults = crate::providers::fault::FaultKind::ALL.into_iter();
    [
        Outcome::Success,
        Outcome::Refused,
        Outcome::Cancelled,
        Outcome::Unknown,
    ]
    .into_iter()
    .chain(faults.map(Outcome::Fault))
    .map(Outcome::name)
}
