//! Our keys at one provider: which of them the next request goes out with.
//!
//! Keys of one account share its quota; those of another have a quota of their own. A key is drawn by its weight
//! times what is free of its account. One that the provider refuses is left alone: for good where the key itself is
//! at fault, until a person has acted (another catalog, another start), else until its account is taken again.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    catalog::Model,
    quota::{
        Quotas, Slot,
        schedule::{SlotRefusal, SlotRefusalReason, SlotRequest},
    },
};
use crate::providers::{
    fault::{Fault, FaultKind, LimitScope},
    openai_compatible::OpenAiCompatible,
    retry_after,
};

/// How long a key rests whose account is out of money, where nobody says.
const NO_FUNDS: Duration = Duration::from_secs(3_600);
/// How long one rests whose account asked too often, where nobody says.
const TOO_OFTEN: Duration = Duration::from_secs(60);

/// One key, or the way without one.
#[derive(Debug)]
pub(super) struct ProviderKey {
    pub(super) api: Arc<OpenAiCompatible>,
    /// The label of its account.
    pub(super) account: String,
    /// How often it is taken beside the others, at least 1.
    pub(super) weight: u32,
    /// The environment variable that holds it.
    pub(super) variable: Option<String>,
    pub(super) rest: Mutex<Rest>,
}

/// Whether a key is left alone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Rest {
    #[default]
    No,
    Until(Instant),
    /// Until a person has acted.
    ForGood,
}

impl ProviderKey {
    /// Whether it may be taken now.
    pub(super) fn is_usable(&self) -> bool {
        match *self.rest.lock() {
            Rest::No => true,
            Rest::Until(until) => until <= Instant::now(),
            Rest::ForGood => false,
        }
    }

    /// Leaves it alone after this fault, where that is its own or its account's; whether it is.
    fn refused(&self, fault: &Fault) -> bool {
        let span = match fault.kind {
            FaultKind::Authentication => {
                *self.rest.lock() = Rest::ForGood;
                return true;
            }
            FaultKind::Payment | FaultKind::AccountLimit => NO_FUNDS,
            // Of some models only; their quotas know until when.
            FaultKind::RateLimited
                if fault.scope != LimitScope::Account && fault.retry_after.is_some() =>
            {
                return true;
            }
            FaultKind::RateLimited => TOO_OFTEN,
            _ => return false,
        };
        let until = Instant::now() + fault.retry_after.map_or(span, retry_after::bounded);
        let mut rest = self.rest.lock();
        *rest = match *rest {
            Rest::ForGood => Rest::ForGood,
            // A call that was under way may be refused for less than what is known.
            Rest::Until(known) => Rest::Until(known.max(until)),
            Rest::No => Rest::Until(until),
        };
        true
    }
}

/// All keys at one provider; never empty.
#[derive(Clone, Debug)]
pub(super) struct Keyring(pub(super) Arc<[Arc<ProviderKey>]>);

impl Keyring {
    /// A key with a slot of its account, as soon as it is this call's turn. Those in `tried` have failed this call.
    pub(super) async fn enter(
        &self,
        quotas: &Quotas,
        model: &Model,
        ask: SlotRequest,
        tried: &[Arc<ProviderKey>],
    ) -> Result<(Arc<ProviderKey>, Slot), SlotRefusal> {
        let mut refusal: Option<SlotRefusal> = None;
        let mut accounts: Vec<String> = Vec::new();
        let mut keys = self.drawn(quotas, model, tried);
        if keys.len() > 1 {
            // Who has to wait does so where it is soonest. Where nobody has to, it stays as it was drawn.
            keys.sort_by_cached_key(|key| quotas.wait(&key.account, model, &ask));
        }
        for key in keys {
            if accounts.contains(&key.account) {
                continue;
            }
            // Where a rest is over sooner, another model may answer meanwhile, or that is waited for.
            let is_later = |it: &SlotRefusal| {
                it.reason == SlotRefusalReason::Rest
                    && it.after < quotas.wait(&key.account, model, &ask)
            };
            if refusal.as_ref().is_some_and(is_later) {
                break;
            }
            match quotas.enter(&key.account, model, ask).await {
                Ok(slot) => return Ok((key, slot)),
                Err(refused) => {
                    let is_sooner = |it: &SlotRefusal| refused.after < it.after;
                    if refusal.as_ref().is_none_or(is_sooner) {
                        refusal = Some(refused);
                    }
                }
            }
            accounts.push(key.account.clone());
        }
        // A ring has a key, and whoever has tried all of them does not come back.
        Err(refusal.unwrap_or(SlotRefusal::QUEUE))
    }

    /// The keys in the order in which they are asked for a slot: drawn by weight and what is free. Where none
    /// may be taken that was not tried, those that were and have rested; then those that are left alone.
    fn drawn(
        &self,
        quotas: &Quotas,
        model: &Model,
        tried: &[Arc<ProviderKey>],
    ) -> Vec<Arc<ProviderKey>> {
        let is_tried = |key: &&Arc<ProviderKey>| tried.iter().any(|it| Arc::ptr_eq(it, key));
        let untried: Vec<_> = self
            .0
            .iter()
            .filter(|key| !is_tried(key))
            .cloned()
            .collect();
        let usable = |keys: &[Arc<ProviderKey>]| -> Vec<_> {
            let usable = keys.iter().filter(|key| key.is_usable());
            usable.cloned().collect()
        };
        let mut keys = usable(&untried);
        if keys.is_empty() {
            // The call may have waited for one that it has tried.
            keys = usable(&self.0);
        }
        if keys.is_empty() {
            keys = untried;
        }
        if keys.is_empty() {
            keys = self.0.to_vec();
        }
        if keys.len() > 1 {
            // Efraimidis and Spirakis, “Weighted random sampling with a reservoir” (2006): by an exponential
            // time whose rate is the weight.
            let draw = |key: &Arc<ProviderKey>| {
                let free = quotas.free_share(&key.account, model).unwrap_or(1.0);
                let uniform: f64 = rand::random_range(f64::MIN_POSITIVE..1.0);
                -uniform.ln() / (f64::from(key.weight) * free)
            };
            let mut drawn: Vec<_> = keys.into_iter().map(|key| (draw(&key), key)).collect();
            drawn.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            keys = drawn.into_iter().map(|(_, key)| key).collect();
        }
        keys
    }

    /// Takes note of a fault of a key or of its account: `tried` has all keys that it is about. Whether another
    /// may help.
    pub(super) fn refused(
        &self,
        key: &Arc<ProviderKey>,
        fault: &Fault,
        tried: &mut Vec<Arc<ProviderKey>>,
    ) -> bool {
        if !key.refused(fault) {
            return false;
        }
        let is_about_account = matches!(fault.kind, FaultKind::Payment | FaultKind::RateLimited);
        for other in self.0.iter() {
            let is_key = Arc::ptr_eq(other, key);
            if is_key || is_about_account && other.account == key.account {
                other.refused(fault);
                tried.push(other.clone());
            }
        }
        let is_left = |other: &Arc<ProviderKey>| !tried.iter().any(|it| Arc::ptr_eq(it, other));
        self.0
            .iter()
            .any(|other| is_left(other) && other.is_usable())
    }
}

#[cfg(test)]
mod tests;
