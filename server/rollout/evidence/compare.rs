//! What one request says: whether it failed, and whether it was slow.
//!
//! Users with a past are compared within their stratum, in bins. Users without one are no stratum, as nobody
//! knows what they are like: of them the first error and the first latency in each share are judged.

use super::{
    Edition, Evidence, Observation, classes,
    harm::Harm,
    ratio::BinCounts,
    stream::{Bin, One},
    timed::Time,
    users::FirstLook,
};
use crate::_core::{assignment::Variant, units::Percent};

/// What is remembered of a user's earlier request: that it was slow by the thresholds 0 to 2, failed, or that its
/// latency is that of a stream.
const FAILED: u32 = 3;
const STREAMED: u32 = 4;

impl Evidence {
    /// Counts a request that has ended; whether that moved what is judged.
    pub(super) fn count(&mut self, observation: &Observation, time: Time, share: Percent) -> bool {
        let arm = observation.variant;
        let is_candidate = arm == Variant::Candidate;
        let is_error = observation.end.is_error();
        let mut user = self.users.of(observation.subject);
        let class = user.class();
        let is_new = user.is_new();
        let counts_absolute = user.counts_this_hour(is_error);
        let tells_latency = self.edition == Edition::First || observation.end.tells_latency();
        let usual = self.users.classes().usual(class);

        let totals = &mut self.totals[arm];
        totals.requests += 1;
        totals.errors += u64::from(is_error);
        totals.timeouts += u64::from(observation.end == super::RequestEnd::TimedOut);
        if is_new {
            totals.users += 1;
            self.sample_ratio.attribute_one(arm, share.get() / 100.0);
        }
        if let (Some(quality), Some(_)) = (observation.quality, &self.answers) {
            totals.add_answer(quality);
        }
        if is_candidate {
            self.stage.see(observation.subject);
            self.stage.judge(Harm::Error, is_error);
        } else if tells_latency {
            self.latencies_mut(time).count(time.ms / usual);
        }
        if counts_absolute {
            self.last_hour.count(arm, is_error);
            if let (Some(outages), Variant::Control, true) = (&mut self.outages, arm, is_error)
                && self.edition >= Edition::Ninth
            {
                let BinCounts { requests, errors } = self.last_hour.newest_slot();
                let limit = self.plan.max_error_rate;
                outages.see_control(self.clock_ms, limit, requests.control, errors.control);
            }
            if is_candidate {
                self.absolute.judge(is_error);
            }
        }
        let has_moved = self.compare_quality(observation);
        self.compare_errors(observation, is_error) || is_candidate && is_error || has_moved
    }

    /// Whether that moved anything.
    fn compare_errors(&mut self, observation: &Observation, is_error: bool) -> bool {
        let arm = observation.variant;
        let mut user = self.users.of(observation.subject);
        let mut stratum = user.stratum();
        let (mut weight, mut has_moved) = (1.0, false);
        let is_counted = user.counts(Harm::Error, is_error, self.plan.cap_per_user_day);
        match self.edition {
            Edition::First => {}
            _ if user.class() > 0 => {
                let learns = self.edition.learns_from(is_counted);
                let before = user.count_request();
                let earlier = user.earlier(FAILED);
                if learns {
                    user.note(FAILED, is_error);
                }
                if let Some(errors) = self.streams.get_mut(Harm::Error) {
                    weight = errors.weight(before);
                    if let (Some(earlier), Variant::Control, true) = (earlier, arm, learns) {
                        errors.pair(stratum, earlier, is_error);
                    }
                }
            }
            _ => {
                stratum = 0;
                let last = user.last_look(FirstLook::Error);
                if is_error && let Some((share, look)) = self.looks.look(last, arm, self.share) {
                    user.look(FirstLook::Error, look);
                    self.streams.attribute(Harm::Error, arm, share);
                    self.crash.attribute_one(arm, share);
                    has_moved = true;
                }
            }
        }
        has_moved | (is_counted && self.observe(Harm::Error, stratum, arm, is_error, weight))
    }

    /// Compares the quality of an answer, where it is judged; whether that moved anything.
    fn compare_quality(&mut self, observation: &Observation) -> bool {
        let (Some(quality), Some(answers)) = (observation.quality, &mut self.answers) else {
            return false;
        };
        let (arm, is_flawed) = (observation.variant, quality.is_flawed());
        if arm == Variant::Candidate {
            self.stage.judge(Harm::Flawed, is_flawed);
        }
        let mut asker = answers.of(observation.subject);
        let stratum = asker.stratum();
        let (mut weight, mut looked) = (1.0, None);
        let is_counted = asker.counts(is_flawed, self.plan.cap_per_user_day);
        if stratum > 0 {
            let learns = self.edition.learns_from(is_counted);
            let before = asker.count();
            let earlier = asker.earlier();
            if learns {
                asker.note(is_flawed);
            }
            if let Some(flaws) = self.streams.get_mut(Harm::Flawed) {
                weight = flaws.weight(before);
                if let (Some(earlier), Variant::Control, true) = (earlier, arm, learns) {
                    flaws.pair(stratum, earlier, is_flawed);
                }
            }
        } else if is_flawed {
            looked = self.looks.look(asker.last_look(), arm, self.share);
            looked.inspect(|(_, look)| asker.look(*look));
        }
        if let Some((share, _)) = looked {
            self.streams.attribute(Harm::Flawed, arm, share);
        }
        let is_closed = is_counted && self.observe(Harm::Flawed, stratum, arm, is_flawed, weight);
        is_closed || looked.is_some()
    }

