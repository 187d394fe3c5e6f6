//! `migration.*`: who answers the procedures that an old server has as well. Viewers look, admins change.
//!
//! They are this server's in any case, whatever is passed on.

use std::sync::Arc;

use chrono::{DateTime, SubsecRound, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::feature_flags_router::{MAX_REASON, actor, checked};
use crate::{
    _core::{
        actor::Actor,
        context::Context,
        declared::Declared,
        errors::{ErrorCode, RpcError},
        procedure::ProcedureKind,
        registry::Registry,
        units::Percent,
    },
    migration::{
        Mode, MoveError, Moves, covers,
        mode::Move,
        moves::ProcedureMove,
        report::{CallCounts, MoveTally},
    },
    procedures,
};

/// The moves; none without an old server.
pub type State = Option<Arc<Moves>>;

/// Registers the namespace.
pub fn register(registry: &mut Registry, state: impl Into<Option<State>>) {
    procedures!(registry.outline("migration", state.into());
        /// All procedures of this server: who answers them, and what was seen since that was decided. Empty
        /// where there is no old server.
        query Viewer list = list;
        /// What was seen of the procedures that a name covers, with examples of differences. Texts of answers
        /// are not shown, nor values of members that may be secret.
        query Viewer report = report, errors [UNKNOWN];
        /// Decides who answers a procedure, or all of a namespace. What leads back to the old server counts
        /// from the next call and is stored after; anything else is stored first. What was seen is
        /// counted anew.
        mutation Admin set = set, errors [
            UNKNOWN,
            Declared::new(ErrorCode::PreconditionFailed, "There is no old server."),
            Declared::new(ErrorCode::ServiceUnavailable, "It could not be stored, and is not in force."),
        ];
    );
}

const UNKNOWN: Declared = Declared::new(ErrorCode::NotFound, "This server has no such procedure.");

/// Which procedures.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WhichProcedures {
    /// A procedure, or `namespace.*`.
    #[schemars(length(min = 1, max = 200))]
    pub(crate) name: String,
}

/// Who is to answer.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SetMove {
    /// A procedure, or `namespace.*`, which takes the place of what was said of its procedures.
    #[schemars(length(min = 1, max = 200))]
    pub(crate) name: String,
    /// Who answers.
    pub(crate) mode: Mode,
    /// With `share`, and only there: the percentage of users that this server answers, above 0 and below 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) percent: Option<Percent>,
    /// Why, for those who look later; not blank.
    #[schemars(length(min = 1, max = MAX_REASON))]
    pub(crate) reason: String,
}

/// Where procedures are on their way.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Migration {
    /// Whether there is an old server.
    pub(crate) has_old_server: bool,
    /// By name.
    pub(crate) procedures: Vec<MovingProcedure>,
}

/// A procedure on its way.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MovingProcedure {
    /// Its name.
    pub(crate) procedure: String,
    /// How it is called.
    pub(crate) kind: String,
    /// Who answers.
    pub(crate) mode: Mode,
    /// The percentage of users that this server answers.
    pub(crate) percent: Percent,
    /// What was decided; null where the settings say it.
    pub(crate) decided: Option<Decided>,
    /// Answers of both servers that were compared since then.
    pub(crate) compared: i64,
    /// Those that differ.
    pub(crate) differed: i64,
    /// Calls that were to be compared and had no answer of the old server to compare with.
    pub(crate) incomparable: i64,
    /// Calls that were not compared because too many were being compared.
    pub(crate) dropped: i64,
    /// Calls that this server ran, for users or to compare.
    pub(crate) ours: CallFigures,
    /// Calls that the old server answered.
    pub(crate) theirs: CallFigures,
    /// What bets of 1 have become, as far as this process has them: at 800 the move is taken back. What a process
    /// that ended had bet with is among those of another.
    pub(crate) evidence: Stakes,
    /// How answers differed, each in another place.
    pub(crate) examples: Vec<DifferenceExample>,
}

/// Who decided, and why.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Decided {
    /// Of the procedure, or of its namespace.
    name: String,
    /// When.
    at: DateTime<Utc>,
    /// By whom; `controller` where the evidence took it back.
    pub(crate) by: Actor,
    /// Why.
    pub(crate) reason: String,
    /// Whether it is stored; false while the database does not take it.
    pub(crate) stored: bool,
}

/// Calls of one server.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CallFigures {
    /// How many.
    pub(crate) calls: i64,
    /// Those in which the server failed.
    pub(crate) failed: i64,
    /// Those that it answered with an error, whoever's fault that was; failures are among them.
    #[serde(default)]
    pub(crate) refused: i64,
    /// Their mean time in milliseconds; null without any.
    pub(crate) mean_ms: Option<f64>,
}

/// What bets have come to.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Stakes {
    /// On: this server fails more.
    fails: f64,
    /// On: it answers with errors more often, failures included.
    refuses: f64,
    /// On: its answers differ.
    differs: f64,
    /// On: it is slower.
    slower: f64,
}

