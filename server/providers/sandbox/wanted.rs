//! How a model behaves, as it is written down.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::FaultMode;

/// No delay is longer than this, in milliseconds.
pub(super) const MAX_DELAY_MS: f64 = 600_000.0;
/// The most that [`Behaviour::spread`] may be.
pub(super) const MAX_SPREAD: f64 = 3.0;

/// How a model behaves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Behaviour {
    /// The median time before the first byte, in milliseconds.
    pub latency_ms: f64,
    /// How much that time varies: the σ of its logarithm. At 0 it is always the same, at 0.5 one
    /// request in twenty takes more than 2.3 times the median.
    pub spread: f64,
    /// Before each further word of a stream, in milliseconds.
    pub word_ms: f64,
    /// The same where the fault is `slow-stream`.
    pub slow_word_ms: f64,
    /// The share of requests that fail, from 0 to 1.
    pub error_rate: f64,
    /// How those fail.
    pub fault: FaultMode,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            latency_ms: 20.0,
            spread: 0.0,
            word_ms: 2.0,
            slow_word_ms: 1_000.0,
            error_rate: 0.0,
            fault: FaultMode::Status(500),
        }
    }
}

/// A behaviour as it is written down: what is left out is as usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wanted {
    /// [`Behaviour::latency_ms`], up to ten minutes.
    #[serde(deserialize_with = "milliseconds")]
    pub latency_ms: Option<f64>,
    /// [`Behaviour::spread`], from 0 to 3.
    #[serde(deserialize_with = "spread")]
    pub spread: Option<f64>,
    /// [`Behaviour::word_ms`], up to ten minutes.
    #[serde(deserialize_with = "milliseconds")]
    pub word_ms: Option<f64>,
    /// [`Behaviour::slow_word_ms`], up to ten minutes.
    #[serde(deserialize_with = "milliseconds")]
    pub slow_word_ms: Option<f64>,
    /// [`Behaviour::error_rate`].
    #[serde(deserialize_with = "rate")]
    pub error_rate: Option<f64>,
    /// [`Behaviour::fault`].
    pub fault: Option<FaultMode>,
}

fn milliseconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    within(from, MAX_DELAY_MS, "milliseconds")
}

fn spread<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    within(from, MAX_SPREAD, "a spread")
}

fn rate<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    within(from, 1.0, "a rate")
}

fn within<'de, D>(from: D, most: f64, what: &str) -> Result<Option<f64>, D::Error>
where
    D: Deserializer<'de>,
{
    let value = f64::deserialize(from)?;
    if (0.0..=most).contains(&value) {
        Ok(Some(value))
    } else {
        let message = format!("`{value}` is out of range; expected {what} from 0 to {most}");
        Err(D::Error::custom(message))
    }
}

impl Wanted {
    /// Complete, with what is left out from `usual`.
    pub fn over(&self, usual: Behaviour) -> Behaviour {
        Behaviour {
            latency_ms: self.latency_ms.unwrap_or(usual.latency_ms),
            spread: self.spread.unwrap_or(usual.spread),
            word_ms: self.word_ms.unwrap_or(usual.word_ms),
            slow_word_ms: self.slow_word_ms.unwrap_or(usual.slow_word_ms),
            error_rate: self.error_rate.unwrap_or(usual.error_rate),
            fault: self.fault.unwrap_or(usual.fault),
        }
    }
}
