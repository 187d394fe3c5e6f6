//! Judges what a trial has seen so far.

use super::Arguments;
use crate::{
    _core::assignment::Variant,
    rollout::{
        arms::PerArm,
        trials::{TrialMetric, TrialResult, TrialVerdict},
    },
    routers::trials_router::TrialArms,
    trial::{
        prompts::Prompt,
        results::Results,
        verdict::{Margins, Pair, PromptDemands, judge, metrics, verdict},
    },
};

/// Up to so many answers, each pair is worth a look.
const EACH: usize = 400;

/// Judges what was seen so far.
pub(super) struct Court {
    /// What is asked of answers where a prompt does not say.
    usual: PromptDemands,
    metrics: Vec<TrialMetric>,
    margins: Margins,
}

impl Court {
    pub(super) fn new(arms: &TrialArms, prompts: &[Prompt], arguments: &Arguments) -> Self {
        let usual = PromptDemands {
            schema: arms.schema,
            language: arms.language,
            expect: false,
        };
        Self {
            usual,
            metrics: metrics(prompts.iter().map(|prompt| asks(usual, prompt))),
            margins: Margins {
                share: arguments.margin,
                ratio: arguments.ratio,
            },
        }
    }

    pub(super) fn judge(&self, prompts: &[Prompt], results: &Results) -> TrialResult {
        let pairs = self.pairs(prompts, results);
        judge(&pairs, &self.metrics, self.margins)
    }

    /// What is proven by now. Of many pairs not each is worth a look, so there may be none.
    pub(super) fn look(&self, prompts: &[Prompt], results: &Results) -> Option<TrialVerdict> {
        let answers = results.all().count();
        if answers % (2 * (1 + answers / EACH)) > 1 {
            return None;
        }
        let pairs = self.pairs(prompts, results);
        Some(verdict(&pairs, &self.metrics, self.margins))
    }

    /// Pairs count in the order of the prompts, whichever answer came first, up to the first that is not whole: what
    /// comes late is bad more often, and a look that passed over it would find too little.
    fn pairs(&self, prompts: &[Prompt], results: &Results) -> Vec<Pair> {
        let pair = |prompt: &Prompt| {
            let answer = |arm| Some(results.get(&prompt.id, arm)?.answer.clone());
            Some(Pair {
                asks: asks(self.usual, prompt),
                answers: PerArm {
                    control: answer(Variant::Control)?,
                    candidate: answer(Variant::Candidate)?,
                },
            })
        };
        prompts.iter().map_while(pair).collect()
    }
}

fn asks(usual: PromptDemands, prompt: &Prompt) -> PromptDemands {
    PromptDemands {
        schema: usual.schema || prompt.schema.is_some(),
        language: prompt.language.unwrap_or(usual.language),
        expect: !prompt.expect.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{
        answer::TrialAnswer,
        prompts,
        results::{AnsweredPrompt, TrialSubject},
    };

    #[test]
    fn pairs_count_up_to_the_first_that_is_still_under_way() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prompts.jsonl");
        let lines = (0..6).map(|n| format!("{{\"id\": \"{n}\", \"prompt\": \"{n}?\"}}\n"));
        std::fs::write(&file, lines.collect::<String>()).unwrap();
        let prompts = prompts::read(&file).unwrap();
        let subject = TrialSubject {
            task: "chat".into(),
            control: "old".into(),
            candidate: "new".into(),
            checks: String::new(),
        };
        let mut results =
            Results::open(&folder.path().join("results.jsonl"), &subject, &prompts).unwrap();
        let court = Court {
            usual: PromptDemands::default(),
            metrics: vec![TrialMetric::Errors],
            margins: Margins::default(),
        };
        let mut add = |place: usize, arm| {
            let prompt = &prompts[place];
            let seen = AnsweredPrompt {
                prompt: prompt.id.clone(),
                digest: prompt.digest.clone(),
                arm,
                at_ms: 0,
                answer: TrialAnswer {
                    fault: None,
                    quality: None,
                    latency_ms: 1.0,
                    tokens: None,
                    cost: None,
                    chars: 1,
                    holds: None,
                },
            };
            results.add(seen).unwrap();
            court.pairs(&prompts, &results).len()
        };
        // The third prompt's candidate hangs; those after it are no proof without it.
        for place in [0, 1, 3, 4, 5] {
            add(place, Variant::Control);
            add(place, Variant::Candidate);
        }
        assert_eq!(add(2, Variant::Control), 2);
        assert_eq!(add(2, Variant::Candidate), 6);
    }
}
