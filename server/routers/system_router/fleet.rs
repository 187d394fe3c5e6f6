//! Who serves users: which servers live, on which release, who leads, and whether they agree.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    _core::units::Percent,
    fleet::{
        alike,
        replica::{Replica, ReportedVersion, Roll},
    },
};

/// All servers on the database that said something within a day.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetState {
    /// Whether all that live have the same versions and shares in force, and the same settings where they have to.
    pub agree: bool,
    /// The one that moves the rollouts; null while none does.
    pub leader: Option<String>,
    /// The one that answers.
    pub here: String,
    /// Those that live first, then those that said something last; at most 200.
    pub replicas: Vec<ReplicaState>,
}

/// A server.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaState {
    /// Another with each start.
    pub id: String,
    /// Its machine and port.
    pub name: String,
    /// Its release.
    pub release: String,
    /// Whether it lives.
    pub state: Life,
    /// Whether it moves the rollouts.
    pub leads: bool,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it said something last, which it does every two seconds.
    pub seen_at: DateTime<Utc>,
    /// How long that is ago, in milliseconds.
    pub silent_ms: u64,
    /// Events that waited there to be stored.
    pub waiting: u64,
    /// Events that found no room there since it began.
    pub dropped: u64,
    /// Events of it that the database refused.
    pub set_aside: u64,
    /// How far its machine's clock is ahead of the database's, in milliseconds.
    pub clock_ahead_ms: i64,
    /// Whether it has in force what the others have; of one that does not live, what it had when it said something last.
    pub agrees: bool,
    /// What it has in force.
    pub in_force: Vec<VersionInForce>,
    /// What it has otherwise than the one that leads, or where none does, than the oldest: names of settings, and `catalog` and `plans`
    /// of one of the same release. Of one that does not live nothing is said.
    pub differing: Vec<String>,
}

/// Whether a server lives.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Life {
    /// It said something within 15 s.
    Alive,
    /// It has said nothing since: it was killed, is frozen, or has no way to the database.
    Gone,
    /// It was stopped.
    Stopped,
}

/// A version that a server has in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionInForce {
    /// The id of a rollout that is under way, or `flags`: the kill switch with the live share.
    pub of: String,
    /// Its version.
    pub version: i64,
    /// The share of users that get the candidate there, in percent.
    pub share: Percent,
}

impl From<ReportedVersion> for VersionInForce {
    fn from(it: ReportedVersion) -> Self {
        let ReportedVersion { of, version, share } = it;
        Self { of, version, share }
    }
}

impl FleetState {
    /// What they said, as the one of this name sees it.
    pub(super) fn of(roll: Roll, here: &str) -> Self {
        let life = |replica: &Replica| match replica.lives(roll.now) {
            true => Life::Alive,
            false if replica.has_ended => Life::Stopped,
            false => Life::Gone,
        };
        let model = roll.model();
        let differing = |replica: &Replica| match model {
            Some(model) if life(replica) == Life::Alive => alike::differences(replica, model),
            _ => Vec::new(),
        };
        let leads = |replica: &Replica| roll.leader.as_ref() == Some(&replica.holder);
        let mut living: Vec<_> = (roll.replicas.iter())
            .filter(|it| life(it) == Life::Alive)
            .collect();
        // Of two of one version the leader's share counts.
        living.sort_by_key(|it| !leads(it));
        let mut newest = newest(living.into_iter().flat_map(|it| &it.report.in_force));
        // What has ended where it is decided is in force nowhere else but by mistake.
        let of_model = model.map_or(&[][..], |it| &it.report.in_force);
        newest.retain(|of, _| of_model.iter().any(|it| it.of == *of));
        let mut replicas: Vec<_> = (roll.replicas.iter())
            .map(|replica| {
                let report = &replica.report;
                let in_force = report.in_force.iter().cloned().map(VersionInForce::from);
                let silent_ms = (roll.now - replica.seen_at).num_milliseconds();
                ReplicaState {
                    id: replica.holder.clone(),
                    name: replica.name.clone(),
                    release: replica.release.clone(),
                    state: life(replica),
                    leads: leads(replica),
                    started_at: replica.started_at,
                    seen_at: replica.seen_at,
                    silent_ms: u64::try_from(silent_ms).unwrap_or(0),
                    waiting: report.waiting,
                    dropped: report.dropped,
                    set_aside: report.set_aside,
                    clock_ahead_ms: report.ahead_ms,
                    agrees: newest == self::newest(&report.in_force),
                    in_force: in_force.collect(),
                    differing: differing(replica),
                }
            })
            .collect();
        replicas.sort_by_key(|it| (it.state, std::cmp::Reverse(it.seen_at)));
        let mut living = replicas.iter().filter(|it| it.state == Life::Alive);
        Self {
            agree: living.all(|it| it.agrees && it.differing.is_empty()),
            leader: roll.leader,
            here: here.to_owned(),
            replicas,
        }
    }
}

