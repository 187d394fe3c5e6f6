//! One attempt at one model, and its event.
//!
//! Every attempt leaves exactly one event, whatever becomes of it: an [`Attempt`] that is dropped
//! without a word was cancelled by its caller, and says so.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    Call, Recorder, Route, Trail,
    breakers::{OpeningFault, Pass},
    catalog::Model,
    quota::Bookings,
};
use crate::{
    _core::{amount::Amount, clock, trace_parent::TraceParent},
    providers::{
        ChatRequest, Completion, Delta, Usage, estimate,
        fault::{Fault, FaultKind},
        finish::Finish,
        quality::Inspection,
    },
    recording::{Attempted, Event, Outcome},
    telemetry::{AttemptTexts, EndedAttempt, Operation, Telemetry, Trace},
};

/// An attempt under way; recorded when it ends or is dropped.
pub(super) struct Attempt {
    metrics: Arc<dyn Recorder>,
    telemetry: Telemetry,
    operation: Operation,
    model: Arc<Model>,
    started: Instant,
    /// By which the metrics know it while it runs.
    number: Option<u64>,
    event: Option<Event>,
    trail: Trail,
    /// Its span and the caller's above it, where the caller has a trace.
    trace: Option<Trace>,
    /// The texts of request and answer, where a collector gets them.
    texts: Option<AttemptTexts>,
    /// What it took, by the provider's word.
    told: Option<Usage>,
    /// What has come.
    written: estimate::Text,
    /// How good the answer is; none of what has no text.
    inspection: Option<Inspection>,
    /// When the answer was here as a whole. What is done with it then is no part of how long it took.
    ended: Option<Instant>,
    is_closed: bool,
    pass: Pass,
    /// Its request, as our quotas know it.
    course: Bookings,
    /// Whose conversation with tools it belongs to, if it does.
    conversation: Option<Option<u64>>,
    /// Whether the answer calls a tool, so that the conversation goes on.
    calls_tool: bool,
    /// Whether it has all the time that the model is given.
    has_time: bool,
}

/// What an attempt is made for.
pub(super) struct Occasion<'a> {
    pub(super) metrics: &'a Arc<dyn Recorder>,
    pub(super) telemetry: &'a Telemetry,
    pub(super) operation: Operation,
    pub(super) call: &'a Call,
    pub(super) route: &'a Route,
    pub(super) model: &'a Arc<Model>,
    pub(super) position: usize,
    /// The span of the caller's, if it has one.
    pub(super) parent: Option<TraceParent>,
    /// Whether the evidence has no event yet of how the arm fares. A request is one observation, however often its
    /// primary is asked.
    pub(super) is_first: bool,
}

impl Occasion<'_> {
    fn event(&self) -> Event {
        let Self {
            call,
            route,
            model,
            position,
            ..
        } = *self;
        Event::of_attempt(Attempted {
            request_id: call.request_id.clone(),
            subject: route.subject.as_ref(),
            rollout: route.judged_as(),
            counted: self.is_first && route.is_counted(position),
            model: model.name.clone(),
            task: route.task.clone(),
            variant: route.variant,
            position,
        })
    }

    /// The model is left alone, as its breaker is open or our account has no slot for it. Where evidence counts
    /// what becomes of the request there, this is recorded: what opened the breaker, or that the account was at fault.
    pub(super) fn skip(&self, why: &OpeningFault) -> Option<SkippedModel> {
        let event = self.event();
        event.counted.then(|| SkippedModel {
            metrics: self.metrics.clone(),
            event: Some(Event {
                latency_ms: why.latency_ms,
                outcome: Outcome::Fault(why.kind),
                cause: Some(why.cause),
                ..event
            }),
        })
    }
}

/// A model that was not asked: its event for the evidence, which is recorded when this is dropped.
pub(super) struct SkippedModel {
    metrics: Arc<dyn Recorder>,
    event: Option<Event>,
}

impl SkippedModel {
    /// It is not recorded: the evidence gets what became of the model when it was asked after all.
    pub(super) fn withdraw(&mut self) {
        self.event = None;
    }
}

impl Drop for SkippedModel {
    fn drop(&mut self) {
        if let Some(event) = self.event.take() {
            let at_ms = now_ms();
            self.metrics.record(Event { at_ms, ..event });
        }
    }
}

