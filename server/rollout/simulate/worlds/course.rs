//! One rollout in a world, from its start until it is over: the code that runs real ones, but for its store.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BinaryHeap, HashMap},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};

use super::{
    super::random::Random,
    DAY, HOUR, MINUTE,
    answers::{DrawnAnswer, WorldModels},
    case::{Case, Oddity},
    people::{self, People, WorldRequest, WorldUser},
};
use crate::{
    _core::{
        actor::Actor,
        assignment::{Algorithm, Variant},
        units::Percent,
    },
    alerting::Alert,
    providers::quality::Quality,
    recording::{Attempted, Event, Outcome},
    rollout::{
        evidence::{Strata, UserHistory},
        plan::Plan,
        record::Action,
        rollout::{Author, Beginning, CommandKind, Rollout, Transition},
        status::{self, Moment, RunState},
        world::World,
    },
};

/// Monday, 5 January 2026, 10:00 UTC.
const BEGIN_MS: i64 = 1_767_607_200_000;
/// Between two ticks, and while an outage is waited for. The server ticks each second.
const TICK: f64 = 2.0 * MINUTE;
const TICK_IN_OUTAGE: f64 = MINUTE / 2.0;
/// A person needs so long to open a gate, at work.
const ASKED_FOR: f64 = 2.0 * HOUR;
/// What a person does who moves the share by hand, every eight hours.
const BY_HAND: [f64; 6] = [50.0, 10.0, 30.0, 5.0, 50.0, 20.0];
const BY_HAND_EVERY: f64 = 8.0 * HOUR;
const PAUSED: (f64, f64) = (24.0 * HOUR, 96.0 * HOUR);

/// What a rollout came to.
#[derive(Clone, Debug, Default)]
pub(super) struct RolloutResult {
    /// After so many hours.
    pub taken_back: Option<f64>,
    /// Why, how often; without its figures.
    pub reasons: BTreeMap<String, u32>,
    pub is_complete: bool,
    /// Requests that failed on the candidate.
    pub errors: u32,
    /// How often a person was asked at a gate.
    pub asked: u32,
    pub hours_held: f64,
    /// Why it was held, how often.
    pub holds: BTreeMap<String, u32>,
    /// How often each kind of alert was sent.
    pub alerts: BTreeMap<String, u32>,
}

/// An event on its way into the log.
struct Pending {
    at_ms: f64,
    event: Event,
}

