//! What evidence has to remember of users, in bounded memory: one 32-bit slot each.
//!
//! A user's slot is chosen by the hash of the id. Two users may share one: they are then in the worse
//! of their strata, share their caps, and count as one user. That loses a little power and never
//! validity, because who shares a slot with whom has nothing to do with the arms. The table is sized
//! by the users seen before the rollout, with two and a half slots for each: with
//! [`AnswerSlots`] that is 20 bytes a user as evidence is stored. Of more than
//! [`MOST_USERS`] users those are kept who asked most often; the others are as users without a past.

use std::cmp::Reverse;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as BASE64};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{
    answers::AnswerSlots,
    classes::{self, LogLatencies},
    harm::Harm,
    slots::{self, LAST_LOOK, MOST_COUNTED, MOST_SLOTS, place},
};

/// Users whose past is kept.
const MOST_USERS: usize = 25_000;
/// Slots for two users.
const SLOTS_OF_TWO: usize = 5;
/// Room for those who come during the rollout.
const LEAST_SLOTS: usize = 7_000;

const STRATUM: u32 = 0b111;
const SEEN: u32 = 1 << 3;
const COUNTS_SHIFT: u32 = 4;
const HOURLY_SHIFT: u32 = 14;
const DAILY: u32 = 0b11_1111_1111 << COUNTS_SHIFT;
const HOURLY: u32 = 0b11 << HOURLY_SHIFT;
const CLASS_SHIFT: u32 = 16;
const CLASS: u32 = 0b1111 << CLASS_SHIFT;
/// Of users without a past: the last look at a latency, and at an error.
const LOOK_SHIFTS: [u32; 2] = [20, 24];
const LOOK: u32 = LAST_LOOK as u32;
/// Of users with a past, in the same place: five facts of an earlier request, and how many there were.
const EARLIER_SHIFT: u32 = 20;
const NUMBER_SHIFT: u32 = 25;
const MOST_REQUESTS: u32 = 0b111_1111;
/// What is fixed before a rollout begins.
const FIXED: u32 = STRATUM | CLASS;

/// What a user did in the seven days before a rollout: requests that count, and errors among them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UserHistory {
    /// [`Subject::key`](crate::_core::assignment::Subject::key).
    pub subject: u64,
    /// Successes, and failures of the model or its provider.
    pub requests: u32,
    /// Those failures.
    pub errors: u32,
    /// How long the successes took that came as a whole.
    pub latencies: LogLatencies,
    /// How long the first words took of those that were streamed.
    pub first_words: LogLatencies,
    /// Answers that were looked at.
    pub answers: u32,
    /// Those of them in which something was wrong.
    pub flawed: u32,
}

/// Requests that the common error rate weighs as much as in the estimate of a user's own.
const PRIOR_REQUESTS: f64 = 10.0;
/// Where strata begin, in multiples of the common error rate.
const EDGES: [f64; 5] = [0.25, 0.75, 2.0, 5.0, 12.0];

/// Groups of users that are compared only among themselves, fixed before a rollout begins: by how
/// often their requests failed in the seven days before it, and for latencies by how long they took.
/// What happens during the rollout must not move anybody, or it would hide the harm.
///
/// A user's error rate is estimated as (errors + 10·m)/(requests + 10), m being the rate of all users
/// together, so that few requests say little. Strata by the number of errors would put a user who
/// fails in two of three requests beside one who fails in two of three hundred.
#[derive(Clone, Debug)]
pub struct Strata(UserSlots, AnswerSlots);

impl Strata {
    /// How many there are: no history, and six by the estimated error rate.
    pub const COUNT: usize = EDGES.len() + 2;

    /// From every subject that made a request in the seven days before; the order does not matter.
    pub fn new(history: impl IntoIterator<Item = UserHistory>) -> Self {
        let mut history: Vec<_> = history.into_iter().collect();
        keep_most_active(&mut history);
        let mut users = UserSlots::with_slots(history.len() * SLOTS_OF_TWO / 2);
        for (subject, stratum) in by_rate(&history, |it| [it.requests, it.errors]) {
            if let Some(slot) = users.slot_mut(subject) {
                *slot = *slot & !STRATUM | (*slot & STRATUM).max(stratum.into());
            }
        }
        let mut answers = AnswerSlots::with_slots(users.slots.len());
        for (subject, stratum) in by_rate(&history, |it| [it.answers, it.flawed]) {
            answers.put(subject, stratum);
        }
        let latencies = classes::together(history.iter().map(|it| [it.latencies, it.first_words]));
        let classes = classes::Classes::of(latencies.clone());
        for (user, latencies) in history.iter().zip(latencies) {
            if latencies.count == 0 {
                continue;
            }
            let class = classes.class(latencies) << CLASS_SHIFT;
            if let Some(slot) = users.slot_mut(user.subject) {
                *slot = *slot & !CLASS | (*slot & CLASS).max(class);
            }
        }
        users.classes = classes;
        Self(users, answers)
    }

