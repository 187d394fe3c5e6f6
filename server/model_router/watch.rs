//! What providers answer about their models, held against the catalog: which are missing, retire, cost something
//! else, or take less. Whoever asks the providers is elsewhere; here is what their answers mean.
//!
//! A model that is missing from a list may answer all the same: lists leave out aliases and previews. It is
//! *gone* when its provider has refused a request for it as well. It is back when it is listed or answers.
//! A model that is listed may have nobody who runs it: it is gone when requests for it were refused three times, five
//! minutes apart and within a quarter of an hour, and none was answered between them. It is back when it answers.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::{sync::Notify, time::Instant};

use super::catalog::{Catalog, Model, Prices, Tier};
use crate::providers::listing::Listed;

/// A model that ends within so many days is one that retires.
const RETIRES_WITHIN: TimeDelta = TimeDelta::days(30);
/// So many refusals of a model that is listed, so far apart and within so long, without an answer between them, and
/// it is gone.
const REFUSALS: usize = 3;
const APART: Duration = Duration::from_secs(5 * 60);
const REFUSED_WITHIN: Duration = Duration::from_secs(15 * 60);
/// Prices that differ by less are the same, rounded.
const SAME_PRICE: f64 = 1e-6;

/// Whether a provider has a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Listing {
    /// It lists it.
    Listed,
    /// It does not list it. It may answer all the same.
    Missing,
    /// It does not list it and has refused a request for it, or lists it and has refused several: routes pass it
    /// over.
    Gone,
    /// It has no list.
    NotTold,
}

/// What is known of a model from its provider.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Watched {
    /// When the provider said so.
    pub checked_at: DateTime<Utc>,
    /// Whether the provider has the model.
    pub listing: Listing,
    /// The day on which it ends, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retires_on: Option<NaiveDate>,
    /// US dollars per million tokens, where they are others than the catalog's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prices: Option<Prices>,
    /// Tokens that fit in, where they are fewer than the catalog's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u32>,
}

/// Something that people should know of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModelFinding {
    /// Its provider does not list it.
    Missing,
    /// It refuses requests for it.
    Gone,
    /// It ends within 30 days.
    Retiring,
    /// It costs something else than the catalog says.
    Repriced,
    /// Fewer tokens fit in than the catalog says.
    Smaller,
}

impl ModelFinding {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Missing,
        Self::Gone,
        Self::Retiring,
        Self::Repriced,
        Self::Smaller,
    ];

    /// As a label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Gone => "gone",
            Self::Retiring => "retiring",
            Self::Repriced => "repriced",
            Self::Smaller => "smaller",
        }
    }
}

impl Watched {
    fn new(model: &Model, listed: Option<&Listed>, at: DateTime<Utc>) -> Self {
        let soon = at.date_naive() + RETIRES_WITHIN;
        let prices = listed.and_then(|it| it.prices).map(|told| Prices {
            prompt: told.prompt,
            completion: told.completion,
            cache_read: told.cache_read,
            cache_write: told.cache_write,
        });
        let differs = |told: &Prices| {
            // Where the catalog says no price of a model that costs, it does not know it.
            let is_known = model.tier == Tier::Free || model.prices != Prices::default();
            let is_other = |a: f64, b: f64| (a - b).abs() > SAME_PRICE * a.max(b).max(1.0);
            // A price of what is kept that the catalog does not say is not another one.
            let is_other_part = |told: Option<f64>, ours: Option<f64>| {
                told.zip(ours).is_some_and(|(a, b)| is_other(a, b))
            };
            let ours = model.prices;
            is_known
                && (is_other(told.prompt, ours.prompt)
                    || is_other(told.completion, ours.completion)
                    || is_other_part(told.cache_read, ours.cache_read)
                    || is_other_part(told.cache_write, ours.cache_write))
        };
        Self {
            checked_at: at,
            listing: match listed {
                Some(_) => Listing::Listed,
                None => Listing::Missing,
            },
            retires_on: listed
                .and_then(|it| it.retires_on)
                .filter(|day| *day <= soon),
            prices: prices.filter(differs),
            context_window: listed
                .and_then(|it| it.context)
                .filter(|it| *it < model.context),
        }
    }

