//! What evidence has to remember of users, in bounded memory: one 16-bit slot each.
//!
//! A user's slot is chosen by the hash of the id. Two users may share one: they are then in the worse
//! of their strata, share their caps, and count as one user. That loses a little power and never
//! validity, because who shares a slot with whom has nothing to do with the arms. The table is sized
//! by the users seen before the rollout, with room for four slots each, up to [`MOST_SLOTS`].

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as BASE64};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::stream::Harm;

const LEAST_SLOTS: usize = 1 << 13;
const MOST_SLOTS: usize = 1 << 16;
/// Counted errors are kept in two bits.
pub(super) const MOST_COUNTED: u32 = 3;

const STRATUM: u16 = 0b111;
const SEEN: u16 = 1 << 3;
const COUNTS_SHIFT: u16 = 4;
const HOURLY_SHIFT: u16 = 14;
const DAILY: u16 = 0b11_1111_1111 << COUNTS_SHIFT;
const HOURLY: u16 = 0b11 << HOURLY_SHIFT;

/// What a user did in the seven days before a rollout: requests that count, and errors among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserHistory {
    /// [`Subject::key`](crate::_core::assignment::Subject::key).
    pub subject: u64,
    /// Successes, and failures of the model or its provider.
    pub requests: u32,
    /// Those failures.
    pub errors: u32,
}

/// Requests that the common error rate weighs as much as in the estimate of a user's own.
const PRIOR_REQUESTS: f64 = 10.0;
/// Where strata begin, in multiples of the common error rate.
const EDGES: [f64; 5] = [0.25, 0.75, 2.0, 5.0, 12.0];

/// Groups of users that are compared only among themselves, fixed before a rollout begins: by how
/// often their requests failed in the seven days before it. Errors made during the rollout must not
/// move anybody, or they would hide the harm.
///
/// A user's rate is estimated as (errors + 10·m)/(requests + 10), m being the rate of all users
/// together, so that few requests say little. Strata by the number of errors would put a user who
/// fails in two of three requests beside one who fails in two of three hundred.
#[derive(Clone, Debug)]
pub struct Strata(Users);

impl Strata {
    /// How many there are: no history, and six by the estimated error rate.
    pub const COUNT: usize = EDGES.len() + 2;

    /// From every subject that made a request in the seven days before; the order does not matter.
    pub fn new(history: impl IntoIterator<Item = UserHistory>) -> Self {
        let history: Vec<_> = history.into_iter().collect();
        let sum = |of: fn(&UserHistory) -> u32| history.iter().map(|it| u64::from(of(it))).sum();
        let [requests, errors]: [u64; 2] = [sum(|it| it.requests), sum(|it| it.errors)];
        // As if there had been fifty requests more, of which one failed: never 0.
        let common = (errors as f64 + 1.0) / (requests as f64 + 50.0);
        let mut users = Users::with_slots(history.len().saturating_mul(4));
        for user in history.iter().filter(|user| user.requests > 0) {
            let rate = (f64::from(user.errors) + PRIOR_REQUESTS * common)
                / (f64::from(user.requests) + PRIOR_REQUESTS);
            let stratum = 1 + EDGES.iter().filter(|edge| rate >= *edge * common).count();
            if let (Some(slot), Ok(stratum)) =
                (users.slot_mut(user.subject), u16::try_from(stratum))
            {
                *slot = (*slot).max(stratum);
            }
        }
        Self(users)
    }

    pub(super) fn into_users(self) -> Users {
        self.0
    }
}

impl Default for Strata {
    /// Nobody has a history.
    fn default() -> Self {
        Self::new([])
    }
}

/// The table of slots.
#[derive(Clone, PartialEq)]
pub(super) struct Users {
    slots: Vec<u16>,
}

impl Users {
    fn with_slots(wanted: usize) -> Self {
        let slots = wanted.clamp(LEAST_SLOTS, MOST_SLOTS).next_power_of_two();
        Self {
            slots: vec![0; slots],
        }
    }

    fn slot_mut(&mut self, subject: u64) -> Option<&mut u16> {
        // The multiplication spreads ids that are not hashed; the length is a power of two.
        let mixed = subject.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let index = mixed as usize & self.slots.len().wrapping_sub(1);
        self.slots.get_mut(index)
    }

    /// The strata as they were fixed before the rollout.
    pub(super) fn strata(&self) -> Strata {
        let slots = self.slots.iter().map(|slot| slot & STRATUM).collect();
        Strata(Self { slots })
    }

    /// One user's slot.
    pub(super) fn of(&mut self, subject: u64) -> User<'_> {
        User(self.slot_mut(subject))
    }

    /// A new hour: the hourly counts begin anew.
    pub(super) fn begin_hour(&mut self) {
        self.slots.iter_mut().for_each(|slot| *slot &= !HOURLY);
    }

    /// A new day: the daily counts begin anew.
    pub(super) fn begin_day(&mut self) {
        self.slots.iter_mut().for_each(|slot| *slot &= !DAILY);
    }
}

/// What is remembered of one user.
pub(super) struct User<'a>(Option<&'a mut u16>);

impl User<'_> {
    /// From 0 to [`Strata::COUNT`] exclusive; 0, which is no history, for a table without slots.
    pub(super) fn stratum(&self) -> usize {
        let stratum = self.0.as_deref().map_or(0, |slot| slot & STRATUM);
        usize::from(stratum).min(Strata::COUNT - 1)
    }

    /// Whether this is the first time that the user is seen.
    pub(super) fn is_new(&mut self) -> bool {
        let Some(slot) = self.0.as_deref_mut() else {
            return false;
        };
        let is_new = *slot & SEEN == 0;
        *slot |= SEEN;
        is_new
    }

    /// Whether an event of today may count; if so and it is an error, it takes one of `cap`.
    pub(super) fn counts(&mut self, harm: Harm, is_error: bool, cap: u32) -> bool {
        let shift = COUNTS_SHIFT + 2 * harm as u16;
        self.counted(shift, is_error, cap)
    }

    /// The same for the hour, of all harms together.
    pub(super) fn counts_this_hour(&mut self, is_error: bool) -> bool {
        self.counted(HOURLY_SHIFT, is_error, MOST_COUNTED)
    }

    fn counted(&mut self, shift: u16, is_error: bool, cap: u32) -> bool {
        let Some(slot) = self.0.as_deref_mut() else {
            return false;
        };
        let is_at_risk = u32::from(*slot >> shift & 0b11) < cap.clamp(1, MOST_COUNTED);
        if is_at_risk && is_error {
            *slot += 1 << shift;
        }
        is_at_risk
    }
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} slots", self.slots.len())
    }
}

impl Serialize for Users {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self
            .slots
            .iter()
            .flat_map(|slot| slot.to_le_bytes())
            .collect();
        serializer.serialize_str(&BASE64.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Users {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = BASE64.decode(text.as_bytes()).map_err(D::Error::custom)?;
        let slots: Vec<u16> = bytes
            .chunks_exact(2)
            .map(|pair| {
                pair.iter()
                    .rev()
                    .fold(0, |slot, byte| slot << 8 | u16::from(*byte))
            })
            .collect();
        if !slots.len().is_power_of_two() || slots.len() > MOST_SLOTS {
            return Err(D::Error::custom(format_args!(
                "{} slots are not a power of two up to {MOST_SLOTS}",
                slots.len()
            )));
        }
        Ok(Self { slots })
    }
}