impl Attempt {
    /// One that `pass` grants; `has_time` as [`Pass::failed`] wants it.
    pub(super) fn start(occasion: &Occasion<'_>, pass: Pass, has_time: bool) -> Self {
        let started = Instant::now();
        let event = occasion.event();
        let metrics = occasion.metrics.clone();
        Self {
            number: metrics.begin(&event, started),
            metrics,
            telemetry: occasion.telemetry.clone(),
            operation: occasion.operation,
            model: occasion.model.clone(),
            started,
            event: Some(event),
            trail: occasion.call.trail.clone(),
            trace: occasion.parent.map(Trace::below),
            texts: occasion
                .telemetry
                .wants_texts()
                .then(|| AttemptTexts::new(said_in(&occasion.call.request))),
            told: None,
            written: estimate::Text::default(),
            inspection: None,
            ended: None,
            is_closed: false,
            pass,
            course: Bookings::default(),
            conversation: None,
            calls_tool: false,
            has_time,
        }
    }

    /// Its request takes this course, in this user's conversation with tools where there is one.
    pub(super) fn goes_by(&mut self, course: Bookings, conversation: Option<Option<u64>>) {
        self.course = course;
        self.conversation = conversation;
    }

    /// Its span, for who is asked.
    pub(super) fn span(&self) -> Option<TraceParent> {
        self.trace.map(|trace| trace.own)
    }

    fn elapsed_ms(&self) -> f64 {
        let ended = self.ended.unwrap_or_else(Instant::now);
        (ended - self.started).as_secs_f64() * 1e3
    }

    /// The answer is here as a whole.
    pub(super) fn ended(&mut self) {
        self.ended.get_or_insert_with(Instant::now);
    }

    /// The answer has begun.
    pub(super) fn began(&mut self) {
        self.pass.began();
    }

    /// The first part of the answer is here.
    pub(super) fn first_token(&mut self) {
        let elapsed = self.elapsed_ms();
        if let Some(event) = &mut self.event {
            event.first_token_ms.get_or_insert(elapsed);
        }
    }

    /// The provider said how much it took; also counts if the attempt fails or is cancelled later.
    pub(super) fn used(&mut self, usage: &Usage) {
        if let Some(event) = &mut self.event {
            event.prompt_tokens = usage.prompt_tokens;
            event.completion_tokens = usage.completion_tokens;
            event.cost = self.model.prices.cost(usage);
        }
        self.told = Some(*usage);
    }

    /// The texts of request and answer, where a collector gets them, for whoever reads the answer as it comes from the
    /// provider.
    pub(super) fn texts(&self) -> Option<AttemptTexts> {
        self.texts.clone()
    }

    /// The model wrote this.
    pub(super) fn wrote(&mut self, text: &str) {
        self.written.add(text);
    }

    /// Looks at the answer, as it comes.
    pub(super) fn inspect(&mut self, inspection: Inspection) {
        self.inspection = Some(inspection);
    }

    /// The answer came as a whole.
    pub(super) fn brought(&mut self, answer: &Completion) {
        self.calls_tool |= answer.tool_calls.is_some();
        self.finished(answer.finish_reason.as_deref());
        if let Some(inspection) = &mut self.inspection {
            inspection.read(answer);
        }
    }

    /// A step of the answer came.
    pub(super) fn brought_step(&mut self, step: &Delta) {
        step.written().for_each(|text| self.wrote(text));
        self.written.add_media(step.media);
        self.calls_tool |= step.tool_calls.is_some();
        self.finished(step.finish_reason.as_deref());
        if step.is_answer {
            self.first_token();
        }
        if let Some(inspection) = &mut self.inspection {
            inspection.read_step(step);
            if Event::are_first_words(inspection.chars()) {
                self.first_words();
            }
        }
    }

    /// The first words of the answer are here, if it has begun: what is thought within a text is counted among its characters.
    fn first_words(&mut self) {
        let elapsed = self.elapsed_ms();
        let begun = self
            .event
            .as_mut()
            .filter(|event| event.first_token_ms.is_some());
        if let Some(event) = begun {
            // A time limit is a day at most.
            event.words_ms.get_or_insert(elapsed.round() as u32);
            self.is_open_no_more();
        }
    }

    /// Who waits for it has what it waits for: from now on it is not reported as one that takes too long.
    fn is_open_no_more(&mut self) {
        if let (Some(number), Some(event)) = (self.number.take(), &mut self.event) {
            event.was_open = self.metrics.close(number);
        }
    }

    fn finished(&mut self, reason: Option<&str>) {
        if let (Some(event), Some(reason)) = (&mut self.event, reason) {
            event.finish = Finish::of(reason);
        }
    }

    /// What it took: by the provider's word, else about. A fault without an answer takes nothing.
    fn usage(&self, outcome: Outcome) -> Usage {
        let written = self.written.tokens();
        match (self.told, outcome) {
            (Some(told), _) => told,
            (None, Outcome::Fault(_)) if written == 0 => Usage::default(),
            (None, _) => Usage {
                prompt_tokens: u32::try_from(self.trail.prompt_tokens()).unwrap_or(u32::MAX),
                completion_tokens: u32::try_from(written).unwrap_or(u32::MAX),
                ..Usage::default()
            },
        }
    }

