//! What a trial reports at its end: on the screen, in its report, and to the server.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use chrono::DateTime;

use super::{Arguments, asking::Stop, beside, now, simulated};
use crate::{
    _core::actor::Actor,
    cli::{client::Client, table::TextTable},
    rollout::trials::{Trial, TrialResult, TrialVerdict},
    routers::{
        methods::TRIALS_RECORD,
        trials_router::{RecordTrial, TrialArms},
    },
    trial::{
        picture,
        prompts::Prompt,
        report::{self, Circumstances},
        results::TrialSubject,
    },
};

/// What is reported at the end, and of what.
pub(super) struct TrialNews<'a> {
    pub(super) arguments: &'a Arguments,
    pub(super) arms: &'a TrialArms,
    pub(super) subject: &'a TrialSubject,
    pub(super) prompts: &'a [Prompt],
}

impl TrialNews<'_> {
    /// Prints what came of it, writes the report, and records it where it is over. An error where the trial broke off,
    /// and where the candidate is worse.
    pub(super) async fn finish(
        &self,
        client: &Client,
        result: TrialResult,
        oldest_ms: Option<i64>,
        stop: Stop,
    ) -> anyhow::Result<()> {
        let TrialSubject {
            task,
            control,
            candidate,
            ..
        } = self.subject.clone();
        let trial = Trial {
            id: String::new(),
            at: now(),
            actor: Actor::Other("this command".into()),
            task,
            control,
            candidate,
            result,
        };
        let is_over = matches!(stop, Stop::Done | Stop::Decided);
        write!(std::io::stdout(), "{}", table(&trial))?;
        writeln!(std::io::stdout(), "{}", report::conclusion(&trial))?;
        let written = self.write(&trial)?;
        let simulated = simulated(self.arms);
        if let (true, Some(model)) = (is_over, simulated.first()) {
            writeln!(
                std::io::stderr(),
                "it was not recorded for plans that demand a trial, as `{model}` is simulated"
            )?;
        } else if is_over && trial.result.pairs > 0 {
            let found = RecordTrial {
                task: trial.task.clone(),
                control: trial.control.clone(),
                candidate: trial.candidate.clone(),
                result: trial.result.clone(),
                began: oldest_ms.and_then(DateTime::from_timestamp_millis),
            };
            client.call(&TRIALS_RECORD, &found).await?;
        }
        let mut err = std::io::stderr().lock();
        writeln!(err, "the report is in {}", written.display())?;
        drop(err);
        let go_on = "the same command goes on where this one stopped";
        match stop {
            Stop::Done | Stop::Decided => {}
            Stop::Told => bail!("stopped; {go_on}"),
            Stop::UsedUp { why, after } => {
                let after = humantime::format_duration(Duration::from_secs(after.as_secs()));
                bail!("{why}; {go_on}, in {after}")
            }
            Stop::Failed(error) => {
                return Err(error.context(format!("the trial broke off; {go_on}")));
            }
        }
        if trial.result.verdict == TrialVerdict::Worse {
            bail!("`{}` is worse than `{}`", trial.candidate, trial.control);
        }
        Ok(())
    }

    /// Writes the report and its picture; where the report is.
    fn write(&self, trial: &Trial) -> anyhow::Result<PathBuf> {
        let page = self.arguments.report.clone();
        let page = page.unwrap_or_else(|| beside(&self.arguments.prompts, "report.md"));
        let drawn = page.with_extension("svg");
        let name = |path: &Path| {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        };
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for prompt in self.prompts {
            *kinds.entry(&prompt.kind).or_default() += 1;
        }
        let kinds: Vec<_> = kinds
            .into_iter()
            .map(|(kind, count)| (kind.to_owned(), count))
            .collect();
        let circumstances = Circumstances {
            prompts: &name(&self.arguments.prompts),
            of: self.prompts.len(),
            picture: &name(&drawn),
            simulated: &simulated(self.arms),
            kinds: &kinds,
        };
        let text = report::markdown(trial, &circumstances);
        for (file, content) in [(&page, text), (&drawn, picture::svg(trial))] {
            std::fs::write(file, content)
                .with_context(|| format!("cannot write `{}`", file.display()))?;
        }
        Ok(page)
    }
}

fn table(trial: &Trial) -> TextTable {
    let mut table = TextTable::new(&[
        "METRIC",
        "PAIRS",
        "CONTROL",
        "CANDIDATE",
        "EFFECT",
        "VERDICT",
    ]);
    for it in &trial.result.metrics {
        table.row([
            it.metric.name().to_owned(),
            it.pairs.to_string(),
            report::mean(it.metric, it.control),
            report::mean(it.metric, it.candidate),
            report::figure(it),
            report::words(it),
        ]);
    }
    table
}
