//! All moves: what is in force, what is seen, and what follows from it.
//!
//! What leads back to the old server is in force at once, in memory, and *owed* to the store until it is
//! written; what leads away from it is written first (as in `live_flags`). Several processes may write: each
//! reads what is stored once a second, and adds what it saw to the reports that all share.

mod table;
mod writing;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use uuid::Uuid;

pub use self::writing::MoveError;
use self::{
    table::{MoveTable, laid_over},
    writing::MoveWriter,
};
use super::{
    compare::{AnswerDifference, ComparedPart, ComparisonRules},
    evidence::{CallWatch, MoveOutcome},
    guard::{MoveEvidence, OutcomePairing, WINS},
    mode::{Mode, Move, covers},
    notices,
    report::{CallCounts, MoveTally},
    store::MoveStore,
};
use crate::{
    _core::{
        actor::Actor,
        assignment::{self, Algorithm, Subject},
        clock,
        procedure::{Procedure, ProcedureKind},
        units::Percent,
    },
    alerting::Alert,
};

/// By which moves themselves are steered; it is never asked of the old server.
const OWN: &str = "migration.*";

/// What the settings say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `LEGACY_PROCEDURES`: what the old server answers where there is no move.
    pub kept: Vec<String>,
    /// How users become buckets, as in rollouts.
    pub algorithm: Algorithm,
    /// Mixed into that.
    pub salt: String,
    /// `LEGACY_MAY_DIFFER`.
    pub may_differ: Vec<ComparedPart>,
    /// `LEGACY_UNORDERED`.
    pub unordered: Vec<ComparedPart>,
    /// `LEGACY_TOLERATED_DIFFERENCES`: the part of the compared answers that may differ.
    pub tolerated: Percent,
    /// `LEGACY_MAX_SHADOWS`: calls that are compared at once.
    pub shadows: usize,
}

/// Which server answers a call, and what is to be noted of it.
#[derive(Clone, Debug)]
pub enum MoveWay {
    /// This one.
    Ours(Option<CallWatch>),
    /// The old one.
    Theirs(Option<CallWatch>),
}

/// What is known of one procedure.
#[derive(Clone, Debug)]
pub struct ProcedureMove {
    /// Its name.
    pub procedure: &'static str,
    /// How it is called.
    pub kind: ProcedureKind,
    /// Who answers.
    pub mode: Mode,
    /// Whom this server answers.
    pub share: Percent,
    /// What says so; `None` for the settings.
    pub of: Option<Arc<Move>>,
    /// What was seen since then.
    pub tally: MoveTally,
    /// What the bets about the move have come to with what this process bets.
    pub evidence: MoveEvidence,
}

/// All moves; shared by the wire, which asks the way, and the procedures, which change it.
pub struct Moves {
    store: Arc<dyn MoveStore>,
    settings: Settings,
    table: ArcSwap<MoveTable>,
    inner: Mutex<Inner>,
    writer: tokio::sync::Mutex<MoveWriter>,
    shadows: Arc<Semaphore>,
    /// Names this start of the process, to those who come after it.
    holder: String,
    /// Asks for a write before its time.
    hurry: Notify,
    procedures: OnceLock<Vec<(&'static str, ProcedureKind)>>,
}

/// What changes.
#[derive(Default)]
struct Inner {
    stored: BTreeMap<String, Arc<Move>>,
    /// What leads back and is not stored, by name.
    owed: BTreeMap<String, OwedMoveBack>,
    owed_since: Option<Instant>,
    /// By the id of the move.
    guards: HashMap<String, OutcomePairing>,
    /// What all processes have stored, by procedure.
    reports: BTreeMap<String, MoveTally>,
    /// What this one has seen besides.
    seen: BTreeMap<String, MoveTally>,
}

/// A move back that is in force and not stored.
#[derive(Clone)]
struct OwedMoveBack {
    change: Arc<Move>,
    /// The move that the evidence was of, and what people are told; none where a person wants it.
    taken: Option<(String, Alert)>,
}

impl Moves {
    /// Reads the moves and brings them into force.
    pub async fn open(store: Arc<dyn MoveStore>, settings: Settings) -> anyhow::Result<Arc<Self>> {
        let this = Arc::new(Self {
            store,
            table: ArcSwap::default(),
            inner: Mutex::default(),
            writer: tokio::sync::Mutex::default(),
            shadows: Arc::new(Semaphore::new(settings.shadows)),
            settings,
            holder: Uuid::now_v7().to_string(),
            hurry: Notify::new(),
            procedures: OnceLock::new(),
        });
        this.read(true).await?;
        Ok(this)
    }