    /// The model that is asked.
    pub(super) fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The name of the provider that is asked.
    pub(super) fn provider(&self) -> &str {
        &self.model.provider
    }

    /// It answered, or said that it will not.
    pub(super) fn succeed(mut self, is_refusal: bool) {
        self.ended();
        self.pass.answered();
        if let Some(user) = self.conversation.filter(|_| !self.calls_tool) {
            self.course.ends(user);
        }
        if let (Some(event), Some(inspection)) = (&mut self.event, &self.inspection) {
            let tokens = self.told.map(|usage| usage.completion_tokens);
            event.quality = inspection.quality(tokens);
            event.answer_chars = Some(inspection.chars());
        }
        self.close(if is_refusal {
            Outcome::Refused
        } else {
            Outcome::Success
        });
    }

    pub(super) fn fail(mut self, fault: &Fault) {
        self.note(fault);
        self.close(Outcome::Fault(fault.kind));
        let latency_ms = self.event.as_ref().map_or(0.0, |event| event.latency_ms);
        self.pass.failed(fault, latency_ms, self.has_time);
    }

    /// It failed, and another model has to show whose fault that was. Dropped without a
    /// [judgement](Attempt::judge), the fault is what it was.
    pub(super) fn refuse(mut self, fault: &Fault) -> Self {
        self.note(fault);
        self.close(Outcome::Fault(fault.kind));
        self
    }

    /// What the fault has turned out to be.
    pub(super) fn judge(mut self, kind: FaultKind) {
        if let Some(event) = &mut self.event {
            event.outcome = Outcome::Fault(kind);
        }
    }

    /// What went wrong, for the event and the server's log.
    fn note(&mut self, fault: &Fault) {
        if let Some(event) = &mut self.event {
            event.status = fault.status;
            event.cause = Some(fault.cause);
        }
        let (model, provider) = (&*self.model.name, &*self.model.provider);
        let (kind, status) = (fault.kind.name(), fault.status);
        let cause = fault.cause.name();
        // What broke below HTTP is said by this server's own libraries, such as a certificate that nobody signed;
        // what a provider wrote is in no log.
        let why = (fault.kind == FaultKind::Connection).then(|| fault.detail());
        let request_id = self.event.as_ref().map(|event| &*event.request_id);
        tracing::warn!(
            target: "attempt", model, provider, kind, cause, status, why, request_id, "attempt failed"
        );
    }

    /// Ends it now; it is recorded when it is dropped.
    fn close(&mut self, outcome: Outcome) {
        let usage = self.usage(outcome);
        let tokens = i64::from(usage.prompt_tokens) + i64::from(usage.completion_tokens);
        let cost = self.model.prices.cost(&usage);
        self.trail.use_up(Amount { tokens, cost });
        if let Some(told) = self.told {
            // Where nobody says, the request counts for what it was thought to take.
            let tokens = told.prompt_tokens.saturating_add(told.completion_tokens);
            self.course.took(tokens);
        }
        let latency_ms = self.elapsed_ms();
        let Some(event) = &mut self.event else {
            return;
        };
        event.at_ms = now_ms();
        event.latency_ms = latency_ms;
        event.outcome = outcome;
        if outcome == Outcome::Cancelled {
            // Who leaves gets no usage, and pays for what came.
            event.prompt_tokens = usage.prompt_tokens;
            event.completion_tokens = usage.completion_tokens;
            event.cost = cost;
        }
        if let (Outcome::Cancelled, Some(inspection)) = (outcome, &self.inspection) {
            event.answer_chars = Some(inspection.chars()).filter(|chars| *chars > 0);
        }
        self.is_open_no_more();
        self.is_closed = true;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.is_closed {
            self.close(Outcome::Cancelled);
        }
        if let Some(event) = self.event.take() {
            self.telemetry.record(&EndedAttempt {
                operation: self.operation,
                provider: &self.model.provider,
                model: &self.model.id,
                cached_tokens: self.told.map_or(0, |told| told.cached_tokens),
                reasoning_tokens: self.told.map_or(0, |told| told.reasoning_tokens),
                trace: self.trace,
                texts: self.texts.as_ref(),
                event: &event,
            });
            self.metrics.record(event);
        }
    }
}

/// What a request says: its messages, or the texts of which vectors are wanted, as JSON.
fn said_in(request: &ChatRequest) -> String {
    let given = request.given.as_ref();
    match given.and_then(|it| it.get("messages").or_else(|| it.get("input"))) {
        Some(json) => json.get().to_owned(),
        // Messages that were read can be written.
        None => serde_json::to_string(&request.messages).unwrap_or_default(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "an attempt is an edge: it ends when the network says so"
)]
pub(super) fn now_ms() -> i64 {
    clock::now().timestamp_millis()
}