    /// Whether this was found.
    pub fn has(&self, finding: ModelFinding) -> bool {
        match finding {
            ModelFinding::Missing => self.listing == Listing::Missing,
            ModelFinding::Gone => self.listing == Listing::Gone,
            ModelFinding::Retiring => self.retires_on.is_some(),
            ModelFinding::Repriced => self.prices.is_some(),
            ModelFinding::Smaller => self.context_window.is_some(),
        }
    }

    /// It in words, for people who know the catalog's entry.
    pub fn words(&self, finding: ModelFinding, model: &Model) -> String {
        let (name, id) = (&model.name, &model.id);
        match (finding, self.retires_on, self.prices, self.context_window) {
            (ModelFinding::Gone, ..) => {
                format!("`{name}` ({id}) is gone: requests for it are refused")
            }
            (ModelFinding::Retiring, Some(day), ..) => format!("`{name}` ({id}) ends on {day}"),
            (ModelFinding::Repriced, _, Some(told), _) => {
                let ours = model.prices;
                let mut words = format!(
                    "`{name}` ({id}) costs {} and {} US dollars per million tokens, and the catalog says {} and {}",
                    told.prompt, told.completion, ours.prompt, ours.completion
                );
                for (what, told, ours) in [
                    ("had kept", told.cache_read, ours.cache_read),
                    ("keeps", told.cache_write, ours.cache_write),
                ] {
                    if let (Some(told), Some(ours)) = (told, ours) {
                        let _ = write!(
                            words,
                            "; for what it {what} {told}, and the catalog says {ours}"
                        );
                    }
                }
                words
            }
            (ModelFinding::Smaller, _, _, Some(tokens)) => format!(
                "`{name}` ({id}) takes {tokens} tokens, and the catalog says {}",
                model.context
            ),
            _ => format!("`{name}` ({id}) is not listed; it may answer all the same"),
        }
    }
}

/// What is known of all models of the catalog.
#[derive(Default)]
pub struct ModelWatch {
    seen: Mutex<Seen>,
    gone: ArcSwap<HashSet<Arc<str>>>,
    /// Whether some model was refused: whether answers have to be looked at.
    has_refused: AtomicBool,
    hurry: Notify,
}

/// As many as the catalog has models.
#[derive(Default)]
struct Seen {
    watched: HashMap<Arc<str>, Known>,
    /// When requests for a model were refused that it has not answered since: the last few, apart from each other.
    refused: HashMap<Arc<str>, VecDeque<Instant>>,
}

impl Seen {
    /// Forgets what was refused long ago, unless that is why a model is gone.
    fn forget_old(&mut self, model: &str) {
        let known = self.watched.get(model);
        if known.is_some_and(|it| it.watched.listing == Listing::Gone) {
            return;
        }
        if let Some(refused) = self.refused.get_mut(model) {
            refused.retain(|at| at.elapsed() <= REFUSED_WITHIN);
            if refused.is_empty() {
                self.refused.remove(model);
            }
        }
    }
}

/// A model, and what its provider's list says of it.
struct Known {
    watched: Watched,
    /// Any but gone.
    told: Listing,
}

impl Known {
    fn new(watched: Watched) -> Self {
        let told = watched.listing;
        Self { watched, told }
    }

    /// Whether it is gone, where these requests were refused.
    fn is_gone(&self, refused: &VecDeque<Instant>) -> bool {
        let span = |first: &Instant, last: &Instant| last.saturating_duration_since(*first);
        match self.told {
            Listing::Missing => !refused.is_empty(),
            _ => {
                let ends = refused.front().zip(refused.back());
                refused.len() >= REFUSALS
                    && ends.is_some_and(|(first, last)| span(first, last) <= REFUSED_WITHIN)
            }
        }
    }
}

impl ModelWatch {
    /// What is known of a model; `None` where its provider was not asked yet.
    pub fn of(&self, model: &str) -> Option<Watched> {
        let seen = self.seen.lock();
        Some(seen.watched.get(model)?.watched.clone())
    }

