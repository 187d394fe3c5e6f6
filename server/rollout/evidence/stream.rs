//! One kind of event (errors, requests slower than a threshold, bad ratings), counted in bins and
//! judged when a bin closes.
//!
//! A bin holds 5/q requests, q being the smaller arm's share, so that about five of them are of the
//! smaller arm; its size is fixed before it begins, and it is judged with the requests that it got.
//! A share predicted from the past would be wrong whenever users come in bursts.

use serde::{Deserialize, Serialize};

use super::{
    super::arms::PerArm,
    alike::Alike,
    classes,
    edition::Edition,
    effect::{Effect, Likelihood},
    harm::Harm,
    metric::Metric,
    mixture::Restarts,
    ratio::{BinCounts, Ratio, TestDirection},
    users::Strata,
};
use crate::_core::{assignment::Variant, units::Percent};

/// Requests of the smaller arm that a bin is meant to hold.
const OF_SMALLER_ARM: f64 = 5.0;
/// No bin is larger, however small the share.
const LARGEST_BIN: f64 = 5_000.0;
/// Requests of control that a stratum needs before its rate is known.
const ENOUGH: f64 = 20.0;
/// Control's counts lose a twenty-fourth at each hour, so that frozen rates are those of about a day.
const KEPT_PER_HOUR: f64 = 23.0 / 24.0;

/// The stream of each harm; the last only where the quality of answers is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Stream>")]
pub(super) struct Streams(Vec<Stream>);

impl Streams {
    pub(super) fn new(edition: Edition, quality: bool, margin: f64, restarts: Restarts) -> Self {
        let harms = Harm::ALL
            .into_iter()
            .filter(|it| quality || *it != Harm::Flawed);
        let streams = harms.map(|harm| {
            let is_of_latency = edition >= Edition::Second && Harm::SLOW.contains(&harm);
            let strata = match is_of_latency {
                false => Strata::COUNT,
                true if edition < Edition::Sixth => classes::COUNT + 1,
                true => classes::STRATA,
            };
            Stream {
                edition,
                bins: vec![Bin::default(); strata],
                ratio: Ratio::new(TestDirection::Worse, margin, restarts),
                margin,
                control: [0.0; 2],
                strata: match edition {
                    Edition::First => Vec::new(),
                    _ => vec![[0.0; 2]; strata],
                },
                frozen: None,
                alike: Alike::new(edition),
                likelihood: (edition >= Edition::Third && Harm::SHOWN.contains(&harm))
                    .then(Likelihood::default),
            }
        });
        Self(streams.collect())
    }

    /// That of a harm, if it is judged.
    pub(super) fn get(&self, harm: Harm) -> Option<&Stream> {
        self.0.get(harm as usize)
    }

    /// The same, to change it.
    pub(super) fn get_mut(&mut self, harm: Harm) -> Option<&mut Stream> {
        self.0.get_mut(harm as usize)
    }

    /// Judges an event of a user who was in the candidate with this probability, 0 to 1.
    pub(super) fn attribute(&mut self, harm: Harm, arm: Variant, probability: f64) {
        if let Some(stream) = self.get_mut(harm) {
            stream.attribute(arm, probability);
        }
    }

    /// The evidence that the candidate is worse in it; 1, which says nothing, where it is not judged.
    pub(super) fn value(&self, harm: Harm) -> f64 {
        self.get(harm).map_or(1.0, Stream::value)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.0.iter_mut()
    }
}

impl TryFrom<Vec<Stream>> for Streams {
    type Error = String;

    fn try_from(streams: Vec<Stream>) -> Result<Self, String> {
        const FEWEST: usize = Harm::Flawed as usize;
        match streams.len() {
            FEWEST..=Harm::COUNT => Ok(Self(streams)),
            count => Err(format!(
                "{count} streams; expected {FEWEST} or {}",
                Harm::COUNT
            )),
        }
    }
}