    /// What was fixed of users and of their answers.
    pub(super) fn of(users: &UserSlots, answers: Option<&AnswerSlots>) -> Self {
        Self(
            users.strata(),
            answers.map(AnswerSlots::strata).unwrap_or_default(),
        )
    }

    pub(super) fn into_parts(self) -> (UserSlots, AnswerSlots) {
        (self.0, self.1)
    }
}

impl Default for Strata {
    /// Nobody has a history.
    fn default() -> Self {
        Self::new([])
    }
}

/// Of too many users leaves those who asked most often: they are most of the traffic, and how often they
/// asked before has nothing to do with the arms.
fn keep_most_active(history: &mut Vec<UserHistory>) {
    if history.len() > MOST_USERS {
        history.sort_unstable_by_key(|user| (Reverse(user.requests), user.subject));
        history.truncate(MOST_USERS);
    }
}

/// Users with a past and their strata, from 1, by how often something was wrong with what they asked for.
fn by_rate(
    history: &[UserHistory],
    counts: fn(&UserHistory) -> [u32; 2],
) -> impl Iterator<Item = (u64, u16)> {
    let sum = |part: usize| -> u64 { history.iter().map(|it| u64::from(counts(it)[part])).sum() };
    // As if there had been fifty requests more, of which one failed: never 0.
    let common = (sum(1) as f64 + 1.0) / (sum(0) as f64 + 50.0);
    history.iter().filter_map(move |user| {
        let [requests, bad] = counts(user);
        let rate =
            (f64::from(bad) + PRIOR_REQUESTS * common) / (f64::from(requests) + PRIOR_REQUESTS);
        let stratum = 1 + EDGES.iter().filter(|edge| rate >= *edge * common).count();
        (requests > 0).then_some((user.subject, stratum as u16))
    })
}

/// The table of slots.
#[derive(Clone, PartialEq)]
pub(super) struct UserSlots {
    slots: Vec<u32>,
    classes: classes::Classes,
}

impl UserSlots {
    fn with_slots(wanted: usize) -> Self {
        let slots = wanted.clamp(LEAST_SLOTS, MOST_SLOTS);
        Self {
            slots: vec![0; slots],
            classes: classes::Classes::default(),
        }
    }

    fn slot_mut(&mut self, subject: u64) -> Option<&mut u32> {
        let place = place(subject, self.slots.len());
        self.slots.get_mut(place)
    }

    /// The strata as they were fixed before the rollout.
    fn strata(&self) -> Self {
        Self {
            slots: self.slots.iter().map(|slot| slot & FIXED).collect(),
            classes: self.classes,
        }
    }

    /// How many classes of latency there are, and how long their users' requests take.
    pub(super) fn classes(&self) -> classes::Classes {
        self.classes
    }

    /// One user's slot.
    pub(super) fn of(&mut self, subject: u64) -> UserSlot<'_> {
        UserSlot(self.slot_mut(subject))
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

/// What a user without a past is looked at for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstLook {
    /// How long the first request takes.
    Latency,
    /// The first error.
    Error,
}

/// What is remembered of one user.
pub(super) struct UserSlot<'a>(Option<&'a mut u32>);

