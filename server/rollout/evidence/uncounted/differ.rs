//! Whether a kind of outcome meets more of the candidate's users than of control's.
//!
//! Each user counts once in a window, at the first outcome of a kind. Who is in which arm was decided by
//! a hash, so if the arms are alike that user is the candidate's with a probability of exactly the
//! share, whatever users are like and however they come; here against a tolerated ratio. It needs no
//! history, and neither sessions nor a user who is refused all day move it. (The arms' users at risk
//! would tell more where the share is large, but whoever is refused at the first request has just come
//! into that count, and so gives away the arm.)
//!
//! A window ends with the day and with the share. The same user may be counted in many windows, always
//! in the same arm, so windows must not be multiplied: each has its own part of the error rate,
//! 1/((k + 1)(k + 2)) for the k-th, and these sum to one. So do the parts of the kinds.
//!
//! Users are a sample: the first to come into each of [`SLOTS`] slots in a window. That has nothing to
//! do with the arms.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as BASE64};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{
    super::{
        super::arms::PerArm,
        mixture::Restarts,
        ratio::{Ratio, TestDirection},
    },
    UncountedKind,
};
use crate::_core::{assignment::Variant, units::Percent};

const SLOTS: usize = 1 << 12;
const KINDS: usize = UncountedKind::ALL.len();
/// The evidence, divided by its part of the error rate, at which a kind is said to differ (α = .01).
const DIFFERS: f64 = 100.0;
/// The same for a rollback (α = .001), where all of it is the candidate's.
const IN_ONE_ARM: f64 = 1_000.0;

/// A slot: taken, its arm, the kinds that its user has met, and ten bits of who that is.
const TAKEN: u16 = 1;
const ARM: u16 = 1 << 1;
const MET_SHIFT: usize = 2;
const TAG: u16 = !((1 << (MET_SHIFT + KINDS)) - 1);

/// The tests of all kinds in the window under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Differ {
    margin: f64,
    window: u32,
    sample: Sample,
    /// Users seen in this window, by arm.
    seen: PerArm<u32>,
    tests: [Test; KINDS],
    found: Option<UncountedKind>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Test {
    /// Users who have met it, by arm.
    met: PerArm<u32>,
    ratio: Ratio,
}

impl Test {
    fn new(margin: f64) -> Self {
        Self {
            met: PerArm::default(),
            ratio: Ratio::new(TestDirection::Differing, margin, Restarts::NEVER),
        }
    }
}

impl Differ {
    pub(super) fn new(margin: f64) -> Self {
        Self {
            margin,
            window: 0,
            sample: Sample(vec![0; SLOTS]),
            seen: PerArm::default(),
            tests: std::array::from_fn(|_| Test::new(margin)),
            found: None,
        }
    }

    /// Takes note of an attempt; whether that moved a test.
    pub(super) fn fold(
        &mut self,
        arm: Variant,
        subject: u64,
        kind: Option<UncountedKind>,
        share: Percent,
    ) -> bool {
        let Some(slot) = self.sample.slot_mut(subject) else {
            return false;
        };
        let is_candidate = arm == Variant::Candidate;
        let owner = tag(subject) | TAKEN | if is_candidate { ARM } else { 0 };
        if *slot == 0 {
            *slot = owner;
            self.seen[arm] += 1;
        }
        let met = kind.map_or(0, |kind| 1_u16 << (MET_SHIFT + kind as usize));
        // Another user's slot, or met already.
        if *slot & (TAG | TAKEN | ARM) != owner || *slot & met != 0 {
            return false;
        }
        *slot |= met;
        let Some(kind) = kind else {
            return false;
        };
        let test = &mut self.tests[kind as usize];
        let candidate = f64::from(u8::from(is_candidate));
        test.ratio
            .attribute(1.0 - candidate, candidate, share.get() / 100.0);
        test.met[arm] += 1;
        if self.found.is_none() && self.value(kind) >= DIFFERS {
            self.found = Some(kind);
        }
        true
    }

    /// The evidence divided by its part of the error rate.
    pub(super) fn value(&self, kind: UncountedKind) -> f64 {
        let k = f64::from(self.window);
        let part = 1.0 / ((k + 1.0) * (k + 2.0)) / KINDS as f64;
        self.tests[kind as usize].ratio.value() * part
    }

    /// The kind that was found to differ since the share changed.
    pub(super) fn found(&self) -> Option<UncountedKind> {
        self.found
    }

    /// Whether a kind meets the candidate's users, and nobody else.
    pub(super) fn is_in_candidate_alone(&self) -> bool {
        UncountedKind::ALL.into_iter().any(|kind| {
            self.tests[kind as usize].met.control == 0 && self.value(kind) >= IN_ONE_ARM
        })
    }

    /// By arm: users who have met a kind in this window, and users seen.
    pub(super) fn users(&self, kind: UncountedKind) -> PerArm<[u32; 2]> {
        let met = self.tests[kind as usize].met;
        PerArm::of(|arm| [met[arm], self.seen[arm]])
    }

    /// Begins the next window; one that has seen nobody goes on.
    pub(super) fn begin_window(&mut self) {
        if self.seen == PerArm::default() {
            return;
        }
        self.window = self.window.saturating_add(1);
        self.sample.0.fill(0);
        self.seen = PerArm::default();
        self.tests = std::array::from_fn(|_| Test::new(self.margin));
    }