impl PartialEq for Pending {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Pending {}

impl PartialOrd for Pending {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pending {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at_ms.total_cmp(&other.at_ms)
    }
}

struct Course {
    case: Case,
    random: Random,
    people: People,
    models: WorldModels,
    rollout: Rollout,
    world: World,
    actor: Actor,
    pending: BinaryHeap<Reverse<Pending>>,
    seq: i64,
    asked_ms: f64,
    moved_by_hand: usize,
    is_merged: bool,
    seen: RolloutResult,
}

/// Runs one.
pub(super) fn run(case: Case, plan: Plan, mut random: Random) -> RolloutResult {
    let mut people = People::draw(case, &mut random);
    let mut models = WorldModels::draw(case, &mut random);
    let strata = history(&mut people, &mut models, &mut random);
    let start = moment(&case, 0.0);
    let ids = std::sync::Mutex::new(Random::new(random.next(), 0, 0));
    let world = World::new(
        move || start,
        move || ids.lock().map_or(0, |mut it| it.next().into()),
    );
    let actor = Actor::User(1);
    let beginning = Beginning {
        plan,
        algorithm: Algorithm::Murmur3,
        salt: "worlds".to_owned(),
        strata,
        models: vec![status::Models {
            tasks: vec!["chat".to_owned()],
            control: vec!["control".to_owned()],
            candidate: vec!["candidate".to_owned()],
        }],
        cursor: 0,
    };
    let by = Author {
        actor: &actor,
        reason: "simulated",
    };
    let mut rollout = Rollout::begin(beginning, Vec::new(), by, start, &world).rollout;
    rollout.is_open = true;
    let course = Course {
        case,
        random,
        people,
        models,
        rollout,
        world,
        actor,
        pending: BinaryHeap::new(),
        seq: 0,
        asked_ms: 0.0,
        moved_by_hand: 0,
        is_merged: false,
        seen: RolloutResult::default(),
    };
    course.run()
}

/// The week before, on control.
fn history(people: &mut People, models: &mut WorldModels, random: &mut Random) -> Strata {
    let mut week: HashMap<usize, UserHistory> = HashMap::new();
    loop {
        let request = people.next(random);
        if request.at_ms >= 0.0 {
            break;
        }
        let user = people.all[request.user];
        let answer = models.answer(&request, &user, Variant::Control, random);
        ask_again(people, &request, &answer, random);
        if !user.is_known {
            continue;
        }
        let past = week.entry(request.user).or_insert(UserHistory {
            subject: user.key,
            ..UserHistory::default()
        });
        match answer.outcome {
            Outcome::Success => {
                past.requests += 1;
                past.answers += 1;
                past.flawed += u32::from(answer.quality == Some(Quality::Truncated));
                match answer.first_words_ms {
                    Some(ms) => past.first_words.add(ms),
                    None => past.latencies.add(answer.latency_ms),
                }
            }
            Outcome::Fault(kind) if kind.is_models_fault() => {
                past.requests += 1;
                past.errors += 1;
            }
            _ => {}
        }
    }
    people.begin();
    Strata::new(week.into_values())
}

fn ask_again(
    people: &mut People,
    request: &WorldRequest,
    answer: &DrawnAnswer,
    random: &mut Random,
) {
    if !answer.is_asked_again {
        return;
    }
    let user = match people.is_by_another_id() {
        true => people.again_as_another(request.user, random),
        false => request.user,
    };
    people.ask_again(WorldRequest {
        at_ms: request.at_ms + answer.latency_ms + 1_000.0,
        user,
        tries: request.tries + 1,
        is_doomed: request.is_doomed,
    });
}

/// Milliseconds since 1970 by the server's clock.
fn stamp(case: &Case, at_ms: f64) -> i64 {
    BEGIN_MS + (at_ms + case.clock_ahead_ms(at_ms)) as i64
}

fn wall(case: &Case, at_ms: f64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(stamp(case, at_ms)).unwrap_or_default()
}

fn moment(case: &Case, at_ms: f64) -> Moment {
    Moment {
        wall: wall(case, at_ms),
        monotonic: Duration::from_millis(at_ms as u64),
    }
}

impl Course {
    fn run(mut self) -> RolloutResult {
        self.begin_stage(0.0);
        let mut tick_ms = 0.0;
        let mut request = self.people.next(&mut self.random);
        loop {
            let every = match self.rollout.status.outage {
                Some(_) => TICK_IN_OUTAGE,
                None => TICK,
            };
            let next_tick_ms = tick_ms + every;
            let event_ms = self.pending.peek().map_or(f64::INFINITY, |it| it.0.at_ms);
            let now_ms = event_ms.min(request.at_ms).min(next_tick_ms);
            if now_ms > self.case.days * DAY {
                return self.seen;
            }
            if now_ms == event_ms {
                self.record();
            } else if now_ms == request.at_ms {
                self.serve(&request);
                request = self.people.next(&mut self.random);
            } else {
                let passed_ms = now_ms - tick_ms;
                tick_ms = now_ms;
                self.tick(now_ms, passed_ms);
            }
            match self.rollout.status.state {
                RunState::RolledBack => {
                    self.seen.taken_back = Some(now_ms / HOUR);
                    let reason = self.rollout.status.reason.split([':', ',']).next();
                    let reason = reason.unwrap_or_default().to_owned();
                    *self.seen.reasons.entry(reason).or_default() += 1;
                    return self.seen;
                }
                RunState::Completed => {
                    self.seen.is_complete = true;
                    return self.seen;
                }
                _ => {}
            }
        }
    }

