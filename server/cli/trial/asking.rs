//! Asks both models each prompt that they have not answered, and keeps what comes at once.

use std::{cell::RefCell, future::Future, pin::pin, time::Duration};

use anyhow::anyhow;
use futures::{StreamExt as _, stream};
use tokio::time::{Instant, sleep};

use super::now_ms;
use crate::{
    _core::assignment::Variant,
    cli::client::Client,
    routers::{
        methods::TRIALS_ASK,
        trials_router::asking::{AskModel, AskedModel},
    },
    trial::{
        answer::TrialAnswer,
        pace::{PaceTurn, TrialPace},
        prompts::Prompt,
        results::{AnsweredPrompt, Results, TrialSubject},
    },
};

/// A longer wait is not waited for, in one piece or in several before one answer.
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);

/// Why a trial stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// All prompts are answered.
    Done,
    /// It is decided.
    Decided,
    /// It was asked to.
    Told,
    /// No request is left for now.
    UsedUp {
        /// Of what, in words.
        why: String,
        /// When there is one again.
        after: Duration,
    },
    /// Something is broken.
    Failed(anyhow::Error),
}

/// Asks, and keeps.
pub(super) struct TrialAsker<'a> {
    client: &'a Client,
    subject: &'a TrialSubject,
    /// Nothing waits while it has one of these.
    results: RefCell<Results>,
    pace: RefCell<TrialPace>,
}

impl<'a> TrialAsker<'a> {
    pub(super) fn new(
        client: &'a Client,
        subject: &'a TrialSubject,
        results: Results,
        pace: TrialPace,
    ) -> Self {
        Self {
            client,
            subject,
            results: results.into(),
            pace: pace.into(),
        }
    }

    /// Asks for all pairs that are not there yet, until `goes_on` says no after one of them, or `stop` resolves. What was
    /// seen, and why it stopped.
    pub(super) async fn all(
        self,
        prompts: &[Prompt],
        parallel: usize,
        stop: impl Future<Output = ()>,
        goes_on: impl Fn(&Results) -> bool,
    ) -> (Results, Stop) {
        let ended = {
            let mut stop = pin!(stop);
            let missing = prompts.iter().filter(|prompt| !self.is_whole(prompt));
            let mut pairs = pin!(
                stream::iter(missing)
                    .map(|prompt| self.pair(prompt))
                    .buffer_unordered(parallel)
            );
            let mut is_open = goes_on(&self.results.borrow());
            loop {
                if !is_open {
                    break Stop::Decided;
                }
                let next = tokio::select! {
                    biased;
                    () = &mut stop => break Stop::Told,
                    next = pairs.next() => next,
                };
                match next {
                    None => break Stop::Done,
                    Some(Err(stop)) => break stop,
                    Some(Ok(())) => is_open = goes_on(&self.results.borrow()),
                }
            }
        };
        (self.results.into_inner(), ended)
    }

    fn is_whole(&self, prompt: &Prompt) -> bool {
        let results = self.results.borrow();
        let has = |arm| results.get(&prompt.id, arm).is_some();
        has(Variant::Control) && has(Variant::Candidate)
    }

    /// One after the other, so that they do not get in each other's way; which is first, the prompt's digest says.
    async fn pair(&self, prompt: &Prompt) -> Result<(), Stop> {
        let mut arms = [Variant::Control, Variant::Candidate];
        if prompt
            .digest
            .bytes()
            .last()
            .is_some_and(|digit| digit % 2 == 1)
        {
            arms.reverse();
        }
        for arm in arms {
            if self.results.borrow().get(&prompt.id, arm).is_none() {
                let answer = self.ask(prompt, arm).await?;
                let seen = AnsweredPrompt {
                    prompt: prompt.id.clone(),
                    digest: prompt.digest.clone(),
                    arm,
                    at_ms: now_ms(),
                    answer,
                };
                self.results.borrow_mut().add(seen).map_err(Stop::Failed)?;
            }
        }
        Ok(())
    }

    /// Asks until the model was asked, or no request is left for now.
    async fn ask(&self, prompt: &Prompt, arm: Variant) -> Result<TrialAnswer, Stop> {
        let model = self.subject.model(arm);
        let input = AskModel {
            task: self.subject.task.clone(),
            model: model.to_owned(),
            messages: prompt.messages.clone(),
            max_tokens: prompt.max_tokens,
            schema: prompt.schema.clone(),
            language: prompt.language,
            expect: prompt.expect.clone(),
        };
        let began = Instant::now();
        loop {
            self.turn().await?;
            let asked = self.client.call(&TRIALS_ASK, &input).await;
            let asked = asked.map_err(|error| Stop::Failed(error.into()))?;
            let AskedModel {
                answer,
                why,
                retry_after_ms,
                requests,
            } = asked;
            self.pace.borrow_mut().sent(requests, now_ms());
            if let Some(answer) = answer {
                return Ok(answer);
            }
            let why = why.unwrap_or_else(|| "the model was not asked".to_owned());
            let Some(after) = retry_after_ms.map(Duration::from_millis) else {
                return Err(Stop::Failed(anyhow!("`{model}` could not be asked: {why}")));
            };
            if began.elapsed() + after > LONGEST_WAIT {
                return Err(Stop::UsedUp { why, after });
            }
            sleep(after).await;
        }
    }

    /// Waits until the trial's own limits let a request go.
    async fn turn(&self) -> Result<(), Stop> {
        loop {
            let turn = self.pace.borrow_mut().next(now_ms());
            match turn {
                PaceTurn::Now => return Ok(()),
                PaceTurn::After(wait) => sleep(wait).await,
                PaceTurn::Tomorrow(after) => {
                    let why = "the requests of this day (`--per-day`) are made".to_owned();
                    return Err(Stop::UsedUp { why, after });
                }
            }
        }
    }
}