/// The greatest version of each, with the share that the first has who has it.
fn newest<'f>(
    in_force: impl IntoIterator<Item = &'f ReportedVersion>,
) -> BTreeMap<&'f str, &'f ReportedVersion> {
    let mut newest = BTreeMap::<&str, &ReportedVersion>::new();
    for it in in_force {
        let held = newest.entry(&it.of).or_insert(it);
        if it.version > held.version {
            *held = it;
        }
    }
    newest
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::fleet::replica::ReplicaReport;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn replica(holder: &str, seen: i64, in_force: &[(&str, i64, f64)]) -> Replica {
        let in_force = in_force.iter().map(|(of, version, share)| ReportedVersion {
            of: (*of).to_owned(),
            version: *version,
            share: Percent::new(*share).expect("a percentage"),
        });
        Replica {
            holder: holder.to_owned(),
            name: format!("{holder}:3000"),
            release: "1".to_owned(),
            started_at: at(0),
            seen_at: at(seen),
            has_ended: false,
            report: ReplicaReport {
                in_force: in_force.collect(),
                ..ReplicaReport::default()
            },
        }
    }

    fn state(replicas: Vec<Replica>) -> FleetState {
        let roll = Roll {
            now: at(100),
            leader: Some("a".to_owned()),
            replicas,
        };
        FleetState::of(roll, "b")
    }

    fn said(state: &FleetState) -> Vec<(&str, Life, bool)> {
        let replicas = state.replicas.iter();
        replicas.map(|it| (&*it.id, it.state, it.agrees)).collect()
    }

    #[test]
    fn those_that_live_agree_whatever_one_had_that_is_gone() {
        let state = state(vec![
            replica("gone", 85, &[("r", 1, 5.0)]),
            replica("b", 99, &[("r", 2, 50.0)]),
            replica("a", 98, &[("r", 2, 50.0)]),
        ]);
        let expected = [
            ("b", Life::Alive, true),
            ("a", Life::Alive, true),
            ("gone", Life::Gone, false),
        ];
        assert_eq!(said(&state), expected);
        assert!(state.agree);
        assert_eq!(state.replicas[1].silent_ms, 2_000);
        assert!(state.replicas[1].leads && !state.replicas[0].leads);
    }

    #[test]
    fn an_older_version_another_share_and_a_rollout_that_is_missing_are_no_agreement() {
        for other in [
            &[("r", 1, 50.0)][..],
            &[("r", 2, 0.0)],
            &[],
            &[("r", 2, 50.0), ("s", 1, 5.0)],
        ] {
            let a = replica("a", 98, &[("r", 2, 50.0)]);
            let state = state(vec![replica("b", 99, other), a]);
            assert!(!state.agree, "{other:?}");
        }
    }

    #[test]
    fn whoever_has_another_setting_than_who_leads_is_named_with_it() {
        let with = |holder, seen, mark: &str| {
            let mut replica = replica(holder, seen, &[("r", 2, 50.0)]);
            let mark = ("CHAT_RATE_LIMIT".to_owned(), mark.to_owned());
            replica.report.marks = [mark].into();
            replica
        };
        let state = state(vec![
            with("b", 99, "2"),
            with("a", 98, "1"),
            with("c", 80, "3"),
        ]);
        let differing = state.replicas.iter().map(|it| it.differing.join(", "));
        assert_eq!(differing.collect::<Vec<_>>(), ["CHAT_RATE_LIMIT", "", ""]);
        assert!(!state.agree);
        assert!(state.replicas[0].agrees, "about what is in force");
    }

    /// The world: one is cut off, and the leader takes a rollout back.
    #[test]
    fn whoever_has_in_force_what_has_ended_at_the_leader_does_not_agree_and_all_others_do() {
        let state = state(vec![
            replica("stale", 97, &[("r", 1, 20.0), ("s", 1, 5.0)]),
            replica("b", 99, &[("s", 1, 5.0)]),
            replica("a", 98, &[("s", 1, 5.0)]),
        ]);
        let agrees = said(&state).into_iter().map(|(id, _, agrees)| (id, agrees));
        let expected = [("b", true), ("a", true), ("stale", false)];
        assert_eq!(agrees.collect::<Vec<_>>(), expected);
        assert!(!state.agree);
    }

    #[test]
    fn who_was_stopped_is_not_gone() {
        let mut stopped = replica("c", 99, &[]);
        stopped.has_ended = true;
        let state = state(vec![stopped, replica("a", 98, &[("r", 1, 0.0)])]);
        let lives = state.replicas.iter().map(|it| it.state);
        assert_eq!(lives.collect::<Vec<_>>(), [Life::Alive, Life::Stopped]);
        assert!(state.agree);
    }
}