    /// Models that are gone.
    pub(super) fn gone(&self) -> arc_swap::Guard<Arc<HashSet<Arc<str>>>> {
        self.gone.load()
    }

    /// Models that are gone although their provider lists them, or has no list: only an answer brings them back.
    pub fn refusing(&self) -> Vec<Arc<str>> {
        let seen = self.seen.lock();
        let is_refusing =
            |it: &Known| it.watched.listing == Listing::Gone && it.told != Listing::Missing;
        let refusing = seen.watched.iter().filter(|(_, it)| is_refusing(it));
        refusing.map(|(name, _)| name.clone()).collect()
    }

    /// Another catalog is in use, in which some models are what they were. The others are not known.
    pub(super) fn keep(&self, is_same: impl Fn(&str) -> bool) {
        let mut seen = self.seen.lock();
        seen.watched.retain(|name, _| is_same(name));
        seen.refused.retain(|name, _| is_same(name));
        self.settle(&mut seen);
    }

    /// Resolves when a provider should be asked before its time.
    pub async fn hurried(&self) {
        self.hurry.notified().await;
    }

    /// Takes up which models a provider has.
    pub fn listed(&self, catalog: &Catalog, provider: &str, listed: &[Listed], at: DateTime<Utc>) {
        let by_id: HashMap<&str, &Listed> = listed.iter().map(|it| (it.id.as_str(), it)).collect();
        let mut seen = self.seen.lock();
        let models = catalog.models.iter().filter(|it| it.provider == provider);
        for model in models {
            let entry = by_id.get(model.id.as_str()).copied();
            let watched = Watched::new(model, entry, at);
            let known = Known::new(watched);
            let before = seen.watched.get(&model.name).map(|it| it.told);
            match (known.told, before) {
                (Listing::Listed, Some(Listing::Missing)) => {
                    seen.refused.remove(&model.name);
                }
                (Listing::Listed, _) => seen.forget_old(&model.name),
                _ => {}
            }
            seen.watched.insert(model.name.clone(), known);
        }
        self.settle(&mut seen);
    }

    /// A provider has no list.
    pub fn not_told(&self, catalog: &Catalog, provider: &str, at: DateTime<Utc>) {
        let mut seen = self.seen.lock();
        let models = catalog.models.iter().filter(|it| it.provider == provider);
        for model in models {
            let listing = Listing::NotTold;
            let watched = Watched {
                listing,
                ..Watched::new(model, None, at)
            };
            seen.watched.insert(model.name.clone(), Known::new(watched));
        }
        self.settle(&mut seen);
    }

    /// A provider does not have a model that it was asked for.
    pub(super) fn refused(&self, model: &Arc<str>) {
        let mut seen = self.seen.lock();
        let refused = seen.refused.entry(model.clone()).or_default();
        // Many callers at once have met one refusal.
        if refused.back().is_some_and(|last| last.elapsed() < APART) {
            return;
        }
        let is_first = refused.is_empty();
        if refused.len() == REFUSALS {
            refused.pop_front();
        }
        refused.push_back(Instant::now());
        let had = self.gone.load().len();
        self.settle(&mut seen);
        if is_first || self.gone.load().len() > had {
            self.hurry.notify_one();
        }
    }

    /// A model answers.
    pub(super) fn answered(&self, model: &str) {
        if self.has_refused.load(Ordering::Relaxed) {
            let mut seen = self.seen.lock();
            if seen.refused.remove(model).is_some() {
                self.settle(&mut seen);
            }
        }
    }

    /// What follows from what was seen.
    fn settle(&self, seen: &mut Seen) {
        let Seen { watched, refused } = seen;
        let mut gone = HashSet::new();
        for (name, known) in watched.iter_mut() {
            let is_gone = refused.get(name).is_some_and(|it| known.is_gone(it));
            known.watched.listing = if is_gone { Listing::Gone } else { known.told };
            if is_gone {
                gone.insert(name.clone());
            }
        }
        if **self.gone.load() != gone {
            self.gone.store(Arc::new(gone));
        }
        self.has_refused
            .store(!refused.is_empty(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