    /// An event comes into the log.
    fn record(&mut self) {
        let Some(Reverse(Pending { at_ms, mut event })) = self.pending.pop() else {
            return;
        };
        self.seq += 1;
        event.seq = self.seq;
        self.rollout.fold(&event);
        let is_error = matches!(event.outcome, Outcome::Fault(_));
        self.seen.errors += u32::from(is_error && event.variant == Variant::Candidate);
        if self.rollout.ledger.is_rollback_due() {
            self.look(at_ms);
        }
    }

    fn look(&mut self, at_ms: f64) -> bool {
        let action = self.rollout.look(moment(&self.case, at_ms), &self.world);
        self.write_owed();
        action.is_some()
    }

    /// What is in force and owed to the store is stored at once.
    fn write_owed(&mut self) {
        for owed in std::mem::take(&mut self.rollout.owed) {
            self.note_alerts(&owed.alerts);
        }
    }

    fn note_alerts(&mut self, alerts: &[Alert]) {
        for alert in alerts {
            let kind = format!("{:?}", alert.kind);
            *self.seen.alerts.entry(kind).or_default() += 1;
        }
    }

    fn serve(&mut self, request: &WorldRequest) {
        let user = self.people.all[request.user];
        let share = self.rollout.live().share.get() / 100.0;
        let variant = match user.bucket < share {
            true => Variant::Candidate,
            false => Variant::Control,
        };
        let models = &mut self.models;
        let answer = models.answer(request, &user, variant, &mut self.random);
        ask_again(&mut self.people, request, &answer, &mut self.random);
        if self.case.oddity == Oddity::LeaveForGood
            && self.case.is_worse()
            && variant == Variant::Candidate
            && answer.outcome != Outcome::Success
            && self.random.happens(0.1)
        {
            self.people.all[request.user].leaves_ms = request.at_ms;
        }
        let mut event = self.event(&user, variant, &answer);
        let end_ms = request.at_ms + answer.latency_ms;
        event.at_ms = stamp(&self.case, end_ms);
        let waited_ms = answer.first_words_ms.unwrap_or(answer.latency_ms);
        let late_ms = self.rollout.ledger.late_after_ms();
        if let Some(late_ms) = late_ms.filter(|late_ms| waited_ms > *late_ms) {
            let at_ms = request.at_ms + late_ms;
            let open = event.late(stamp(&self.case, at_ms), late_ms);
            self.pending.push(Reverse(Pending { at_ms, event: open }));
            event.was_open = true;
        }
        self.pending.push(Reverse(Pending {
            at_ms: end_ms,
            event,
        }));
    }

    fn event(&self, user: &WorldUser, variant: Variant, answer: &DrawnAnswer) -> Event {
        let mut event = Event::of_attempt(Attempted {
            request_id: "simulated".into(),
            subject: None,
            rollout: Some(Arc::from(self.rollout.status.id.as_str())),
            counted: true,
            model: "simulated".into(),
            task: "chat".into(),
            variant,
            position: 0,
        });
        let has_text = answer.outcome == Outcome::Success || answer.first_words_ms.is_some();
        event.subject = Some(user.key);
        event.latency_ms = answer.latency_ms;
        event.first_token_ms = answer.first_words_ms;
        event.words_ms = answer.first_words_ms.map(|ms| ms as u32);
        event.outcome = answer.outcome;
        event.quality = answer.quality;
        event.answer_chars = has_text.then_some(answer.chars as u32);
        event
    }

