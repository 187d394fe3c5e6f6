//! The clocks and the dice, as arguments.

use std::time::Instant;

use chrono::{DateTime, Utc};

use super::status::Moment;
use crate::_core::clock;

/// Where time and randomness come from.
pub struct World {
    now: Box<dyn Fn() -> Moment + Send + Sync>,
    random: Box<dyn Fn() -> u128 + Send + Sync>,
}

impl World {
    /// Made up, for tests and demonstrations.
    pub fn new(
        now: impl Fn() -> Moment + Send + Sync + 'static,
        random: impl Fn() -> u128 + Send + Sync + 'static,
    ) -> Self {
        Self {
            now: Box::new(now),
            random: Box::new(random),
        }
    }

    /// The machine's.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the edge that asks the clock"
    )]
    pub fn real() -> Self {
        let start = Instant::now();
        let now = move || Moment {
            wall: clock::now(),
            monotonic: start.elapsed(),
        };
        Self::new(now, || uuid::Uuid::new_v4().as_u128())
    }

    /// Both clocks.
    pub fn now(&self) -> Moment {
        (self.now)()
    }

    /// 128 bits.
    pub fn random(&self) -> u128 {
        (self.random)()
    }

    /// A new id: UUIDv7 text.
    pub fn id(&self, at: DateTime<Utc>) -> String {
        // A clock before 1970 gives ids that do not grow.
        let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
        let [random @ .., _, _, _, _, _, _] = self.random().to_le_bytes();
        uuid::Builder::from_unix_timestamp_millis(millis, &random)
            .into_uuid()
            .to_string()
    }
}
