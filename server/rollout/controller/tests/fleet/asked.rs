//! What people ask, and how lowerings come to the process that leads: as `fleet` hands them over, by a table.

use std::collections::HashMap;

use rand::Rng as _;

use super::*;

/// What the one that leads answers: the version that it made, or nothing where it refused.
type Answer = Option<i64>;

/// A lowering in the table.
#[derive(Clone)]
pub(in crate::rollout::controller::tests) struct Handed {
    number: usize,
    lowering: Lowering,
    /// Whether it is as a person asked for it, who is refused where it is based on an old version.
    is_persons: bool,
    answer: Option<Answer>,
}

/// What one process has in force and has not seen answered.
struct Owing {
    place: usize,
    handed: Handed,
    /// Whether whoever asked waits to hear the answer.
    is_awaited: bool,
}

/// Lowerings under way.
#[derive(Default)]
pub(super) struct Asked {
    count: usize,
    owed: Vec<Owing>,
    /// What each process did and has not said, by number.
    unsaid: HashMap<usize, HashMap<usize, Answer>>,
}

impl Asked {
    fn add(&mut self, place: usize, lowering: Lowering, is_persons: bool, is_awaited: bool) {
        self.count += 1;
        self.owed.push(Owing {
            place,
            handed: Handed {
                number: self.count,
                lowering,
                is_persons,
                answer: None,
            },
            is_awaited,
        });
    }

    /// The least share that a process owes.
    pub(super) fn least_owed(&self, place: usize) -> Option<f64> {
        let owed = self.owed.iter().filter(|it| it.place == place);
        let shares = owed.map(|it| match it.handed.lowering.kind {
            CommandKind::SetShare(share) => share.get(),
            _ => 0.0,
        });
        shares.reduce(f64::min)
    }

    /// A process is gone.
    pub(super) fn forget(&mut self, place: usize) {
        self.owed.retain(|it| it.place != place);
        self.unsaid.remove(&place);
    }
}

impl Fleet {
    /// A person moves the share, or takes everybody back.
    pub(super) async fn ask(&mut self, place: usize) -> String {
        let (id, version, is_away) = {
            let db = self.rigs[place].store.0.lock();
            let rollout = &db.rollouts[0];
            let is_away = !rollout.status["outage"].is_null();
            (rollout.id.clone(), rollout.version, is_away)
        };
        let version = version - i64::from(self.draws.random_bool(0.2));
        let percent = f64::from(self.draws.random_range(1..40));
        let share = CommandKind::SetShare(Percent::new(percent).expect("a share"));
        let (kind, words) = match self.draws.random_bool(0.15) {
            _ if is_away && self.draws.random_bool(0.5) => {
                (CommandKind::Resume, "the end of the outage".to_owned())
            }
            true => (CommandKind::RollBack, "a rollback".to_owned()),
            false => (share, format!("{percent} %")),
        };
        let command = command(&id, version, "a person", kind);
        let controller = &self.rigs[place].controller;
        // Refused where it is based on an old version, or the rollout has ended.
        let done = match controller.hands_over() {
            true => match controller.cap(command) {
                Some(lowering) => {
                    let is_awaited = self.draws.random_bool(0.5);
                    self.asked.add(place, lowering, true, is_awaited);
                    "in force"
                }
                None => "handed over in vain",
            },
            false => match controller.apply(command).await {
                Ok(_) => "done",
                Err(_) => "refused",
            },
        };
        format!("{words} on version {version}: {done}")
    }

    /// Hands over what a process owes, and lets go of what is answered.
    fn settle(&mut self, place: usize) {
        let rig = &self.rigs[place];
        let Ok(mut db) = rig.store.there() else {
            return;
        };
        let owed = std::mem::take(&mut self.asked.owed).into_iter();
        let (own, others): (Vec<_>, _) = owed.partition(|it| it.place == place);
        self.asked.owed = others;
        let mut answered = Vec::new();
        for owing in own {
            let number = owing.handed.number;
            let found = db.asked.iter().find(|it| it.number == number);
            match found.map(|it| it.answer) {
                Some(Some(answer)) => answered.push((owing, answer)),
                is_there => {
                    if is_there.is_none() {
                        db.asked.push(owing.handed.clone());
                        db.note();
                    }
                    self.asked.owed.push(owing);
                }
            }
        }
        drop(db);
        for (owing, answer) in answered {
            let Handed {
                lowering,
                is_persons,
                ..
            } = owing.handed;
            let controller = &self.rigs[place].controller;
            let is_settled = match answer {
                None if is_persons && owing.is_awaited => {
                    controller.let_go(&lowering);
                    true
                }
                None if is_persons => false,
                _ => {
                    let above = answer.map_or(lowering.based_on, |version| version - 1);
                    controller.lift(&lowering, above)
                }
            };
            if !is_settled {
                self.asked.add(place, lowering, false, false);
            }
        }
    }

    /// What one owes it hands over and sees to; what was handed over is done where it leads.
    pub(super) async fn hand_over(&mut self, place: usize) {
        for lost in self.rigs[place].controller.take_lost() {
            self.asked.add(place, lost, false, false);
        }
        self.settle(place);
        if !self.rigs[place].controller.leads() {
            self.asked.unsaid.remove(&place);
            return;
        }
        let rig = &self.rigs[place];
        let unsaid = self.asked.unsaid.entry(place).or_default();
        let Ok(asked) = rig.store.there().map(|db| db.asked.clone()) else {
            return;
        };
        let is_open = |it: &Handed| it.answer.is_none() && !unsaid.contains_key(&it.number);
        let open: Vec<_> = asked.into_iter().filter(is_open).collect();
        for handed in open {
            let Lowering { rollout, .. } = &handed.lowering;
            let mut asked = command(
                rollout,
                handed.lowering.based_on,
                "again",
                handed.lowering.kind,
            );
            let mut done = rig.controller.apply(asked.clone()).await;
            let share = match handed.lowering.kind {
                CommandKind::SetShare(share) => share,
                _ => Percent::ZERO,
            };
            if let Err(ControlError::Stale { current, .. } | ControlError::Refused { current, .. }) =
                &done
                && !handed.is_persons
            {
                let is_back = handed.lowering.kind == CommandKind::RollBack;
                if !is_back && current.outage.as_ref().is_some_and(|it| share < it.share) {
                    // It is made once the outage is over.
                    continue;
                }
                if share <= current.share {
                    asked.based_on = current.version;
                    done = rig.controller.apply(asked).await;
                }
            }
            match done {
                Ok(status) => unsaid.insert(handed.number, Some(status.version)),
                // Another process may do it.
                Err(ControlError::NotInControl | ControlError::Store(_)) => continue,
                Err(_) => unsaid.insert(handed.number, None),
            };
        }
        let Ok(mut db) = rig.store.there() else {
            return;
        };
        unsaid.retain(|number, answer| {
            let handed = db.asked.iter_mut().find(|it| it.number == *number);
            let Some(handed) = handed else { return false };
            let is_stored = answer.is_none() || !rig.controller.owes(&handed.lowering.rollout);
            if is_stored {
                handed.answer.get_or_insert(*answer);
            }
            !is_stored
        });
        db.note();
    }
}