    /// What the server does each second, and people now and then.
    fn tick(&mut self, at_ms: f64, passed_ms: f64) {
        if let Some(outage) = &mut self.rollout.status.outage {
            let is_answered = self.models.answers_probe(at_ms, &mut self.random);
            outage.probed(Some(is_answered), wall(&self.case, at_ms));
        }
        if matches!(self.rollout.status.state, RunState::Holding { .. }) {
            self.seen.hours_held += passed_ms / HOUR;
        }
        if self.look(at_ms) {
            return;
        }
        let passed = Duration::from_millis(passed_ms as u64);
        let transition = self
            .rollout
            .step(passed, moment(&self.case, at_ms), &self.world);
        let alerts = std::mem::take(&mut self.rollout.alerts);
        self.note_alerts(&alerts);
        if let Some(transition) = transition {
            let action = transition.audit.action;
            self.take(transition);
            match self.rollout.status.state {
                RunState::Holding { because } if action == Action::Held => {
                    *self.seen.holds.entry(format!("{because:?}")).or_default() += 1;
                }
                _ if action == Action::Advanced => self.begin_stage(at_ms),
                RunState::WaitingAtGate { .. } => {
                    self.seen.asked += 1;
                    self.asked_ms = at_ms;
                }
                _ => {}
            }
        }
        self.people_act(at_ms);
    }

    fn take(&mut self, transition: Transition) {
        self.note_alerts(&transition.alerts);
        self.rollout = transition.rollout;
        self.rollout.alerts.clear();
        self.rollout.is_open = true;
    }

    fn begin_stage(&mut self, at_ms: f64) {
        if self.case.oddity == Oddity::AtRamp {
            let (from, until) = (at_ms + 2.0 * MINUTE, at_ms + 7.0 * MINUTE);
            self.models.go_away(from, until);
        }
    }

    fn people_act(&mut self, at_ms: f64) {
        let now = people::LocalMoment::of(&self.case, at_ms);
        let is_at_work = now.is_working() && (9.0..17.0).contains(&now.hour);
        let is_waiting = matches!(self.rollout.status.state, RunState::WaitingAtGate { .. });
        if is_waiting && is_at_work && at_ms - self.asked_ms > ASKED_FOR {
            self.command(CommandKind::Approve, at_ms);
            self.begin_stage(at_ms);
        }
        match self.case.oddity {
            Oddity::ByHand
                if self.moved_by_hand < 40
                    && at_ms > BY_HAND_EVERY * (self.moved_by_hand + 1) as f64 =>
            {
                let to = BY_HAND[self.moved_by_hand % BY_HAND.len()];
                self.moved_by_hand += 1;
                if let Some(to) = Percent::new(to) {
                    self.command(CommandKind::SetShare(to), at_ms);
                }
            }
            Oddity::Pause => {
                let is_paused = self.rollout.status.state == RunState::Paused;
                let is_meant = (PAUSED.0..PAUSED.1).contains(&at_ms);
                if is_meant && !is_paused {
                    self.command(CommandKind::Pause, at_ms);
                } else if is_paused && !is_meant {
                    self.command(CommandKind::Resume, at_ms);
                }
            }
            Oddity::Bot if self.rollout.status.share.get() >= 50.0 => {
                self.people.join(at_ms, &mut self.random);
            }
            Oddity::Merged if at_ms >= 2.0 * DAY && !self.is_merged => {
                self.is_merged = true;
                self.people.merge(&mut self.random);
            }
            _ => {}
        }
    }

    /// A person's change; one that is refused changes nothing.
    fn command(&mut self, kind: CommandKind, at_ms: f64) {
        let finding = || self.rollout.judge(wall(&self.case, at_ms)).0;
        let Ok(kind) = self.rollout.answer(kind, wall(&self.case, at_ms), finding) else {
            return;
        };
        let by = Author {
            actor: &self.actor,
            reason: "simulated",
        };
        if kind.lowers(self.rollout.status.share) {
            self.rollout
                .lower(kind, by, moment(&self.case, at_ms), &self.world);
            self.write_owed();
        } else {
            let transition =
                self.rollout
                    .transition(kind, by, moment(&self.case, at_ms), &self.world);
            self.take(transition);
        }
    }
}
