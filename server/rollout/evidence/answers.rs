//! What evidence has to remember of users' answers, where their quality is judged: 16 bits each.
//!
//! Who shares a slot with whom has nothing to do with the arms, as with [`UserSlots`](super::users::UserSlots).

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as BASE64};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::slots::{self, LAST_LOOK, MOST_COUNTED, place};

const STRATUM: u16 = 0b111;
const TODAY_SHIFT: u32 = 3;
const TODAY: u16 = 0b11 << TODAY_SHIFT;
/// Of users without a past: the last look.
const LOOK_SHIFT: u32 = 5;
const LOOK: u16 = 0b1111;
/// Of users with one, in the same place: whether an earlier answer had a flaw, and how many there were.
const EARLIER: u16 = 1 << 5;
const NUMBER_SHIFT: u32 = 6;
const MOST_ANSWERS: u16 = 0b111_1111;

/// The table of slots; empty where no answers are judged.
#[derive(Clone, Default, PartialEq)]
pub(super) struct AnswerSlots(Vec<u16>);

impl AnswerSlots {
    /// Nobody has a past.
    pub(super) fn with_slots(slots: usize) -> Self {
        Self(vec![0; slots])
    }

    /// Puts a user into a stratum, 1 to 7, unless it shares its slot with one in a worse.
    pub(super) fn put(&mut self, subject: u64, stratum: u16) {
        if let Some(slot) = self.slot_mut(subject) {
            *slot = *slot & !STRATUM | (*slot & STRATUM).max(stratum);
        }
    }

    /// The strata as they were fixed before the rollout.
    pub(super) fn strata(&self) -> Self {
        Self(self.0.iter().map(|slot| slot & STRATUM).collect())
    }

    /// What is remembered of a user.
    pub(super) fn of(&mut self, subject: u64) -> Asker<'_> {
        Asker(self.slot_mut(subject))
    }

    /// A new day: the daily counts begin anew.
    pub(super) fn begin_day(&mut self) {
        self.0.iter_mut().for_each(|slot| *slot &= !TODAY);
    }

    fn slot_mut(&mut self, subject: u64) -> Option<&mut u16> {
        let place = place(subject, self.0.len());
        self.0.get_mut(place)
    }
}

/// One user, as far as its answers are concerned.
pub(super) struct Asker<'a>(Option<&'a mut u16>);

impl Asker<'_> {
    /// From 0, which is without a past, to [`Strata::COUNT`](super::Strata::COUNT) exclusive.
    pub(super) fn stratum(&self) -> usize {
        self.0.as_deref().map_or(0, |slot| slot & STRATUM).into()
    }

    /// Counts an answer to a user with a past; how many came before it, at most 127.
    pub(super) fn count(&mut self) -> u32 {
        let Some(slot) = self.0.as_deref_mut() else {
            return MOST_ANSWERS.into();
        };
        let number = *slot >> NUMBER_SHIFT & MOST_ANSWERS;
        if number < MOST_ANSWERS {
            *slot += 1 << NUMBER_SHIFT;
        }
        number.into()
    }

    /// Whether an earlier answer to a user with a past had a flaw; this one is counted.
    pub(super) fn earlier(&self) -> Option<bool> {
        let slot = self.0.as_deref()?;
        let number = *slot >> NUMBER_SHIFT & MOST_ANSWERS;
        (number > 1).then_some(*slot & EARLIER != 0)
    }

    /// Takes note of this one now and then, as [`UserSlot::note`](super::users::UserSlot::note) does.
    pub(super) fn note(&mut self, is_flawed: bool) {
        if let Some(slot) = self.0.as_deref_mut()
            && (*slot >> NUMBER_SHIFT & MOST_ANSWERS).is_power_of_two()
        {
            *slot = if is_flawed {
                *slot | EARLIER
            } else {
                *slot & !EARLIER
            };
        }
    }

    /// The number of the last look at a user without a past; 0 before the first.
    pub(super) fn last_look(&self) -> usize {
        let last = self.0.as_deref().map(|slot| *slot >> LOOK_SHIFT & LOOK);
        last.map_or(LAST_LOOK, usize::from)
    }

    /// Takes note of a look.
    pub(super) fn look(&mut self, number: usize) {
        if let Some(slot) = self.0.as_deref_mut() {
            let number = number.min(LAST_LOOK) as u16;
            *slot = *slot & !(LOOK << LOOK_SHIFT) | number << LOOK_SHIFT;
        }
    }

    /// Whether an answer of today may count; if so and it has a flaw, it takes one of `cap`.
    pub(super) fn counts(&mut self, is_flawed: bool, cap: u32) -> bool {
        let Some(slot) = self.0.as_deref_mut() else {
            return false;
        };
        let today = u32::from(*slot >> TODAY_SHIFT & 0b11);
        let is_at_risk = today < cap.clamp(1, MOST_COUNTED);
        if is_at_risk && is_flawed {
            *slot += 1 << TODAY_SHIFT;
        }
        is_at_risk
    }
}

impl std::fmt::Debug for AnswerSlots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} slots", self.0.len())
    }
}

impl Serialize for AnswerSlots {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.0.iter().flat_map(|slot| slot.to_le_bytes());
        BASE64
            .encode(bytes.collect::<Vec<_>>())
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AnswerSlots {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        let bytes = BASE64.decode(text.as_bytes()).map_err(D::Error::custom)?;
        let (pairs, _) = bytes.as_chunks::<2>();
        let slots: Vec<_> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
        slots::checked(slots).map(Self).map_err(D::Error::custom)
    }
}
