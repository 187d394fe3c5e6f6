//! What a request costs its key: counted at its rate, reserved before the call, settled after it.
//!
//! A user's own requests have no key, and so no bill.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Admitted, Gateway, headers::add_rate, refusal::Refusal};
use crate::{
    _core::{amount::Amount, units::Microdollars},
    keys::{ApiKey, RateLeft, Reservation, SpendingRefused},
    model_router::{Route, Trail, catalog::Model},
    providers::{Delta, RawObject, Usage, estimate},
};

/// Tokens that are reserved for an answer of which neither caller nor catalog says how long it may be. A
/// stream that becomes longer reserves more.
const ANSWER: u64 = 4_096;
/// As many at a time.
const MORE: u64 = 512;
/// Where a budget leaves room for fewer tokens of an answer, it is used up.
const SHORTEST_ANSWER: u64 = 64;
const MAX_TOKENS: HeaderName = HeaderName::from_static("x-modelramp-max-tokens");

/// What a request costs.
#[derive(Default)]
pub(super) struct Bill {
    trail: Trail,
    of_key: Option<OfKey>,
}

struct OfKey {
    key: Arc<ApiKey>,
    opened_at: DateTime<Utc>,
    prices: Dearest,
    reservation: Reservation,
    /// Tokens of the answers that are reserved, together.
    paid: u64,
    /// What has come of them.
    written: estimate::Text,
    /// To how many tokens the budget limits each answer, if it does.
    limit: Option<u64>,
    /// What is left of the key's rate, if it has one.
    rate: Option<RateLeft>,
}

/// How long answers may be, in tokens.
#[derive(Clone, Copy)]
struct Length {
    each: u64,
    /// How many are asked for; at least 1.
    answers: u64,
    /// Whether the budget may limit them.
    may_be_shorter: bool,
}

impl Length {
    /// Of what has no answer.
    const NONE: Self = Self {
        each: 0,
        answers: 1,
        may_be_shorter: false,
    };

    fn together(self) -> u64 {
        self.each.saturating_mul(self.answers)
    }
}

/// What the dearest model of a route takes.
struct Dearest(Vec<Arc<Model>>);

impl Dearest {
    fn amount(&self, read: u64, written: u64) -> Amount {
        let usage = Usage {
            prompt_tokens: u32::try_from(read).unwrap_or(u32::MAX),
            completion_tokens: u32::try_from(written).unwrap_or(u32::MAX),
            ..Usage::default()
        };
        let costs = self.0.iter().map(|it| it.prices.most(&usage));
        Amount {
            tokens: i64::from(usage.prompt_tokens) + i64::from(usage.completion_tokens),
            cost: costs.max().unwrap_or_default(),
        }
    }

    /// How long an answer may be for this much.
    fn longest(&self, left: Amount, read: u64) -> u64 {
        let left = left - self.amount(read, 0);
        let each = self.0.iter().map(|it| it.prices.completion);
        let each = each.fold(0.0, f64::max);
        let paid = match left.cost {
            Microdollars(cost) if each > 0.0 => (cost as f64 / each) as u64,
            _ => u64::MAX,
        };
        paid.min(u64::try_from(left.tokens).unwrap_or(0))
    }
}

impl Bill {
    /// Of a request that a model answers with text. Where the budget leaves no room for an answer of the
    /// length that is usual, and the caller says none, the request is given a limit.
    pub(super) async fn of_answer(
        gateway: &Gateway,
        admitted: &Admitted,
        route: &Route,
        body: &mut RawObject,
    ) -> Result<Self, Refusal> {
        let asked = estimate::asked_length(body);
        let usual = || {
            let models = route.models.iter();
            let most = models.filter_map(|it| it.max_tokens).max();
            most.map_or(ANSWER, u64::from)
        };
        let length = Length {
            each: asked.unwrap_or_else(usual),
            answers: estimate::number(body, "n").unwrap_or(1).max(1),
            may_be_shorter: asked.is_none(),
        };
        let bill = Self::open(gateway, admitted, route, body, length).await?;
        if let Some(limit) = bill.of_key.as_ref().and_then(|it| it.limit) {
            let unreadable = |_| Refusal::bad_request(None, "The body cannot be read.");
            body.set("max_tokens", &limit).map_err(unreadable)?;
            // What it says is no length, and a server may take it for one that has no end.
            body.remove("max_completion_tokens");
        }
        Ok(bill)
    }

    /// Of a request for vectors.
    pub(super) async fn of_vectors(
        gateway: &Gateway,
        admitted: &Admitted,
        route: &Route,
        body: &RawObject,
    ) -> Result<Self, Refusal> {
        Self::open(gateway, admitted, route, body, Length::NONE).await
    }