    /// Sets which procedures there are.
    pub fn know<'p>(&self, procedures: impl Iterator<Item = &'p Arc<Procedure>>) {
        let all = procedures.map(|it| (it.path, it.kind)).collect();
        // Whoever comes second says the same.
        let _ = self.procedures.set(all);
    }

    /// The procedures that a name covers: itself, or those of a namespace.
    pub fn covered(&self, name: &str) -> Vec<&'static str> {
        let all = self.procedures.get().into_iter().flatten();
        let covered = all.map(|(path, _)| *path).filter(|it| covers(name, it));
        covered.filter(|it| !covers(OWN, it)).collect()
    }

    /// The move of a procedure. Whoever asks for the way needs the user only where it is a share.
    pub fn of(&self, procedure: &str) -> Option<Arc<Move>> {
        self.table.load().of(procedure).cloned()
    }

    /// Which server answers a call of this user.
    pub fn way(&self, of: Option<Arc<Move>>, procedure: &Procedure, user: Option<i64>) -> MoveWay {
        let path = procedure.path;
        let Some(of) = of.filter(|_| !covers(OWN, path)) else {
            return match self.is_kept(path) {
                true => MoveWay::Theirs(None),
                false => MoveWay::Ours(None),
            };
        };
        let user = user.and_then(Subject::user);
        let is_in = |subject: &Subject| {
            let bucket = assignment::bucket(self.settings.algorithm, &self.settings.salt, subject);
            assignment::is_in(bucket, of.share)
        };
        let is_ours = match of.mode {
            Mode::Legacy | Mode::Shadow => false,
            Mode::Native => true,
            Mode::Share => user.as_ref().is_some_and(is_in),
        };
        let is_watched = matches!(of.mode, Mode::Shadow | Mode::Share)
            && procedure.kind != ProcedureKind::Subscription
            && (of.mode == Mode::Share || procedure.kind == ProcedureKind::Query);
        let watch = is_watched.then(|| CallWatch {
            procedure: path,
            user: user.as_ref().map(Subject::key),
            compares: !is_ours && procedure.kind == ProcedureKind::Query,
            of,
        });
        match is_ours {
            true => MoveWay::Ours(watch),
            false => MoveWay::Theirs(watch),
        }
    }

    fn is_kept(&self, procedure: &str) -> bool {
        let mut kept = self.settings.kept.iter();
        !covers(OWN, procedure) && kept.any(|kept| covers(kept, procedure))
    }

    /// What need not be the same in the answers of a procedure.
    pub fn rules(&self, watch: &CallWatch) -> ComparisonRules {
        let Settings {
            may_differ,
            unordered,
            ..
        } = &self.settings;
        ComparisonRules::of(watch.procedure, may_differ, unordered)
    }

    /// A place to compare one more call; without one it is counted as dropped.
    pub fn place(&self, watch: &CallWatch) -> Option<OwnedSemaphorePermit> {
        let place = self.shadows.clone().try_acquire_owned().ok();
        if place.is_none() {
            self.see(watch, |tally, _, _| tally.dropped += 1);
        }
        place
    }

    /// This server has answered a user.
    pub fn note_ours(&self, watch: &CallWatch, outcome: MoveOutcome) {
        self.see(watch, |tally, guard, now| {
            count(&mut tally.ours, outcome);
            if let Some(guard) = guard {
                guard.add_ours(watch, outcome, now);
            }
        });
    }

    /// The old server has answered a user.
    pub fn note_theirs(&self, watch: &CallWatch, outcome: MoveOutcome) {
        self.see(watch, |tally, guard, now| {
            count(&mut tally.theirs, outcome);
            if let Some(guard) = guard {
                guard.add_theirs(watch, outcome, now);
            }
        });
    }

    /// This server was asked as well, and this is where the answers differ.
    #[expect(
        clippy::disallowed_methods,
        reason = "an example says when it was seen"
    )]
    pub fn note_compared(
        &self,
        watch: &CallWatch,
        ours: MoveOutcome,
        differences: Vec<AnswerDifference>,
    ) {
        self.see(watch, |tally, guard, now| {
            count(&mut tally.ours, ours);
            let differs = !differences.is_empty();
            tally.compared += 1;
            tally.differed += i64::from(differs);
            tally.note(differences, clock::now());
            if let Some(guard) = guard {
                guard.add_compared(watch, differs, now);
            }
        });
    }

    /// There is nothing to compare.
    pub fn note_incomparable(&self, watch: &CallWatch) {
        self.see(watch, |tally, _, _| tally.incomparable += 1);
    }

    /// Notes what was seen, and takes the move back where that proves that this server does worse. What
    /// ends after its move was changed says nothing of the new one.
    fn see(
        &self,
        watch: &CallWatch,
        note: impl FnOnce(&mut MoveTally, Option<&mut OutcomePairing>, Instant),
    ) {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        if (self.table.load().of(watch.procedure)).is_none_or(|it| it.id != watch.of.id) {
            return;
        }
        let tolerated = self.settings.tolerated.get() / 100.0;
        let Inner { seen, guards, .. } = &mut *inner;
        let tally = seen.entry(watch.procedure.to_owned()).or_default();
        if watch.of.mode != Mode::Share {
            return note(tally, None, now);
        }
        let guard = guards.entry(watch.of.id.clone());
        let guard = guard.or_insert_with(|| OutcomePairing::new(tolerated, now));
        note(tally, Some(guard), now);
        let evidence = guard.stakes.evidence();
        if let Some(why) = evidence.verdict() {
            self.take_back(&mut inner, &watch.of, why, evidence);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "it is taken back now")]
    fn take_back(&self, inner: &mut Inner, of: &Arc<Move>, why: &str, evidence: MoveEvidence) {
        let MoveEvidence {
            fails,
            refuses,
            slower,
            differs,
        } = evidence;
        let change = Move {
            id: Uuid::now_v7().to_string(),
            name: of.name.clone(),
            mode: Mode::Legacy,
            share: Percent::ZERO,
            at: clock::now(),
            actor: Actor::Controller,
            reason: format!(
                "{why} (of bets that win at {WINS}: fails {fails:.1}, refuses {refuses:.1}, differs {differs:.1}, slower {slower:.1})"
            ),
        };
        tracing::warn!(name = change.name, reason = change.reason, "taken back");
        metrics::counter!("migration_taken_back_total").increment(1);
        let alert = notices::taken_back(&change, of, evidence);
        let owed = OwedMoveBack {
            change: Arc::new(change),
            taken: Some((of.id.clone(), alert)),
        };
        self.owe(inner, owed);
    }

    /// Brings a move back into force.
    fn owe(&self, inner: &mut Inner, owed: OwedMoveBack) {
        inner.owed.insert(owed.change.name.clone(), owed);
        self.publish(inner);
        self.hurry.notify_one();
    }

    fn publish(&self, inner: &mut Inner) {
        inner.owed_since = match inner.owed.is_empty() {
            true => None,
            false => inner.owed_since.or_else(|| Some(Instant::now())),
        };
        let in_force = laid_over(&inner.stored, &inner.owed);
        inner
            .guards
            .retain(|id, _| in_force.values().any(|it| it.id == *id));
        let tolerated = self.settings.tolerated.get() / 100.0;
        for of in in_force.values().filter(|it| it.mode == Mode::Share) {
            let guard = inner.guards.entry(of.id.clone());
            guard.or_insert_with(|| OutcomePairing::new(tolerated, Instant::now()));
        }
        self.table.store(Arc::new(MoveTable(in_force)));
    }

    /// All procedures that may move, by name, with what is known of them.
    pub fn all(&self) -> Vec<ProcedureMove> {
        let inner = self.inner.lock();
        let table = self.table.load();
        let all = self.procedures.get().into_iter().flatten();
        let known = all
            .filter(|(path, _)| !covers(OWN, path))
            .map(|&(procedure, kind)| {
                let of = table.of(procedure).cloned();
                let (mode, share) = match (&of, self.is_kept(procedure)) {
                    (Some(of), _) => (of.mode, of.share),
                    (None, true) => (Mode::Legacy, Percent::ZERO),
                    (None, false) => (Mode::Native, Percent::FULL),
                };
                let mut tally = inner.reports.get(procedure).cloned().unwrap_or_default();
                if let Some(seen) = inner.seen.get(procedure) {
                    tally.add(seen);
                }
                let guard = of.as_ref().and_then(|of| inner.guards.get(&of.id));
                ProcedureMove {
                    procedure,
                    kind,
                    mode,
                    share,
                    tally,
                    evidence: guard
                        .map(|guard| guard.stakes.evidence())
                        .unwrap_or_default(),
                    of,
                }
            });
        known.collect()
    }

    /// Whether a change is stored.
    pub fn is_stored(&self, id: &str) -> bool {
        let inner = self.inner.lock();
        !inner.owed.values().any(|owed| owed.change.id == id)
    }
}

fn count(calls: &mut CallCounts, outcome: MoveOutcome) {
    let MoveOutcome {
        failed,
        refused,
        took,
    } = outcome;
    calls.count += 1;
    calls.failed += i64::from(failed);
    calls.refused += i64::from(refused);
    let micros = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
    calls.micros = calls.micros.saturating_add(micros);
}

/// Registers the help text of the counter.
pub fn describe() {
    metrics::describe_counter!(
        "migration_taken_back_total",
        "Moves of procedures that were taken back to the old server"
    );
}
