//! Keys of programs that call the gateway for their users: what they open, and how much they may have.

mod api_key;
mod ledger;
mod limits;
mod rate;
mod secret;
mod spending;

pub use self::{
    api_key::{ApiKey, ApiKeyStore, ApiKeys, is_name},
    limits::{DOLLARS, Limits, MAX_TOKENS},
    rate::{Left, TooFast},
    secret::Secret,
    spending::{OverBudget, Refused, Reservation, Spending},
};
