//! Which server answers a call, and what is noted of it where its procedure is on its way between them.
//!
//! Each call is asked once where it leads, so that a move in the middle of a request loses none. What the
//! old server answers may be run here as well: after the answer, in a task of its own, for nobody. It then
//! changes nothing and calls no model, because only queries are run so.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::HeaderMap;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{
    Trpc,
    envelope::{self, CallAnswer, CallFailure, Payload},
    superjson,
};
use crate::{
    _core::{
        errors::{ErrorCode, RpcError},
        procedure::{Input, Procedure},
        registry::Target,
    },
    legacy::LegacyFault,
    migration::{CallWatch, Mode, MoveOutcome, MoveWay, Moves, compare::differences},
};

/// The longest that a call for nobody may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A call that somebody gave up after so long has failed, like one whose server hangs.
const GIVEN_UP: Duration = Duration::from_secs(10);

/// Where a name leads.
pub(super) struct Lead {
    /// Nowhere, if it is the old server's to answer.
    pub(super) target: Target,
    pub(super) watched: Option<MovingCall>,
}

/// A call of a procedure that is on its way.
#[derive(Clone)]
pub(super) struct MovingCall {
    moves: Arc<Moves>,
    procedure: Arc<Procedure>,
    watch: CallWatch,
}

impl Lead {
    fn unwatched(target: Target) -> Self {
        Self {
            target,
            watched: None,
        }
    }
}

impl Trpc {
    /// Where a name leads on this server, whatever the moves say: for the dashboard, and for whoever tries a
    /// procedure before it is moved.
    pub(super) fn lead_here(&self, name: &str) -> Lead {
        Lead::unwatched(self.registry.resolve(name))
    }

    /// Where these names lead, for whoever the headers name.
    pub(super) async fn leads(&self, names: &[&str], headers: &HeaderMap) -> Vec<Lead> {
        let mut user = None;
        let mut leads = Vec::with_capacity(names.len());
        for name in names {
            leads.push(self.lead(name, headers, &mut user).await);
        }
        leads
    }

    /// Where a name leads; `user` is looked up where it matters, once.
    pub(super) async fn lead(
        &self,
        name: &str,
        headers: &HeaderMap,
        user: &mut Option<Option<i64>>,
    ) -> Lead {
        let target = self.registry.resolve(name);
        self.lead_to(target, headers, user).await
    }

    /// The same for a name that the registry was asked already.
    pub(super) async fn lead_to(
        &self,
        target: Target,
        headers: &HeaderMap,
        user: &mut Option<Option<i64>>,
    ) -> Lead {
        let (Target::Here(procedure), Some(moves)) = (&target, &self.moves) else {
            return Lead::unwatched(target);
        };
        let of = moves.of(procedure.path);
        if user.is_none() && of.as_ref().is_some_and(|of| of.mode == Mode::Share) {
            let context = self.gate.context(headers).await;
            *user = Some(context.user().ok().map(|user| user.id));
        }
        let way = moves.way(of, procedure, user.flatten());
        let watched = |watch: Option<CallWatch>| {
            watch.map(|watch| MovingCall {
                moves: moves.clone(),
                procedure: procedure.clone(),
                watch,
            })
        };
        match way {
            MoveWay::Ours(watch) => Lead {
                watched: watched(watch),
                target,
            },
            MoveWay::Theirs(watch) => Lead {
                watched: watched(watch),
                target: Target::Unknown,
            },
        }
    }
}

impl MovingCall {
    /// Whether this server is to run it after the old one.
    pub(super) fn compares(&self) -> bool {
        self.watch.compares()
    }

    /// This server begins to run it.
    pub(super) fn run(self) -> MovingRun {
        self.begin(true)
    }

    fn begin(self, is_ours: bool) -> MovingRun {
        MovingRun {
            watched: self,
            is_ours,
            began: Instant::now(),
            is_over: false,
        }
    }

    /// The call is passed on now. Without an input it is not compared.
    pub(super) fn passed_on(
        self,
        trpc: &Arc<Trpc>,
        headers: Arc<HeaderMap>,
        input: Option<Input>,
    ) -> Passed {
        Passed {
            trpc: trpc.clone(),
            headers,
            input,
            running: self.begin(false),
        }
    }
}

