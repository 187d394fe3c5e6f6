//! Whether models that are as good as planned would break the plan's absolute limit.

use super::Sight;

impl Sight {
    /// A sentence where control alone fails as often as the plan ever allows: then the limit says nothing of a candidate.
    pub fn above_limit(&self) -> Option<String> {
        let (baseline, limit) = (self.traffic.baseline, self.evidence.max_error_rate);
        (baseline >= limit).then(|| {
            format!(
                "{:.1} % of control's requests fail, and `max_error_rate` is {:.1} %: a candidate that is as good is held \
                 again and again as both sides failing, and is no worse for it. Give the plan a higher `max_error_rate`, \
                 such as {:.0} %",
                baseline * 100.0,
                limit * 100.0,
                (baseline * 250.0).min(90.0).ceil()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::rollout::{
        evidence::EvidencePlan,
        simulate::planner::{ExpectedTraffic, plan},
    };

    #[test]
    fn models_that_fail_more_than_the_plan_allows_are_warned_of() {
        let warned = |baseline| {
            let traffic = ExpectedTraffic {
                requests_per_day: 6_000.0,
                baseline,
                users: None,
            };
            plan(traffic, &EvidencePlan::default(), []).above_limit()
        };
        assert_eq!(warned(0.049), None);
        let words = warned(0.08).expect("a warning");
        assert!(words.starts_with("8.0 %"), "{words}");
        assert!(
            words.contains("is 5.0 %") && words.ends_with("such as 20 %"),
            "{words}"
        );
    }
}