    /// Compares a request's latency with control's quantiles; whether that moved anything. One that has
    /// not ended is slow once it is beyond, and before that says nothing.
    pub(super) fn compare_latency(
        &mut self,
        observation: &Observation,
        time: Time,
        quantiles: [f64; 3],
    ) -> bool {
        let arm = observation.variant;
        let classes = self.users.classes();
        let user = self.users.of(observation.subject);
        let (class, before) = (user.class(), user.requests().saturating_sub(1));
        let thresholds = quantiles
            .map(|quantile| (quantile * classes.usual(class)).max(self.plan.slow_floor_ms));
        let mut has_moved = false;
        if self.edition >= Edition::Second {
            if !observation.end.tells_latency() {
                return false;
            }
            if class == 0 {
                has_moved = self.look_at_latency(observation, time, thresholds);
                if self.edition == Edition::Second {
                    return has_moved;
                }
            }
        }
        let is_streamed = time.is_streamed();
        let cap = self.plan.cap_per_user_day;
        let mut user = self.users.of(observation.subject);
        // What is slow by the others is so by this one, so who is compared by it is by all.
        let is_noted = self
            .edition
            .learns_from(user.is_at_risk(Harm::AboveP50, cap));
        // Together with what was slow, so that both are of one request.
        let tells = (thresholds.iter()).any(|threshold| time.is_slower(*threshold).is_some());
        let was_streamed = if self.edition >= Edition::Sixth && class > 0 && tells {
            let was_streamed = user.earlier(STREAMED).unwrap_or(is_streamed);
            if is_noted {
                user.note(STREAMED, is_streamed);
            }
            was_streamed
        } else {
            is_streamed
        };
        for ((fact, harm), threshold) in (0..).zip(Harm::SLOW).zip(thresholds) {
            let Some(is_slow) = time.is_slower(threshold) else {
                continue;
            };
            if arm == Variant::Candidate {
                self.stage.judge(harm, is_slow);
            }
            let mut user = self.users.of(observation.subject);
            let (mut stratum, mut weight) = (user.stratum(), 1.0);
            let is_counted = user.counts(harm, is_slow, cap);
            if self.edition >= Edition::Second
                && let Some(stream) = self.streams.get_mut(harm)
            {
                stratum = classes::stratum(class, is_streamed);
                if class > 0 {
                    weight = stream.weight(before);
                    let earlier = user.earlier(fact);
                    if is_noted {
                        user.note(fact, is_slow);
                    }
                    if let (Some(earlier), Variant::Control) = (earlier, arm)
                        && was_streamed == is_streamed
                        && self.edition.learns_from(is_counted)
                    {
                        stream.pair(stratum, earlier, is_slow);
                    }
                }
            }
            has_moved |= is_counted && self.observe(harm, stratum, arm, is_slow, weight);
        }
        has_moved
    }

    /// The same of a user without a past: of the first request of which all can be said.
    fn look_at_latency(
        &mut self,
        observation: &Observation,
        time: Time,
        thresholds: [f64; 3],
    ) -> bool {
        let arm = observation.variant;
        let slow = thresholds.map(|threshold| time.is_slower(threshold));
        if slow.contains(&None) {
            return false;
        }
        let mut user = self.users.of(observation.subject);
        let last = user.last_look(FirstLook::Latency);
        let Some((share, look)) = self.looks.look(last, arm, self.share) else {
            return false;
        };
        user.look(FirstLook::Latency, look);
        for (harm, is_slow) in Harm::SLOW.into_iter().zip(slow) {
            if is_slow == Some(true) {
                self.streams.attribute(harm, arm, share);
            }
        }
        true
    }

    /// Counts a request in its bin; whether that closed it.
    pub(super) fn observe(
        &mut self,
        harm: Harm,
        stratum: usize,
        arm: Variant,
        is_bad: bool,
        weight: f64,
    ) -> bool {
        let one = One {
            arm,
            is_bad,
            weight,
            in_outage: arm == Variant::Control
                && self.edition >= Edition::Fifth
                && self.control.is_outage(self.clock_ms),
        };
        let share = self.share;
        let stream = self.streams.get_mut(harm);
        let closed = stream.and_then(|it| it.observe(stratum, one, share));
        let Some(closed) = closed else {
            return false;
        };
        self.judge_closed(harm, stratum, &closed);
        true
    }

    /// Closes every open bin.
    pub(super) fn close_bins(&mut self) {
        for harm in Harm::ALL {
            let Some(stream) = self.streams.get_mut(harm) else {
                continue;
            };
            for (stratum, closed) in stream.close() {
                self.judge_closed(harm, stratum, &closed);
            }
        }
        self.settle();
    }

    /// Judges a bin by the other tests that see it.
    fn judge_closed(&mut self, harm: Harm, stratum: usize, closed: &Bin) {
        if harm == Harm::Error && self.edition.judges(stratum) {
            self.crash.judge_weighed(closed.counts, closed.weight());
        }
        self.stage.judge_bin(harm, closed.of_proof());
    }
}
