//! Which users a start moves which way.
//!
//! Users are not looked at one by one: a hash spreads them evenly, so a share of buckets is that share
//! of users. Where the salt stays, whoever was below the smaller share stays; where a new one is drawn,
//! old and new places have nothing to do with each other.

use std::collections::BTreeMap;

use super::{
    arms::PerArm,
    plan::{KnownNames, Plan, is_rehearsal},
    status::Models,
};
use crate::_core::{
    assignment::Algorithm,
    assignment::Variant::{self, Candidate, Control},
    feature_flags::{FeatureFlags, LiveRollout, LiveShares},
    units::Percent,
};

/// Less than this percentage of users is nobody.
const NOBODY: f64 = 1e-9;

/// Who moves, by groups of tasks for which it is the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserMoves {
    /// A sentence each.
    pub words: Vec<String>,
    /// The largest percentage of users who lose the model that they have from a rollout or the live
    /// share, 0 to 100.
    pub taken_back: f64,
}

/// How subjects become buckets, as far as a start decides it.
#[derive(Clone, Copy)]
pub struct Draw<'a> {
    /// Drawn for the rollout.
    pub salt: &'a str,
    /// From a subject to its bucket.
    pub algorithm: Algorithm,
    /// Subjects below it get the candidate.
    pub share: Percent,
}

impl KnownNames {
    /// The models that a plan's arms have, for groups of tasks where they are the same.
    pub fn models_of(&self, plan: &Plan) -> Vec<Models> {
        let mut groups: Vec<Models> = Vec::new();
        for task in self.tasks_of(plan) {
            let PerArm { control, candidate } =
                self.routes_of(&task, &plan.control, &plan.candidate);
            let same = groups
                .iter_mut()
                .find(|it| it.control == control && it.candidate == candidate);
            match same {
                Some(group) => group.tasks.push(task),
                None => groups.push(Models {
                    tasks: vec![task],
                    control,
                    candidate,
                }),
            }
        }
        groups.retain(|it| !it.control.is_empty() || !it.candidate.is_empty());
        groups
    }

    fn tasks_of(&self, plan: &Plan) -> Vec<String> {
        if plan.tasks.is_empty() {
            self.routes.keys().cloned().collect()
        } else {
            plan.tasks.clone()
        }
    }

    /// Control's and the candidate's models, bundles by their versions: a plan's own, else the catalog's; none where
    /// neither is known.
    fn routes_of(
        &self,
        task: &str,
        control: &Option<Vec<String>>,
        candidate: &Option<Vec<String>>,
    ) -> PerArm<Vec<String>> {
        // A task that the catalog does not know has no models of its own.
        let catalog = self.routes.get(task).cloned().unwrap_or_default();
        let versioned = |names: &Option<Vec<String>>| {
            let names = names.as_ref()?.iter();
            let whole = names.map(|name| self.bundles.get(name).unwrap_or(name).clone());
            Some(whole.collect())
        };
        PerArm {
            control: versioned(control).unwrap_or(catalog.control),
            candidate: versioned(candidate).unwrap_or(catalog.candidate),
        }
    }
}

impl UserMoves {
    /// What a start of this plan does to users who are served now.
    pub fn of(plan: &Plan, draw: Draw<'_>, known: &KnownNames, flags: &FeatureFlags) -> Self {
        if is_rehearsal(&plan.tasks) {
            return Self {
                words: vec!["no user is moved: this is a rehearsal".to_owned()],
                taken_back: 0.0,
            };
        }
        let live = flags.live();
        let mut by_words: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut taken_back = 0.0_f64;
        let mut tasks = known.tasks_of(plan);
        if tasks.is_empty() {
            // Whatever they are called.
            tasks.push("all tasks".to_owned());
        }
        for task in tasks {
            let before = flags.assign(&task, None).rollout;
            let (words, taken) = of_task(&task, plan, draw, before.as_deref(), &live, known);
            taken_back = taken_back.max(taken);
            by_words.entry(words).or_default().push(task);
        }
        let is_one = by_words.len() == 1;
        let words = by_words.into_iter().map(|(words, tasks)| {
            if is_one {
                words
            } else {
                format!("{}: {words}", tasks.join(", "))
            }
        });
        Self {
            words: words.collect(),
            taken_back,
        }
    }
}

fn of_task(
    task: &str,
    plan: &Plan,
    draw: Draw<'_>,
    before: Option<&LiveRollout>,
    live: &LiveShares,
    known: &KnownNames,
) -> (String, f64) {
    let (share, old, is_same_draw) = match before {
        Some(it) => (
            it.share,
            known.routes_of(task, &it.control, &it.candidate),
            it.salt == draw.salt && it.algorithm == draw.algorithm,
        ),
        None => (
            live.steered.share,
            known.routes_of(task, &None, &None),
            false,
        ),
    };
    let new = known.routes_of(task, &plan.control, &plan.candidate);
    let share = if live.steered.killed {
        0.0
    } else {
        share.get() / 100.0
    };
    let parts = parts(share, draw.share.get() / 100.0, is_same_draw);
    let mut taken_back = 0.0;
    let mut words = Vec::new();
    for (from, to) in [
        (Candidate, Control),
        (Candidate, Candidate),
        (Control, Candidate),
        (Control, Control),
    ] {
        let percent = parts[from][to] * 100.0;
        let [old, new] = [(&old, from), (&new, to)].map(|(routes, arm)| name(routes, arm));
        if percent < NOBODY || old == new {
            continue;
        }
        let percent_text = (percent * 1e3).round() / 1e3;
        if (from, to) == (Candidate, Control) {
            taken_back += percent;
            words.push(format!(
                "{percent_text} % of users are taken back from {old} to {new}"
            ));
        } else {
            words.push(format!(
                "{percent_text} % of users move from {old} to {new}"
            ));
        }
    }
    if words.is_empty() {
        words.push("no user gets another model".to_owned());
    }
    (words.join("; "), taken_back)
}

/// By the arm before and after, the share of users, 0 to 1.
fn parts(before: f64, after: f64, is_same_draw: bool) -> PerArm<PerArm<f64>> {
    let both = if is_same_draw {
        before.min(after)
    } else {
        before * after
    };
    PerArm {
        control: PerArm {
            control: 1.0 - before - after + both,
            candidate: after - both,
        },
        candidate: PerArm {
            control: before - both,
            candidate: both,
        },
    }
}

/// An arm's primary model, or the arm where that is not known.
fn name(routes: &PerArm<Vec<String>>, arm: Variant) -> String {
    match (routes[arm].first(), arm) {
        (Some(model), _) => format!("`{model}`"),
        (None, Control) => "control".to_owned(),
        (None, Candidate) => "the candidate".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_users_are_those_of_the_buckets() {
        let parts = |before, after, is_same_draw| {
            let parts = parts(before, after, is_same_draw);
            [parts.control, parts.candidate].map(|it| [it.control, it.candidate])
        };
        assert_eq!(parts(1.0, 0.25, true), [[0.0, 0.0], [0.75, 0.25]]);
        assert_eq!(parts(0.25, 1.0, true), [[0.0, 0.75], [0.0, 0.25]]);
        assert_eq!(parts(1.0, 0.25, false), [[0.0, 0.0], [0.75, 0.25]]);
        let [[stay, come], [go, keep]] = parts(0.5, 0.1, false);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(close(stay, 0.45) && close(come, 0.05) && close(go, 0.45) && close(keep, 0.05));
    }
}