impl UserSlot<'_> {
    /// From 0 to [`Strata::COUNT`] exclusive; 0, which is no history, for a table without slots.
    pub(super) fn stratum(&self) -> usize {
        let stratum = self.0.as_deref().map_or(0, |slot| slot & STRATUM);
        (stratum as usize).min(Strata::COUNT - 1)
    }

    /// Its class of latency, from 1; 0 without a past.
    pub(super) fn class(&self) -> usize {
        let class = self.0.as_deref().map_or(0, |slot| slot & CLASS);
        (class >> CLASS_SHIFT) as usize
    }

    /// The number of the last look at this user; 0 before the first.
    pub(super) fn last_look(&self, look: FirstLook) -> usize {
        let shift = LOOK_SHIFTS[look as usize];
        let last = self.0.as_deref().map(|slot| slot >> shift & LOOK);
        last.map_or(LAST_LOOK, |last| last as usize)
    }

    /// Takes note of a look.
    pub(super) fn look(&mut self, look: FirstLook, number: usize) {
        let shift = LOOK_SHIFTS[look as usize];
        if let Some(slot) = self.0.as_deref_mut() {
            *slot = *slot & !(LOOK << shift) | (number.min(LAST_LOOK) as u32) << shift;
        }
    }

    /// Counts a request of a user with a past; how many came before it.
    pub(super) fn count_request(&mut self) -> u32 {
        let number = self.requests();
        if let (Some(slot), true) = (self.0.as_deref_mut(), number < MOST_REQUESTS) {
            *slot += 1 << NUMBER_SHIFT;
        }
        number
    }

    /// How many requests of a user with a past were counted, at most 127.
    pub(super) fn requests(&self) -> u32 {
        self.0
            .as_deref()
            .map_or(MOST_REQUESTS, |slot| slot >> NUMBER_SHIFT)
    }

    /// What an earlier request of a user with a past was; this one is counted.
    pub(super) fn earlier(&self, fact: u32) -> Option<bool> {
        let slot = self.0.as_deref()?;
        (self.requests() > 1).then_some(*slot & 1 << (EARLIER_SHIFT + fact) != 0)
    }

    /// Takes note of this one now and then: of the first, the second, the fourth and so on, so that it is far from the
    /// one that it will be compared with.
    pub(super) fn note(&mut self, fact: u32, is_so: bool) {
        let is_noted = self.requests().is_power_of_two();
        let bit = 1 << (EARLIER_SHIFT + fact);
        if let (Some(slot), true) = (self.0.as_deref_mut(), is_noted) {
            *slot = if is_so { *slot | bit } else { *slot & !bit };
        }
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
        let shift = COUNTS_SHIFT + 2 * harm as u32;
        self.counted(shift, is_error, cap)
    }

    /// The same, and changes nothing.
    pub(super) fn is_at_risk(&self, harm: Harm, cap: u32) -> bool {
        let shift = COUNTS_SHIFT + 2 * harm as u32;
        let slot = self.0.as_deref();
        slot.is_some_and(|slot| slot >> shift & 0b11 < cap.clamp(1, MOST_COUNTED))
    }

    /// The same for the hour, of all harms together.
    pub(super) fn counts_this_hour(&mut self, is_error: bool) -> bool {
        self.counted(HOURLY_SHIFT, is_error, MOST_COUNTED)
    }

    fn counted(&mut self, shift: u32, is_error: bool, cap: u32) -> bool {
        let Some(slot) = self.0.as_deref_mut() else {
            return false;
        };
        let is_at_risk = *slot >> shift & 0b11 < cap.clamp(1, MOST_COUNTED);
        if is_at_risk && is_error {
            *slot += 1 << shift;
        }
        is_at_risk
    }
}

impl std::fmt::Debug for UserSlots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} slots", self.slots.len())
    }
}

/// As users are stored.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored<'a> {
    /// Slots of 16 bits, as the first edition had them.
    First(std::borrow::Cow<'a, str>),
    Now {
        slots: std::borrow::Cow<'a, str>,
        classes: classes::Classes,
    },
}

impl Serialize for UserSlots {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self
            .slots
            .iter()
            .flat_map(|slot| slot.to_le_bytes())
            .collect();
        let stored = Stored::Now {
            slots: BASE64.encode(bytes).into(),
            classes: self.classes,
        };
        stored.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for UserSlots {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (text, size, classes) = match Stored::deserialize(deserializer)? {
            Stored::First(text) => (text, 2, classes::Classes::default()),
            Stored::Now { slots, classes } => (slots, 4, classes),
        };
        let bytes = BASE64.decode(text.as_bytes()).map_err(D::Error::custom)?;
        let slots: Vec<u32> = bytes
            .chunks_exact(size)
            .map(|bytes| {
                bytes
                    .iter()
                    .rev()
                    .fold(0, |slot, byte| slot << 8 | u32::from(*byte))
            })
            .collect();
        let slots = slots::checked(slots).map_err(D::Error::custom)?;
        Ok(Self { slots, classes })
    }
}