/// Where two answers differed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct DifferenceExample {
    /// When.
    at: DateTime<Utc>,
    /// The place in the answer; empty for all of it.
    pub(crate) path: String,
    /// What the old server said there, masked.
    pub(crate) theirs: String,
    /// What this one said.
    pub(crate) ours: String,
}

impl MovingProcedure {
    fn new(moves: &Moves, known: ProcedureMove) -> Self {
        let ProcedureMove {
            procedure,
            kind,
            mode,
            share,
            of,
            tally,
            evidence,
        } = known;
        let MoveTally {
            compared,
            differed,
            incomparable,
            dropped,
            ours,
            theirs,
            examples,
        } = tally;
        Self {
            procedure: procedure.to_owned(),
            kind: ProcedureKind::name(kind).to_owned(),
            mode,
            percent: share,
            decided: of.map(|of| Decided {
                name: of.name.clone(),
                at: of.at.trunc_subsecs(3),
                by: of.actor.clone(),
                reason: of.reason.clone(),
                stored: moves.is_stored(&of.id),
            }),
            compared,
            differed,
            incomparable,
            dropped,
            ours: ours.into(),
            theirs: theirs.into(),
            evidence: Stakes {
                fails: evidence.fails,
                refuses: evidence.refuses,
                differs: evidence.differs,
                slower: evidence.slower,
            },
            examples: examples
                .into_iter()
                .map(|it| DifferenceExample {
                    at: it.at.trunc_subsecs(3),
                    path: it.path,
                    theirs: it.theirs,
                    ours: it.ours,
                })
                .collect(),
        }
    }
}

impl From<CallCounts> for CallFigures {
    fn from(calls: CallCounts) -> Self {
        let mean = calls.micros as f64 / 1000.0 / calls.count.max(1) as f64;
        Self {
            calls: calls.count,
            failed: calls.failed,
            refused: calls.refused,
            mean_ms: (calls.count > 0).then_some(mean),
        }
    }
}

fn covered(moves: Option<&Arc<Moves>>, name: Option<&str>) -> Migration {
    let Some(moves) = moves else {
        return Migration {
            has_old_server: false,
            procedures: Vec::new(),
        };
    };
    let known = moves.all().into_iter();
    let known = known.filter(|it| name.is_none_or(|name| covers(name, it.procedure)));
    Migration {
        has_old_server: true,
        procedures: known.map(|it| MovingProcedure::new(moves, it)).collect(),
    }
}

async fn list(state: State, _: Context) -> Result<Migration, RpcError> {
    let mut all = covered(state.as_ref(), None);
    for procedure in &mut all.procedures {
        procedure.examples.clear();
    }
    Ok(all)
}

async fn report(state: State, _: Context, input: WhichProcedures) -> Result<Migration, RpcError> {
    let found = covered(state.as_ref(), Some(&input.name));
    if found.has_old_server && found.procedures.is_empty() {
        return Err(unknown(&input.name));
    }
    Ok(found)
}

async fn set(state: State, context: Context, input: SetMove) -> Result<Migration, RpcError> {
    let (reason, actor) = (checked(&input.reason)?, actor(&context)?);
    let Some(moves) = &state else {
        return Err(RpcError::new(
            ErrorCode::PreconditionFailed,
            "there is no old server: `LEGACY_TRPC_URL` is not set",
        ));
    };
    let share = match (input.mode, input.percent) {
        (Mode::Share, Some(share)) if share > Percent::ZERO && share < Percent::FULL => share,
        (Mode::Share, share) => {
            return Err(RpcError::bad_request(format!(
                "`percent` is {}; expected a percentage above 0 and below 100 with the mode `share`",
                share.map_or_else(|| "not there".to_owned(), |it| it.to_string())
            )));
        }
        (_, Some(share)) => {
            return Err(RpcError::bad_request(format!(
                "`percent` is {share}; expected none with the mode `{}`",
                input.mode.name()
            )));
        }
        (Mode::Native, None) => Percent::FULL,
        (Mode::Legacy | Mode::Shadow, None) => Percent::ZERO,
    };
    // A procedure, or all of a namespace: what else a pattern may be, nobody looks for.
    let is_name = |name: &str| match name.strip_suffix(".*") {
        Some(space) => !space.contains(['.', '*']),
        None => !name.contains('*'),
    };
    if !is_name(&input.name) || moves.covered(&input.name).is_empty() {
        return Err(unknown(&input.name));
    }
    let change = Move {
        id: Uuid::now_v7().to_string(),
        name: input.name.clone(),
        mode: input.mode,
        share,
        at: context.received_at,
        actor,
        reason: reason.to_owned(),
    };
    moves.set(change).await.map_err(|error| {
        let text = match &error {
            MoveError::NotWritten(_) => "it could not be stored, and is not in force",
            MoveError::Late => {
                "the database does not answer; if it was stored, it comes into force"
            }
        };
        RpcError::unavailable(text, context.received_at).with_cause(error)
    })?;
    Ok(covered(Some(moves), Some(&input.name)))
}

fn unknown(name: &str) -> RpcError {
    RpcError::not_found(format!(
        "`name` is `{}`; expected a procedure of this server, or a namespace such as `chat.*`",
        name.chars().take(200).collect::<String>()
    ))
}