/// The bins and the evidence of one harm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Stream {
    #[serde(default)]
    edition: Edition,
    #[serde(with = "bins")]
    bins: Vec<Bin>,
    ratio: Ratio,
    margin: f64,
    /// Control's requests and events of about a day.
    control: [f64; 2],
    /// The same by stratum; not kept by the first edition.
    #[serde(default)]
    strata: Vec<[f64; 2]>,
    /// The rate that judges the candidate where control has no traffic.
    frozen: Option<f64>,
    /// How much alike the requests of one user are; not measured by the first edition.
    #[serde(default)]
    alike: Alike,
    /// How many times as often it happens on the candidate, where that is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    likelihood: Option<Likelihood>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Bin {
    size: u32,
    pub(super) counts: BinCounts,
    /// What each arm's requests weigh together; not kept by the first edition.
    #[serde(default)]
    weights: PerArm<f64>,
    /// Control's events while it had an outage, which prove nothing for the candidate.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) in_outage: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// One request in a bin.
#[derive(Clone, Copy, Debug)]
pub(super) struct One {
    pub(super) arm: Variant,
    pub(super) is_bad: bool,
    /// 0 to 1.
    pub(super) weight: f64,
    /// It is control's, which had an outage.
    pub(super) in_outage: bool,
}

impl Bin {
    /// Its counts as a proof takes them: nothing of control's outages is one.
    pub(super) fn of_proof(&self) -> BinCounts {
        let mut counts = self.counts;
        counts.errors.control = counts.errors.control.saturating_sub(self.in_outage);
        counts
    }

    /// What its requests weigh on average, in the arm where that is less; 1 in the first edition.
    pub(super) fn weight(&self) -> f64 {
        let of = |arm: Variant| match self.counts.requests[arm] {
            0 => 1.0,
            _ if self.weights == PerArm::default() => 1.0,
            requests => self.weights[arm] / f64::from(requests),
        };
        of(Variant::Control).min(of(Variant::Candidate))
    }
}

impl Stream {
    /// How much the next request of a user weighs after so many others.
    pub(super) fn weight(&self, others: u32) -> f64 {
        self.alike.weight(others)
    }

    /// Learns from two requests of a user of control, of which one came some time before the other.
    pub(super) fn pair(&mut self, stratum: usize, one: bool, other: bool) {
        if let Some([requests, events]) = self.strata.get(stratum)
            && *requests >= ENOUGH
        {
            self.alike.pair(one, other, events / requests);
        }
    }

    /// Counts one request; the bin if that closed it.
    pub(super) fn observe(&mut self, stratum: usize, one: One, share: Percent) -> Option<Bin> {
        let One {
            arm,
            is_bad,
            weight,
            in_outage,
        } = one;
        if arm == Variant::Control {
            self.control[0] += 1.0;
            self.control[1] += f64::from(u8::from(is_bad));
            if let Some(of_stratum) = self.strata.get_mut(stratum) {
                of_stratum[0] += 1.0;
                of_stratum[1] += f64::from(u8::from(is_bad));
            }
        }
        let bin = self.bins.get_mut(stratum)?;
        if bin.counts.requests == PerArm::default() {
            bin.size = bin_size(share);
        }
        bin.counts.requests[arm] += 1;
        bin.counts.errors[arm] += u32::from(is_bad);
        bin.in_outage += u32::from(is_bad && in_outage);
        if self.edition >= Edition::Second {
            bin.weights[arm] += weight;
        }
        let PerArm { control, candidate } = bin.counts.requests;
        if control + candidate < bin.size {
            return None;
        }
        let closed = std::mem::take(bin);
        self.judge(stratum, &closed);
        Some(closed)
    }

    /// Judges an event of a user who was in the candidate with this probability, 0 to 1.
    fn attribute(&mut self, arm: Variant, probability: f64) {
        self.ratio.attribute_one(arm, probability);
        if let Some(likelihood) = &mut self.likelihood {
            likelihood.add_one(arm, probability);
        }
    }

    /// Closes every bin that holds something; with the stratum of each.
    pub(super) fn close(&mut self) -> impl Iterator<Item = (usize, Bin)> + use<> {
        let bins = self.bins.iter_mut().map(std::mem::take).enumerate();
        let open: Vec<_> = bins
            .filter(|(_, bin)| bin.counts.requests != PerArm::default())
            .collect();
        for (stratum, bin) in &open {
            self.judge(*stratum, bin);
        }
        open.into_iter()
    }

    /// Forgets the evidence, but not what control and its users are like; bins must be closed.
    pub(super) fn begin_anew(&mut self, restarts: Restarts, hour: u32) {
        self.ratio = Ratio::new(TestDirection::Worse, self.margin, restarts);
        self.ratio.reach(hour);
    }