    /// What was found before says nothing of what follows.
    pub(super) fn forget(&mut self) {
        self.found = None;
    }
}

/// Spreads ids that are not hashed.
fn mixed(subject: u64) -> u64 {
    subject.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn tag(subject: u64) -> u16 {
    (mixed(subject) >> 48) as u16 & TAG
}

/// The users who are watched, one to a slot.
#[derive(Clone, PartialEq)]
struct Sample(Vec<u16>);

impl Sample {
    fn slot_mut(&mut self, subject: u64) -> Option<&mut u16> {
        let index = (mixed(subject) >> 24) as usize % SLOTS;
        self.0.get_mut(index)
    }
}

impl std::fmt::Debug for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let taken = self.0.iter().filter(|slot| **slot != 0).count();
        write!(f, "{taken} users")
    }
}

/// As a sample is stored.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored<'a> {
    /// Pairs of a place and what is in it, while most slots are free.
    Pairs(Cow<'a, str>),
    /// Every slot.
    All { slots: Cow<'a, str> },
}

impl Serialize for Sample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let taken = (0_u16..).zip(&self.0).filter(|(_, slot)| **slot != 0);
        let stored = if taken.clone().count() > SLOTS / 2 {
            let bytes = self.0.iter().flat_map(|slot| slot.to_le_bytes());
            Stored::All {
                slots: BASE64.encode(bytes.collect::<Vec<_>>()).into(),
            }
        } else {
            let bytes = taken.flat_map(|(place, slot)| [place.to_le_bytes(), slot.to_le_bytes()]);
            Stored::Pairs(BASE64.encode(bytes.flatten().collect::<Vec<_>>()).into())
        };
        stored.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Sample {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let numbers = |text: &str| -> Result<Vec<u16>, D::Error> {
            let bytes = BASE64.decode(text).map_err(D::Error::custom)?;
            let (numbers, _) = bytes.as_chunks::<2>();
            Ok(numbers.iter().map(|it| u16::from_le_bytes(*it)).collect())
        };
        let mut slots = match Stored::deserialize(deserializer)? {
            Stored::All { slots } => numbers(&slots)?,
            Stored::Pairs(pairs) => {
                let mut slots = vec![0; SLOTS];
                let pairs = numbers(&pairs)?;
                let (pairs, _) = pairs.as_chunks::<2>();
                for [place, slot] in pairs {
                    if let Some(taken) = slots.get_mut(usize::from(*place)) {
                        *taken = *slot;
                    }
                }
                slots
            }
        };
        slots.resize(SLOTS, 0);
        Ok(Self(slots))
    }
}

#[cfg(test)]
mod tests {
    use Variant::{Candidate, Control};

    use super::*;

    const SHARE: f64 = 10.0;

    fn differ(users: impl IntoIterator<Item = (Variant, u64, bool)>) -> Differ {
        let share = Percent::new(SHARE).expect("a share");
        let mut differ = Differ::new(1.25);
        for (arm, user, met) in users {
            differ.fold(arm, user, met.then_some(UncountedKind::Refused), share);
        }
        differ
    }

    #[test]
    fn what_only_the_candidates_users_meet_is_found_and_whose_it_is() {
        let alone = differ((0..6).map(|user| (Candidate, user, true)));
        assert_eq!(alone.found(), Some(UncountedKind::Refused));
        assert!(alone.is_in_candidate_alone());
        let not_quite = differ(
            (0..6)
                .map(|user| (Candidate, user, true))
                .chain([(Control, 99, true)]),
        );
        assert!(!not_quite.is_in_candidate_alone());
        let in_control = differ((0..1_000).map(|user| (Control, user, true)));
        assert_eq!(in_control.found(), None);
        assert!(in_control.value(UncountedKind::Refused) < 1.0);
    }

    #[test]
    fn a_user_counts_once_in_a_window_however_often_it_is_refused() {
        let one = differ([(Candidate, 7, true)]);
        let often = differ((0..10_000).map(|_| (Candidate, 7, true)));
        assert_eq!(one, often);
        assert!(often.value(UncountedKind::Refused) < 10.0);
    }

    #[test]
    fn windows_share_the_error_rate_and_an_empty_one_costs_nothing() {
        let mut differ = differ((0..6).map(|user| (Candidate, user, true)));
        let first = differ.value(UncountedKind::Refused);
        differ.begin_window();
        differ.begin_window();
        let share = Percent::new(SHARE).expect("a share");
        for user in 0..6 {
            differ.fold(Candidate, user, Some(UncountedKind::Refused), share);
        }
        assert!((differ.value(UncountedKind::Refused) * 3.0 / first - 1.0).abs() < 1e-12);
        assert_eq!(
            differ.found(),
            Some(UncountedKind::Refused),
            "until the share changes"
        );
        differ.forget();
        assert_eq!(differ.found(), None);
    }

    #[test]
    fn the_sample_reads_back_as_it_was_written() {
        let arm = |user| if user % 9 == 0 { Candidate } else { Control };
        let differ = differ((0..5_000).map(|user| (arm(user), user, user % 7 == 0)));
        let text = serde_json::to_string(&differ).expect("JSON");
        let again: Differ = serde_json::from_str(&text).expect("the same");
        assert_eq!(differ, again);
    }
}