    async fn open(
        gateway: &Gateway,
        admitted: &Admitted,
        route: &Route,
        body: &RawObject,
        length: Length,
    ) -> Result<Self, Refusal> {
        let Some(key) = admitted.call.program() else {
            return Ok(Self::default());
        };
        let opened_at = admitted.context.received_at;
        let rate = rate_of(gateway, key, opened_at)?;
        let prices = Dearest(route.models.clone());
        let read = estimate::prompt_tokens(body);
        let unpriced = route.models.iter().filter(|model| !model.is_priced);
        for model in unpriced.filter(|_| key.limits.dollars_per_day.is_some()) {
            gateway.spending.counts_nothing(key, &model.name);
        }
        let reserve = |length| {
            let amount = prices.amount(read, length);
            gateway.spending.reserve(key, amount, opened_at)
        };
        let (mut paid, mut limit) = (length.together(), None);
        let mut reserved = reserve(paid).await;
        if let Err(SpendingRefused::OverBudget(over)) = &reserved
            && length.may_be_shorter
        {
            let each = prices.longest(over.left(), read) / length.answers;
            let shorter = Length {
                each: each.min(length.each),
                ..length
            };
            if shorter.each >= SHORTEST_ANSWER {
                (paid, limit) = (shorter.together(), Some(shorter.each));
                reserved = reserve(paid).await;
            }
        }
        let reservation = reserved.map_err(|refused| refusal(key, &refused, opened_at))?;
        Ok(Self {
            trail: Trail::of_prompt(read),
            of_key: Some(OfKey {
                key: key.clone(),
                opened_at,
                prices,
                reservation,
                paid,
                written: estimate::Text::default(),
                limit,
                rate,
            }),
        })
    }

    /// What notes what the attempts use.
    pub(super) fn trail(&self) -> &Trail {
        &self.trail
    }

    /// Counts a step of a streamed answer. One that becomes longer than what is reserved for it reserves
    /// more.
    ///
    /// # Errors
    ///
    /// When the budget allows no more; then the answer has to end.
    pub(super) async fn count(&mut self, delta: &Delta) -> Result<(), Refusal> {
        let Some(it) = &mut self.of_key else {
            return Ok(());
        };
        if !it.reservation.is_limited() {
            return Ok(());
        }
        delta.written().for_each(|text| it.written.add(text));
        it.written.add_media(delta.media);
        let lacks = it.written.tokens().saturating_sub(it.paid);
        if lacks == 0 {
            return Ok(());
        }
        let more = lacks.next_multiple_of(MORE);
        let added = it.reservation.add(it.prices.amount(0, more)).await;
        added.map_err(|refused| refusal(&it.key, &refused, it.opened_at))?;
        it.paid += more;
        Ok(())
    }

    /// Says in headers what is left of the rate, and how long the answer may be where the budget limits it.
    pub(super) fn add_headers(&self, headers: &mut HeaderMap) {
        let Some(it) = &self.of_key else {
            return;
        };
        if let Some(left) = &it.rate {
            add_rate(headers, left);
        }
        if let Some(limit) = it.limit {
            headers.insert(MAX_TOKENS, HeaderValue::from(limit));
        }
    }
}

impl Drop for Bill {
    fn drop(&mut self) {
        let Some(it) = &mut self.of_key else {
            return;
        };
        it.reservation.use_up(self.trail.used());
    }
}

/// Counts a request that no model is asked for, and says in headers what is left of the rate.
pub(super) fn count_alone(
    gateway: &Gateway,
    admitted: &Admitted,
    headers: &mut HeaderMap,
) -> Result<(), Refusal> {
    if let Some(key) = admitted.call.program()
        && let Some(left) = rate_of(gateway, key, admitted.context.received_at)?
    {
        add_rate(headers, &left);
    }
    Ok(())
}

fn rate_of(
    gateway: &Gateway,
    key: &Arc<ApiKey>,
    now: DateTime<Utc>,
) -> Result<Option<RateLeft>, Refusal> {
    let rate = gateway.spending.request(key, now);
    rate.map_err(|too_fast| Refusal::too_fast(&key.name, too_fast))
}

fn refusal(key: &ApiKey, refused: &SpendingRefused, now: DateTime<Utc>) -> Refusal {
    match refused {
        SpendingRefused::OverBudget(over) => Refusal::over_budget(&key.name, over, now),
        SpendingRefused::Unknown => Refusal::no_database(),
    }
}

#[cfg(test)]
impl Bill {
    /// Of a key that has reserved so much, for an answer of one token.
    pub(super) fn of_key(key: ApiKey, reservation: Reservation, opened_at: DateTime<Utc>) -> Self {
        Self {
            trail: Trail::default(),
            of_key: Some(OfKey {
                key: Arc::new(key),
                opened_at,
                prices: Dearest(Vec::new()),
                reservation,
                paid: 1,
                written: estimate::Text::default(),
                limit: None,
                rate: None,
            }),
        }
    }
}