    /// The open bins, with the stratum of each.
    pub(super) fn open(&self) -> impl Iterator<Item = (usize, &Bin)> + '_ {
        self.bins.iter().enumerate()
    }

    /// Whether its strata are classes of latency.
    fn is_of_latency(&self) -> bool {
        self.bins.len() > Strata::COUNT
    }

    fn judge(&mut self, stratum: usize, bin: &Bin) {
        let weight = bin.weight();
        match self.frozen {
            // Users without a past are only counted there for the proof of the stage.
            _ if self.is_of_latency()
                && classes::is_without_past(stratum)
                && self.edition > Edition::First => {}
            Some(rate) if bin.counts.requests.control == 0 => {
                self.ratio.against(rate, bin.counts, weight);
            }
            _ if self.edition.judges(stratum) => {
                self.ratio.judge_weighed(bin.counts, weight);
                if let Some(likelihood) = &mut self.likelihood {
                    likelihood.add(bin.counts, weight);
                }
            }
            _ => {}
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
        // A thousandth is enough of a count, and takes half of the room. Down, or what is small would stay for ever.
        let is_rounded = self.edition >= Edition::Sixth;
        let part = |count: f64| match count * kept {
            count if is_rounded => (count * 1e3).floor() / 1e3,
            count => count,
        };
        for of_stratum in &mut self.strata {
            *of_stratum = of_stratum.map(part);
        }
        self.alike.reach(kept);
    }

    /// How many times as often it happens on the candidate, where that is shown.
    pub(super) fn effect(&self, metric: Metric) -> Option<Effect> {
        let likelihood = self.likelihood.as_ref()?;
        Some(likelihood.effect(metric, self.margin))
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

/// Bins as they are stored: in the sixth edition's latencies as rows of numbers, null where empty; else by the names of
/// their fields, as releases of before read them.
mod bins {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{super::super::arms::PerArm, Bin, BinCounts, classes};

    /// Size, requests, events, weights, and events of outages; of both arms first control's.
    type Row = (u32, [u32; 2], [u32; 2], [f64; 2], u32);

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Row(Row),
        Named(Bin),
    }

    fn pair<T>(of: PerArm<T>) -> [T; 2] {
        [of.control, of.candidate]
    }

    fn arms<T>([control, candidate]: [T; 2]) -> PerArm<T> {
        PerArm { control, candidate }
    }

    pub(super) fn serialize<S: Serializer>(bins: &[Bin], to: S) -> Result<S::Ok, S::Error> {
        if bins.len() != classes::STRATA {
            return bins.serialize(to);
        }
        to.collect_seq(bins.iter().map(|bin| -> Option<Row> {
            let BinCounts { requests, errors } = bin.counts;
            let [requests, errors] = [pair(requests), pair(errors)];
            let row = (bin.size, requests, errors, pair(bin.weights), bin.in_outage);
            (*bin != Bin::default()).then_some(row)
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Bin>, D::Error> {
        let stored = Vec::<Option<Stored>>::deserialize(from)?.into_iter();
        let bins = stored.map(|it| match it {
            None => Bin::default(),
            Some(Stored::Named(bin)) => bin,
            Some(Stored::Row((size, requests, errors, weights, in_outage))) => Bin {
                size,
                counts: BinCounts {
                    requests: arms(requests),
                    errors: arms(errors),
                },
                weights: arms(weights),
                in_outage,
            },
        });
        Ok(bins.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_stored_as_briefly_as_an_edition_can_read_them() {
        let of = |edition| {
            let mut streams = Streams::new(edition, true, 1.25, Restarts::NEVER);
            let stream = streams.get_mut(Harm::AboveP50).unwrap();
            let one = One {
                arm: Variant::Candidate,
                is_bad: true,
                weight: 0.1,
                in_outage: false,
            };
            stream.observe(3, one, Percent::new(10.0).unwrap());
            let text = serde_json::to_string(&streams).unwrap();
            assert_eq!(serde_json::from_str::<Streams>(&text).unwrap(), streams);
            text
        };
        let before = r#"{"size":50,"counts":{"#;
        assert!(
            of(Edition::Fifth).contains(before),
            "{}",
            of(Edition::Fifth)
        );
        let now = of(Edition::Sixth);
        assert!(now.contains("[50,[0,1],[0,1],[0.0,0.1],0]"), "{now}");
    }

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
