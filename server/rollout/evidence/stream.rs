//! One kind of event (errors, requests slower than a threshold, bad ratings), counted in bins and
//! judged when a bin closes.
//!
//! A bin holds 5/q requests, q being the smaller arm's share, so that about five of them are of the
//! smaller arm; its size is fixed before it begins, and it is judged with the requests that it got.
//! A share predicted from the past would be wrong whenever users come in bursts.

use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

use super::{
    super::arms::PerArm,
    mixture::Restarts,
    ratio::{Counts, Direction, Ratio},
    users::Strata,
};
use crate::_core::{assignment::Variant, units::Percent};

/// Requests of the smaller arm that a bin is meant to hold.
const OF_SMALLER_ARM: f64 = 5.0;
/// No bin is larger, however small the share.
const LARGEST_BIN: f64 = 5_000.0;
/// Control's counts lose a twenty-fourth at each hour, so that frozen rates are those of about a day.
const KEPT_PER_HOUR: f64 = 23.0 / 24.0;

/// What may happen to a user and speaks against the arm; in the order in which streams are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    /// The request failed.
    Error,
    /// It was slower than control's P50.
    AboveP50,
    /// It was slower than control's P95.
    AboveP95,
    /// It was slower than control's P99.
    AboveP99,
    /// The user rated the answer bad.
    BadRating,
}

impl Harm {
    pub(super) const ALL: [Self; 5] = [
        Self::Error,
        Self::AboveP50,
        Self::AboveP95,
        Self::AboveP99,
        Self::BadRating,
    ];
    /// In the order of the thresholds.
    pub(super) const SLOW: [Self; 3] = [Self::AboveP50, Self::AboveP95, Self::AboveP99];
}

/// The stream of each harm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Streams([Stream; Harm::ALL.len()]);

impl Streams {
    pub(super) fn new(margin: f64, restarts: Restarts) -> Self {
        Self(std::array::from_fn(|_| Stream::new(margin, restarts)))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.0.iter_mut()
    }
}

impl Index<Harm> for Streams {
    type Output = Stream;

    fn index(&self, harm: Harm) -> &Stream {
        &self.0[harm as usize]
    }
}

impl IndexMut<Harm> for Streams {
    fn index_mut(&mut self, harm: Harm) -> &mut Stream {
        &mut self.0[harm as usize]
    }
}

/// The bins and the evidence of one harm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Stream {
    bins: [Bin; Strata::COUNT],
    ratio: Ratio,
    margin: f64,
    /// Control's requests and events of about a day.
    control: [f64; 2],
    /// The rate that judges the candidate where control has no traffic.
    frozen: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Bin {
    size: u32,
    counts: Counts,
}

impl Stream {
    pub(super) fn new(margin: f64, restarts: Restarts) -> Self {
        Self {
            bins: Default::default(),
            ratio: Ratio::new(Direction::Worse, margin, restarts),
            margin,
            control: [0.0; 2],
            frozen: None,
        }
    }

    /// Counts one request; the bin's counts if that closed it.
    pub(super) fn observe(
        &mut self,
        stratum: usize,
        arm: Variant,
        is_bad: bool,
        share: Percent,
    ) -> Option<Counts> {
        if arm == Variant::Control {
            self.control[0] += 1.0;
            self.control[1] += f64::from(u8::from(is_bad));
        }
        let bin = self.bins.get_mut(stratum)?;
        if bin.counts.requests == PerArm::default() {
            bin.size = bin_size(share);
        }
        bin.counts.requests[arm] += 1;
        bin.counts.errors[arm] += u32::from(is_bad);
        let PerArm { control, candidate } = bin.counts.requests;
        if control + candidate < bin.size {
            return None;
        }
        let closed = std::mem::take(&mut bin.counts);
        self.judge(closed);
        Some(closed)
    }

    /// Closes every bin that holds something.
    pub(super) fn close(&mut self) -> impl Iterator<Item = Counts> + use<> {
        let open = std::mem::take(&mut self.bins).map(|bin| bin.counts);
        open.iter().for_each(|counts| self.judge(*counts));
        open.into_iter()
            .filter(|counts| counts.requests != PerArm::default())
    }

    /// What the open bins hold.
    pub(super) fn open(&self) -> impl Iterator<Item = Counts> + '_ {
        self.bins.iter().map(|bin| bin.counts)
    }

    fn judge(&mut self, bin: Counts) {
        match self.frozen {
            Some(rate) if bin.requests.control == 0 => self.ratio.against(rate, bin),
            _ => self.ratio.judge(bin),
        }
    }

    /// Whether control's rate is to judge in the place of its traffic. The rate is the upper limit of
    /// what control's may have been (Agresti–Coull, 99.5 %), times the margin.
    pub(super) fn freeze(&mut self, is_frozen: bool) {
        const Z: f64 = 2.576;
        let [requests, events] = self.control;
        self.frozen = (is_frozen && requests > 0.0).then(|| {
            let n = requests + Z * Z;
            let rate = (events + Z * Z / 2.0) / n;
            let upper = rate + Z * (rate * (1.0 - rate) / n).sqrt();
            (upper * self.margin).clamp(1e-6, 0.9)
        });
    }

    /// Whether a frozen rate judges.
    pub(super) fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    pub(super) fn reach(&mut self, hour: u32, passed: u32) {
        self.ratio.reach(hour);
        let kept = KEPT_PER_HOUR.powi(passed.min(10_000) as i32);
        self.control = self.control.map(|count| count * kept);
    }

    /// The evidence that the candidate is worse.
    pub(super) fn value(&self) -> f64 {
        self.ratio.value()
    }
}

fn bin_size(share: Percent) -> u32 {
    let share = share.get() / 100.0;
    let smaller = share.min(1.0 - share);
    // At 0 and at 100 there is one arm only; any size does.
    let smaller = if smaller > 0.0 { smaller } else { 0.5 };
    (OF_SMALLER_ARM / smaller).min(LARGEST_BIN).ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bin_holds_five_requests_of_the_smaller_arm() {
        for (share, size) in [
            (10.0, 50),
            (1.0, 500),
            (50.0, 10),
            (99.0, 500),
            (0.0, 10),
            (100.0, 10),
            (0.001, 5_000),
        ] {
            assert_eq!(bin_size(Percent::new(share).unwrap()), size, "{share}");
        }
    }
}