fn outcome(status: u16, began: Instant) -> MoveOutcome {
    MoveOutcome {
        failed: status >= 500,
        refused: status >= 400,
        took: began.elapsed(),
    }
}

/// A watched call under way. One that is dropped was given up.
pub(in crate::transport) struct MovingRun {
    watched: MovingCall,
    is_ours: bool,
    began: Instant,
    is_over: bool,
}

impl MovingRun {
    /// Notes what this server answered.
    pub(super) fn answered(mut self, answer: &CallAnswer) {
        self.note(envelope::status(answer));
    }

    /// Notes the status of what this server answered.
    pub(super) fn ended_with(mut self, status: u16) {
        self.note(status);
    }

    fn note(&mut self, status: u16) {
        self.is_over = true;
        let MovingCall { moves, watch, .. } = &self.watched;
        match self.is_ours {
            true => moves.note_ours(watch, outcome(status, self.began)),
            false => moves.note_theirs(watch, outcome(status, self.began)),
        }
    }
}

impl Drop for MovingRun {
    fn drop(&mut self) {
        if !self.is_over && self.began.elapsed() >= GIVEN_UP {
            self.note(504);
        }
    }
}

/// A call that the old server is asked.
pub(super) struct Passed {
    trpc: Arc<Trpc>,
    /// By which callers are known.
    headers: Arc<HeaderMap>,
    input: Option<Input>,
    running: MovingRun,
}

impl Passed {
    /// The old server has answered; with an envelope, the call is compared.
    pub(super) fn answered(mut self, status: u16, envelope: Option<Bytes>) {
        self.running.note(status);
        let MovingCall { moves, watch, .. } = &self.running.watched;
        if !watch.compares() {
            return;
        }
        let (Some(envelope), Some(_)) = (envelope, &self.input) else {
            return moves.note_incomparable(watch);
        };
        if let Some(place) = moves.place(watch) {
            let (tasks, turns) = (self.trpc.tasks.clone(), self.trpc.bounds.turns.clone());
            let stopping = tasks.stopping();
            tasks.spawn(async move {
                tokio::select! {
                    () = turns.take(self.compare(envelope, place)) => {}
                    // Nobody waits for it.
                    () = stopping => {}
                }
            });
        }
    }

    /// The old server's answer did not come.
    pub(super) fn failed(mut self, fault: &LegacyFault) {
        // What is the client's fault says nothing of the server.
        if fault.is_of_old_server() {
            self.running.note(502);
        }
        self.running.is_over = true;
        let MovingCall { moves, watch, .. } = &self.running.watched;
        if watch.compares() {
            moves.note_incomparable(watch);
        }
    }

    async fn compare(self, envelope: Bytes, _place: OwnedSemaphorePermit) {
        let Self {
            trpc,
            headers,
            input,
            running,
        } = self;
        let MovingCall {
            moves,
            procedure,
            watch,
        } = running.watched.clone();
        let transformer = trpc.config.transformer;
        let theirs = superjson::said(&envelope, transformer);
        let (Some(theirs), Some(input)) = (theirs.filter(|it| !it.is_failure()), input) else {
            return moves.note_incomparable(&watch);
        };
        let context = trpc.gate.context(&headers).await;
        let request_id = context.request_id.clone();
        let began = Instant::now();
        let rehearsal = async {
            let reply = procedure.rehearse(context, input).await?;
            let mut payload = Payload::encode(transformer, &procedure.output, &*reply)?;
            payload.hold(&trpc.bounds)?;
            Ok(payload)
        };
        let answer: Result<Payload, RpcError> = tokio::time::timeout(PATIENCE, rehearsal)
            .await
            .unwrap_or_else(|_| Err(RpcError::new(ErrorCode::GatewayTimeout, "it took too long")));
        let answer =
            answer.map_err(|error| CallFailure::reported(error, procedure.path, request_id));
        let ours = outcome(envelope::status(&answer), began);
        let mut written = Vec::new();
        envelope::write_envelope(&answer, transformer, &mut written);
        let Some(said) = superjson::said(&written, transformer) else {
            return moves.note_incomparable(&watch);
        };
        let found = differences(&theirs, &said, &moves.rules(&watch));
        moves.note_compared(&watch, ours, found);
    }
}

#[cfg(test)]
mod tests;
