//! What one channel was sent, so that a warning that lasts becomes critical.
//!
//! A warning lasts from the first alert of its streak until it is delivered. Alerts of the same kind
//! about the same rollout are one streak as long as not more than twice `ALERT_ESCALATE_AFTER` lies
//! between two of them; the rollout's promotion or rollback ends all its streaks. So a warning that
//! could not be delivered is critical when it at last can be, and one that keeps coming back is too.
//!
//! Streaks are not stored: after a restart a warning that keeps coming back begins anew.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};

use super::{Alert, AlertKind, Severity};

/// Ids kept per streak, to be resolved together.
const IDS: usize = 20;

pub(super) struct Streaks {
    after: TimeDelta,
    by_topic: HashMap<Topic, Streak>,
}

type Topic = (Option<String>, AlertKind);

struct Streak {
    since: DateTime<Utc>,
    last: DateTime<Utc>,
    ids: Vec<String>,
}

impl Streaks {
    pub(super) fn new(after: Duration) -> Self {
        Self {
            after: TimeDelta::from_std(after).unwrap_or(TimeDelta::MAX / 4),
            by_topic: HashMap::new(),
        }
    }

    /// Notes an alert, which may be noted before, and says how much it hurts if sent now.
    pub(super) fn severity(&mut self, alert: &Alert, now: DateTime<Utc>) -> Severity {
        if alert.severity == Severity::Info {
            return Severity::Info;
        }
        let since = self.since(alert);
        if now - since >= self.after {
            Severity::Critical
        } else {
            alert.severity
        }
    }

    fn since(&mut self, alert: &Alert) -> DateTime<Utc> {
        let silence = self.after * 2;
        self.by_topic
            .retain(|_, streak| alert.at - streak.last <= silence);
        let cause = (alert.rollout_id.clone(), alert.kind);
        let streak = self.by_topic.entry(cause).or_insert_with(|| Streak {
            since: alert.at,
            last: alert.at,
            ids: Vec::new(),
        });
        if streak.since - alert.at > silence {
            // Of an earlier streak, and late.
            return alert.at;
        }
        streak.since = streak.since.min(alert.at);
        streak.last = streak.last.max(alert.at);
        if streak.ids.len() < IDS && !streak.ids.contains(&alert.id) {
            streak.ids.push(alert.id.clone());
        }
        streak.since
    }

    /// The ids of earlier alerts that are over if this one is sent.
    pub(super) fn ended_by(&self, alert: &Alert) -> Vec<String> {
        let ended = self.by_topic.iter();
        let ended = ended.filter(|(cause, streak)| is_ended(cause, streak, alert));
        let ids = ended.flat_map(|(_, streak)| streak.ids.iter().cloned());
        ids.filter(|id| *id != alert.id).collect()
    }

    /// An alert was delivered.
    pub(super) fn delivered(&mut self, alert: &Alert) {
        self.by_topic
            .retain(|cause, streak| !is_ended(cause, streak, alert));
    }
}

fn is_ended((rollout, _): &Topic, streak: &Streak, by: &Alert) -> bool {
    by.ends_all_before() && *rollout == by.rollout_id && streak.last <= by.at
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const HALF_AN_HOUR: Duration = Duration::from_secs(30 * 60);

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + minute * 60, 0).expect("a time")
    }

    fn alert(kind: AlertKind, rollout: &str, minute: i64) -> Alert {
        Alert {
            id: format!("{kind:?}-{rollout}-{minute}"),
            kind,
            severity: Severity::Warning,
            rollout_id: Some(rollout.into()),
            details: Value::Null,
            at: at(minute),
            ..Alert::test(at(minute))
        }
    }

    fn watch(minute: i64) -> Alert {
        alert(AlertKind::Watch, "r", minute)
    }

    #[test]
    fn a_warning_is_one_for_as_long_as_was_set() {
        let mut streaks = Streaks::new(HALF_AN_HOUR);
        assert_eq!(streaks.severity(&watch(0), at(0)), Severity::Warning);
        assert_eq!(streaks.severity(&watch(0), at(29)), Severity::Warning);
        assert_eq!(streaks.severity(&watch(0), at(30)), Severity::Critical);
    }

    #[test]
    fn a_warning_that_keeps_coming_back_becomes_critical() {
        let mut streaks = Streaks::new(HALF_AN_HOUR);
        for (minute, severity) in [
            (0, Severity::Warning),
            (20, Severity::Warning),
            (40, Severity::Critical),
            (100, Severity::Critical),
            (161, Severity::Warning),
        ] {
            let got = streaks.severity(&watch(minute), at(minute));
            assert_eq!(got, severity, "minute {minute}");
        }
    }

    #[test]
    fn other_rollouts_and_other_kinds_count_alone() {
        let mut streaks = Streaks::new(HALF_AN_HOUR);
        streaks.severity(&watch(0), at(0));
        for other in [
            alert(AlertKind::Watch, "other", 40),
            alert(AlertKind::NoTraffic, "r", 40),
        ] {
            assert_eq!(streaks.severity(&other, at(40)), Severity::Warning);
        }
    }

    #[test]
    fn information_stays_information() {
        let mut streaks = Streaks::new(HALF_AN_HOUR);
        let old = Alert::test(at(0));
        assert_eq!(streaks.severity(&old, at(999)), Severity::Info);
    }

    #[test]
    fn a_rollback_ends_what_was_said_before_once_it_is_delivered() {
        let mut streaks = Streaks::new(HALF_AN_HOUR);
        for minute in [0, 10, 10] {
            streaks.severity(&watch(minute), at(minute));
        }
        streaks.severity(&alert(AlertKind::Watch, "other", 5), at(5));
        let rolled_back = alert(AlertKind::RolledBack, "r", 20);
        streaks.severity(&rolled_back, at(20));
        let ended = ["Watch-r-0", "Watch-r-10"];
        assert_eq!(streaks.ended_by(&rolled_back), ended);
        assert_eq!(
            streaks.ended_by(&rolled_back),
            ended,
            "until it is delivered"
        );
        streaks.delivered(&rolled_back);
        assert!(streaks.ended_by(&rolled_back).is_empty());
        assert_eq!(streaks.severity(&watch(40), at(40)), Severity::Warning);
    }

    #[test]
    fn a_late_alert_of_an_earlier_streak_leaves_the_later_one_as_it_is() {
        let mut streaks = Streaks::new(HALF_AN_HOUR);
        streaks.severity(&watch(1000), at(1000));
        assert_eq!(streaks.severity(&watch(0), at(1000)), Severity::Critical);
        assert_eq!(streaks.severity(&watch(1001), at(1001)), Severity::Warning);
    }
}
