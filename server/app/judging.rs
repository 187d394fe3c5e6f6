//! Has answers judged by a model: puts a question to both sides of a rollout once more, asks the model twice which
//! answer is better, and records what it finds.
//!
//! Both sides are asked aside, under the task `direct`, behind everybody who waits: no user sees these answers, and no
//! text of them is kept. The privacy of the question's task holds for all who read it.

mod verdict;

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use chrono::NaiveDate;
use tokio::{sync::mpsc, time::Instant};

use self::verdict::{ReadingOrder, asked, found, of_pair};
use crate::{
    _core::{assignment::Variant, clock, units::Microdollars},
    ai_metrics::AiMetrics,
    model_router::{
        Call, ModelRouter, Question, Route, RouteError, Trail, Urgency, quota::schedule::Priority,
    },
    providers::{
        ChatRequest,
        transcript::{has_tools, transcript},
    },
    recording::{Event, JudgedAnswer, Judgement},
    rollout::{controller::Controller, plan::Judging},
};

/// Questions that may wait; more are dropped.
const WAITING: usize = 8;
/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long it waits for a slot of the quota.
const QUOTA_PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of the question that the model reads.
const MOST_ASKED: usize = 16 * 1024;

/// What was asked of one rollout on a day (UTC), beside what its evidence says.
#[derive(Default)]
struct Day {
    /// Questions of which one side gave no answer, and what they cost: no pair counts them.
    in_vain: u64,
    spent: Microdollars,
    /// Who has asked one of the questions: of what is alike, one pair speaks.
    subjects: HashSet<u64>,
}

impl Day {
    /// Whether this question may be put on this day.
    fn takes(&mut self, question: &Question, judging: &Judging) -> bool {
        let is_over =
            self.in_vain >= judging.per_day || (self.spent >= judging.max_cost && self.spent.0 > 0);
        // An answer that may call tools is no text yet.
        let is_text = !has_tools(&question.request);
        !is_over && is_text && question.subject.is_none_or(|it| self.subjects.insert(it))
    }
}

/// Judges until the server stops.
#[expect(
    clippy::disallowed_methods,
    reason = "a loop's edge: a day is what it is"
)]
pub(super) async fn run(
    controller: Arc<Controller>,
    models: Arc<ModelRouter>,
    metrics: Arc<AiMetrics>,
    stopping: impl Future<Output = ()>,
) {
    let mut stopping = pin!(stopping);
    let (sender, mut questions) = mpsc::channel(WAITING);
    models.hand_out(sender);
    let mut days: HashMap<(Arc<str>, NaiveDate), Day> = HashMap::new();
    loop {
        let next = async {
            let question = questions.recv().await?;
            if let Some(judging) = controller.judging(&question.rollout) {
                let date = clock::now().date_naive();
                days.retain(|(_, of), _| *of == date);
                let day = days.entry((question.rollout.clone(), date)).or_default();
                if day.takes(&question, &judging) {
                    let spent = &mut day.spent;
                    let judged = judge(&models, &metrics, &judging, &question, spent).await;
                    day.in_vain += u64::from(judged.is_none());
                }
            }
            Some(())
        };
        tokio::select! {
            () = &mut stopping => return,
            gone = next => if gone.is_none() { return },
        }
    }
}

/// Has a question's answers judged, and records what was found. Where one side cannot be asked, or gives no answer, that
/// is no matter of this judge, and `None`; what it cost stays in `spent`, for the next pair that comes to something.
#[expect(
    clippy::disallowed_methods,
    reason = "a loop's edge: a verdict is as old as it is"
)]
async fn judge(
    models: &ModelRouter,
    metrics: &AiMetrics,
    judging: &Judging,
    question: &Question,
    spent: &mut Microdollars,
) -> Option<()> {
    let Question {
        task,
        control,
        candidate,
        request,
        ..
    } = question;
    let is_own = [control, candidate].contains(&&judging.model);
    if is_own {
        return Some(());
    }
    let asking = Asking { models, question };
    let mut answers = Vec::with_capacity(2);
    for side in [control, candidate] {
        let route = models.select_alone(task, side);
        match asking.ask(route, request.clone(), spent).await {
            Some(answer) if !answer.is_empty() => answers.push(answer),
            _ => return None,
        }
    }
    let [control, candidate] = &*answers else {
        return None;
    };
    let mut said = Vec::with_capacity(2);
    if control != candidate {
        let about = transcript(request, MOST_ASKED);
        for order in [ReadingOrder::ControlFirst, ReadingOrder::CandidateFirst] {
            let wanted = asked(judging, &about, order.of(control, candidate));
            let route = models.select_reader(task, &judging.model);
            let answer = asking.ask(route, wanted, spent).await;
            said.push(answer.and_then(|text| found(&text, order)));
        }
    }
    let judgement = of_pair(&said);
    tracing::info!(
        rollout = &*question.rollout,
        ?judgement,
        "a pair of answers was judged"
    );
    let at_ms = clock::now().timestamp_millis();
    for (variant, judgement, cost) in [
        (
            Variant::Control,
            judgement.mirrored(),
            Microdollars::default(),
        ),
        (Variant::Candidate, judgement, std::mem::take(spent)),
    ] {
        metrics.record(asking.event(at_ms, variant, judgement, cost));
    }
    Some(())
}

/// Who asks about a question.
struct Asking<'a> {
    models: &'a ModelRouter,
    question: &'a Question,
}

impl Asking<'_> {
    /// What a model answers; `None` where it does not.
    async fn ask(
        &self,
        route: Result<Route, RouteError>,
        request: ChatRequest,
        spent: &mut Microdollars,
    ) -> Option<String> {
        let route = route
            .inspect_err(|error| tracing::warn!(%error, "an answer cannot be judged"))
            .ok()?;
        let now = Instant::now();
        let call = Call {
            request_id: self.question.request_id.clone(),
            request,
            deadline: now + PATIENCE,
            stream_deadline: None,
            urgency: Urgency {
                priority: Priority::Batch,
                start_by: Some(now + QUOTA_PATIENCE),
                calls: None,
            },
            trail: Trail::default(),
        };
        let answer = self.models.complete(&route, call).await.ok()?;
        let catalog = self.models.catalog();
        let prices = catalog.model(&answer.model).map(|it| it.prices);
        if let (Some(prices), Some(usage)) = (prices, &answer.completion.usage) {
            spent.0 = spent.0.saturating_add(prices.cost(usage).0);
        }
        Some(answer.completion.content.trim().to_owned())
    }

    fn event(
        &self,
        at_ms: i64,
        variant: Variant,
        judgement: Judgement,
        cost: Microdollars,
    ) -> Event {
        let Question {
            request_id,
            rollout,
            task,
            control,
            candidate,
            ..
        } = self.question;
        let model = match variant {
            Variant::Control => control,
            Variant::Candidate => candidate,
        };
        Event::judged(JudgedAnswer {
            at_ms,
            request_id: request_id.clone(),
            rollout: rollout.clone(),
            model: model.as_str().into(),
            task: task.clone(),
            variant,
            judgement,
            cost,
        })
    }
}
