//! How far a trial is, on a terminal.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    _core::assignment::Variant,
    rollout::trials::TrialVerdict,
    trial::{prompts::Prompt, results::Results},
};

/// The progress bar, on a terminal only.
pub(super) struct TrialBar(ProgressBar);

impl TrialBar {
    pub(super) fn new(prompts: &[Prompt]) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template("{bar:30} {pos} of {len}, {eta} left  {msg}");
        let bar = ProgressBar::new(prompts.len() as u64);
        Self(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    pub(super) fn show(&self, results: &Results, verdict: Option<TrialVerdict>) {
        let answers = results.all().count();
        self.0.set_position(answers as u64 / 2);
        if let Some(verdict) = verdict {
            let failed = |arm| {
                let failed = results
                    .all()
                    .filter(|it| it.arm == arm && it.answer.fault.is_some());
                failed.count()
            };
            let [control, candidate] = [Variant::Control, Variant::Candidate].map(failed);
            self.0
                .set_message(format!("failed {control} and {candidate}, {verdict}"));
        }
    }

    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
