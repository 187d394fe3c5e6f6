//! Changes of rollouts that are asked of a process that does not lead: it hands them over by a table to the
//! one that does, and answers what that one answers.
//!
//! What lowers a share is in force first, in memory, on the process that was asked; it is handed over however
//! long that takes, and what is stored counts again only once the one that leads has stored and answered it. A rollback
//! is handed over again until it is seen to be stored, but for one that is refused while somebody waits to hear
//! that. All else has five seconds, and is done once or not at all.

pub mod alike;
pub mod replica;
pub mod replicas;
pub mod shared_limits;
pub mod store;

use std::{collections::HashMap, future::Future, pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use uuid::Uuid;

use self::store::{CommandStore, HandedOver};
use crate::{
    _core::{
        actor::Actor,
        caller::{Caller, Role, User},
        clock,
        context::Context,
        errors::{ErrorCode, RpcError, in_full},
        failure_edge::FailureEdge,
        procedure::{Input, Leader},
        registry::Registry,
        units::Percent,
    },
    rollout::{
        controller::{Controller, Lowering},
        errors::ControlError,
        rollout::{Command, CommandKind},
    },
};

/// Between two looks at what is asked, or was answered.
const LOOK: Duration = Duration::from_millis(100);
/// Between two looks at what was asked longer ago.
const LATER: Duration = Duration::from_secs(1);
/// How long whoever asks for a lowering waits for the one that leads.
const LOWERED_PATIENCE: Duration = Duration::from_secs(2);
/// How long a command that is being done at a stop, and what became of others, are waited for.
const LAST_PATIENCE: Duration = Duration::from_secs(3);
/// After so long nobody hears an answer any more.
const UNHEARD: Duration = Duration::from_millis(2_500);
/// How long whoever asks for anything else does: as long as it may begin, and some time for its work.
const PATIENCE: Duration = Duration::from_secs(8);
/// In place of a procedure's name: what a process has in force, and nobody waits to hear of.
const LOWERING: &str = "lowering";
/// A smaller share that could not be handed over for longer than this is made on no other version than the one that it is
/// based on: who has changed the rollout since did not know of it, and has seen more.
const LONGEST_OWED: TimeDelta = TimeDelta::hours(1);
/// Lowerings whose answers are waited for at once; nobody has as many rollouts.
const MOST_OWED: usize = 256;

/// Hands changes over, and does those that were handed over where this process leads.
pub struct Fleet {
    store: Arc<dyn CommandStore>,
    controller: Arc<Controller>,
    /// Lowerings in force here that are not answered yet, by the command's id.
    owed: Mutex<HashMap<String, OwedLowering>>,
    /// What was done here as it led, or could not be, and is not stored yet.
    unsaid: Mutex<HashMap<String, Reception>>,
    outage: FailureEdge,
}

/// What becomes of a command that this process took.
#[derive(Clone)]
enum Reception {
    /// It was done, or refused.
    Answer(Value),
    /// It has lowered the share of a rollout, of this id. That is said once it is stored: who dies before has not answered,
    /// and the next one that leads does it.
    Lowered(String, Value),
    /// Another process may do it.
    GivenBack,
}

/// A lowering in force here.
#[derive(Clone)]
struct OwedLowering {
    asked: HandedOver,
    lowering: Lowering,
    /// Since when.
    since: Instant,
}

impl OwedLowering {
    /// What nobody waits to hear of, handed over from now on.
    fn again(lowering: Lowering, now: DateTime<Utc>) -> Self {
        let percent = match lowering.kind {
            CommandKind::SetShare(share) => Some(share),
            _ => None,
        };
        let input = json!({
            "id": lowering.rollout,
            "version": lowering.based_on,
            "percent": percent,
            "actor": lowering.actor,
            "reason": lowering.reason,
            "again": percent.is_none() || now - lowering.at <= LONGEST_OWED,
        });
        Self {
            asked: HandedOver {
                id: Uuid::now_v7().to_string(),
                procedure: LOWERING.to_owned(),
                input,
                user: 0,
                role: String::new(),
                lowers: true,
            },
            lowering,
            since: Instant::now(),
        }
    }

    fn may_be_heard(&self) -> bool {
        self.asked.procedure != LOWERING && self.since.elapsed() < UNHEARD
    }
}

impl Fleet {
    /// Over a database.
    pub fn new(store: Arc<dyn CommandStore>, controller: Arc<Controller>) -> Arc<Self> {
        Arc::new(Self {
            store,
            controller,
            owed: Mutex::default(),
            unsaid: Mutex::default(),
            outage: FailureEdge::default(),
        })
    }

    /// Does what is asked while this process leads, and sees to what it owes while another does, until the
    /// server stops.
    pub async fn run(
        self: Arc<Self>,
        registry: Arc<Registry>,
        stopping: impl Future<Output = ()> + Send,
    ) {
        let mut stopping = pin!(stopping);
        loop {
            let round = async {
                let leads = self.controller.leads();
                let done = match leads {
                    true => self.serve(&registry).await,
                    false => {
                        self.forget_lowered();
                        self.settle().await
                    }
                };
                match done {
                    Ok(()) => drop(self.outage.ends()),
                    Err(error) if self.outage.begins() => {
                        let error = in_full(error.as_ref());
                        tracing::error!(error, "changes cannot be handed over; it is tried again");
                    }
                    Err(_) => {}
                }
                if leads { LOOK } else { LATER }
            };
            let mut round = pin!(round);
            let pause = tokio::select! {
                () = &mut stopping => {
                    // Who has taken a command answers it, or gives it back to the next that leads.
                    let _ = timeout(LAST_PATIENCE, round).await;
                    return;
                }
                pause = &mut round => pause,
            };
            tokio::select! {
                () = &mut stopping => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// Does what was asked, one after the other.
    async fn serve(&self, registry: &Registry) -> anyhow::Result<()> {
        // What this process owed as it followed is in the table, or is asked of itself.
        self.settle().await?;
        let mut said_all = self.say().await;
        for asked in self.store.take(self.controller.holder()).await? {
            if self.unsaid.lock().contains_key(&asked.id) {
                continue;
            }
            let answer = match &*asked.procedure {
                LOWERING => self.lower_again(&asked).await,
                _ => answer(registry, &asked).await,
            };
            let said = match answer {
                // It leads no more, or the database failed.
                Err(error) if error.code == ErrorCode::ServiceUnavailable => Reception::GivenBack,
                Ok(status) if asked.lowers => {
                    let rollout = status["id"].as_str().unwrap_or_default().to_owned();
                    Reception::Lowered(rollout, written(Ok(status)))
                }
                answer => Reception::Answer(written(answer)),
            };
            self.unsaid.lock().insert(asked.id, said);
            // Whoever asks waits; what cannot be said now is said in the next round.
            said_all = self.say().await;
        }
        said_all
    }

    /// This process leads no more: who does sees to lowerings that are not stored.
    fn forget_lowered(&self) {
        let mut unsaid = self.unsaid.lock();
        unsaid.retain(|_, said| !matches!(said, Reception::Lowered(..)));
    }

    /// Stores what became of commands, however often the database fails meanwhile.
    async fn say(&self) -> anyhow::Result<()> {
        let unsaid = self.unsaid.lock().clone();
        for (id, said) in unsaid {
            match said {
                // Who leads no more owes nothing either, as what it lost is handed over.
                Reception::Lowered(rollout, _)
                    if self.controller.owes(&rollout) || !self.controller.leads() =>
                {
                    continue;
                }
                Reception::Answer(answer) | Reception::Lowered(_, answer) => {
                    self.store.done(&id, &answer).await?;
                }
                Reception::GivenBack => self.store.give_back(&id).await?,
            }
            self.unsaid.lock().remove(&id);
        }
        Ok(())
    }

    /// Hands over what is owed, and lets go of what is answered.
    async fn settle(&self) -> anyhow::Result<()> {
        for lost in self.controller.take_lost() {
            let owed = OwedLowering::again(lost, self.controller.now());
            self.owed.lock().insert(owed.asked.id.clone(), owed);
        }
        let owed: Vec<_> = self.owed.lock().values().cloned().collect();
        for owed in owed {
            let id = &owed.asked.id;
            // Each time, which adds nothing where it is there: a database that went back may have lost it.
            self.store.ask(&owed.asked).await?;
            if !owed.may_be_heard()
                && let Some(answer) = self.store.answer(id).await?
            {
                self.settled(id, &read(&answer), false);
            }
        }
        Ok(())
    }

    /// Does what another process has in force.
    async fn lower_again(&self, asked: &HandedOver) -> Result<Value, RpcError> {
        let input = &asked.input;
        let text = |name: &str| input[name].as_str().unwrap_or_default().to_owned();
        let share = input["percent"].as_f64().and_then(Percent::new);
        let mut command = Command {
            id: text("id"),
            based_on: input["version"].as_i64().unwrap_or_default(),
            actor: Actor::parse(&text("actor")),
            reason: text("reason"),
            kind: share.map_or(CommandKind::RollBack, CommandKind::SetShare),
        };
        let mut done = self.controller.apply(command.clone()).await;
        if let Err(ControlError::Stale { current, .. } | ControlError::Refused { current, .. }) =
            &done
            && input["again"] == true
        {
            let back_to = current.outage.as_ref().map(|outage| outage.share);
            if share.is_some_and(|share| back_to.is_some_and(|back_to| share < back_to)) {
                // No share moves until then; who asked keeps its own users below this one.
                let why = "it is made once the candidate's outage is over";
                return Err(RpcError::new(ErrorCode::ServiceUnavailable, why));
            }
            if share.is_none_or(|share| share < current.share) {
                command.based_on = current.version;
                done = self.controller.apply(command).await;
            }
        }
        match done {
            Ok(status) => Ok(json!({"id": status.id, "version": status.version})),
            Err(error @ (ControlError::NotInControl | ControlError::Store(_))) => Err(
                RpcError::new(ErrorCode::ServiceUnavailable, error.to_string()),
            ),
            Err(error) => Err(RpcError::new(ErrorCode::Conflict, error.to_string())),
        }
    }

    /// A lowering is answered; from the version on that it made, what is stored counts again. Where it was refused, that
    /// is at once if somebody hears it; else it was promised to whoever asked, and is asked for again on whatever
    /// version is stored. So is a rollback that is not seen to be stored. Returns whether it was open until now.
    fn settled(&self, id: &str, answer: &Result<Value, RpcError>, is_heard: bool) -> bool {
        let Some(owed) = self.owed.lock().remove(id) else {
            return false;
        };
        let lowering = &owed.lowering;
        let made = answer.as_ref().ok();
        let made = made.and_then(|status| status["version"].as_i64());
        let is_settled = match made {
            None if is_heard => {
                self.controller.let_go(lowering);
                true
            }
            None if owed.asked.procedure != LOWERING => false,
            _ => {
                if let (Err(error), CommandKind::SetShare(_)) = (answer, lowering.kind) {
                    let (rollout, why) = (&*lowering.rollout, &*error.message);
                    tracing::warn!(
                        rollout,
                        why,
                        "a smaller share is in force on this server no more"
                    );
                }
                let above = made.map_or(lowering.based_on, |version| version - 1);
                self.controller.lift(lowering, above)
            }
        };
        if !is_settled {
            let again = OwedLowering::again(owed.lowering, self.controller.now());
            self.owed.lock().insert(again.asked.id.clone(), again);
        }
        true
    }

    /// Takes the candidate from users here where a change does that; whether it does.
    fn lower(&self, asked: &mut HandedOver) -> bool {
        let kind = match &*asked.procedure {
            "rollout.rollback" => CommandKind::RollBack,
            "rollout.setShare" => match asked.input["percent"].as_f64().and_then(Percent::new) {
                Some(share) => CommandKind::SetShare(share),
                None => return false,
            },
            _ => return false,
        };
        let text = |name: &str| asked.input[name].as_str().map(str::to_owned);
        let (Some(id), Some(based_on)) = (text("id"), asked.input["version"].as_i64()) else {
            return false;
        };
        if self.owed.lock().len() >= MOST_OWED {
            return false;
        }
        let Some(lowering) = self.controller.cap(Command {
            id,
            based_on,
            actor: Actor::User(asked.user),
            reason: text("reason").unwrap_or_default(),
            kind,
        }) else {
            return false;
        };
        asked.lowers = true;
        let owed = OwedLowering {
            asked: asked.clone(),
            lowering,
            since: Instant::now(),
        };
        self.owed.lock().insert(asked.id.clone(), owed);
        true
    }

    async fn ask(&self, asked: &HandedOver) -> anyhow::Result<Result<Value, RpcError>> {
        self.store.ask(asked).await?;
        loop {
            sleep(LOOK).await;
            if let Some(answer) = self.store.answer(&asked.id).await? {
                return Ok(read(&answer));
            }
        }
    }
}

#[async_trait]
impl Leader for Fleet {
    async fn hand_over(
        &self,
        procedure: &'static str,
        context: &Context,
        input: &Input,
    ) -> Option<Result<Value, RpcError>> {
        if !self.controller.hands_over() {
            return None;
        }
        let Caller::User(user) = &context.caller else {
            return None;
        };
        let Input::Json(input) = input else {
            // It is refused, by whichever process.
            return None;
        };
        let mut asked = HandedOver {
            id: Uuid::now_v7().to_string(),
            procedure: procedure.to_owned(),
            input: input.clone(),
            user: user.id,
            role: user.role.name().to_owned(),
            lowers: false,
        };
        let is_lowered = self.lower(&mut asked);
        let patience = if is_lowered {
            LOWERED_PATIENCE
        } else {
            PATIENCE
        };
        let answer = timeout_at(Instant::now() + patience, self.ask(&asked)).await;
        Some(match answer {
            Ok(Ok(answer)) => {
                let was_open = self.settled(&asked.id, &answer, true);
                match answer {
                    // It came late, and is asked for again.
                    Err(_) if is_lowered && !was_open => Err(in_force_here()),
                    answer => answer,
                }
            }
            _ if is_lowered => Err(in_force_here()),
            Ok(Err(error)) => Err(RpcError::internal(error)),
            Err(_) => Err(RpcError::new(
                ErrorCode::ServiceUnavailable,
                "No server leads the rollouts just now, or it did not say what became of this; look again",
            )),
        })
    }
}

/// A lowering that nobody has answered.
fn in_force_here() -> RpcError {
    RpcError::new(
        ErrorCode::ServiceUnavailable,
        "It is in force on this server. On the others it comes into force as soon as one of them leads and the \
         database answers",
    )
}

/// Does a call of another process in the name of its caller.
async fn answer(registry: &Registry, asked: &HandedOver) -> Result<Value, RpcError> {
    #[expect(clippy::disallowed_methods, reason = "a call begins now")]
    let now = clock::now();
    let caller = Caller::User(Arc::new(User {
        id: asked.user,
        open_id: String::new(),
        name: None,
        email: None,
        login_method: None,
        role: Role::named(&asked.role),
        created_at: now,
        updated_at: now,
        last_signed_in: now,
    }));
    let target = registry.resolve(&asked.procedure);
    let Some(procedure) = target.here().filter(|it| it.is_leaders) else {
        return Err(registry.unknown(&asked.procedure));
    };
    let context = Context {
        is_handed_over: true,
        ..Context::new(caller, now)
    };
    let input = Input::Json(asked.input.clone());
    let reply = procedure.call(context, input).await?;
    reply.to_value().map_err(RpcError::internal)
}

/// An answer as it is stored.
fn written(answer: Result<Value, RpcError>) -> Value {
    match answer {
        Ok(value) => json!({"ok": value}),
        Err(error) => json!({
            "code": error.code.name(),
            "message": error.message,
            "details": error.details.as_deref(),
        }),
    }
}

/// Reads what [`written`] writes.
fn read(answer: &Value) -> Result<Value, RpcError> {
    if let Some(value) = answer.get("ok") {
        return Ok(value.clone());
    }
    let code = answer["code"].as_str().and_then(ErrorCode::named);
    let message = answer["message"].as_str().unwrap_or_default().to_owned();
    let error = RpcError::new(code.unwrap_or(ErrorCode::InternalServerError), message);
    Err(match &answer["details"] {
        Value::Null => error,
        details => error.with_details(details.clone()),
    })
}

#[cfg(test)]
mod tests;
