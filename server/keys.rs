//! Keys of programs that call the gateway for their users: what they open, and how much they may have.

mod api_key;
mod ledger;
mod limits;
mod rate;
mod secret;
mod spending;
mod wrong_keys;

#[cfg(test)]
pub(crate) use self::spending::tests::Slow;
pub use self::{
    api_key::{ApiKey, ApiKeyStore, ApiKeys, MAX_OVERLAP_SECONDS, MAX_TTL_SECONDS, is_name},
    limits::{DOLLARS, KeyLimits, MAX_TOKENS},
    rate::{RateLeft, TooFast},
    secret::Secret,
    spending::{OverBudget, Reservation, Spending, SpendingRefused, describe},
    wrong_keys::WrongKeys,
};
