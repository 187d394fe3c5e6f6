//! Turns a plan's text into a [`Plan`], collecting every fault with its line.

use std::{ops::Range, time::Duration};

use serde::Deserialize;
use toml::Spanned;

use super::{Gate, Guards, Judge, Known, NoTraffic, Plan, PlanFault, Stage, span};
use crate::{
    _core::{assignment::Subject, config::Algorithm, units::Percent},
    rollout::evidence::EvidencePlan,
};

/// The longest hold-out, in percent.
const MAX_HOLDOUT: f64 = 5.0;
/// More stages than anyone needs.
const MAX_STAGES: usize = 50;
/// Eleven years.
const MAX_HOURS: u32 = 100_000;
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Spanned<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    tasks: Vec<Spanned<String>>,
    control: Option<Spanned<Vec<Spanned<String>>>>,
    candidate: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    forced_on: Vec<Spanned<String>>,
    #[serde(default)]
    forced_off: Vec<Spanned<String>>,
    deadline: Option<Spanned<String>>,
    no_traffic: Option<NoTrafficTable>,
    holdout: Option<Spanned<f64>>,
    #[serde(default = "evidence_judges")]
    judge: Judge,
    #[serde(default = "murmur3")]
    algorithm: Algorithm,
    #[serde(default)]
    evidence: EvidenceTable,
    stages: Spanned<Vec<Spanned<StageTable>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StageTable {
    share: Spanned<f64>,
    soak: Spanned<String>,
    #[serde(default = "automatic")]
    gate: Gate,
    #[serde(default = "two_hundred")]
    min_requests: u64,
    #[serde(default = "twenty")]
    min_users: u64,
    min_time: Option<Spanned<String>>,
    rho_bad: Option<Spanned<f64>>,
    #[serde(default)]
    guards: GuardsTable,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct GuardsTable {
    max_error_rate: Option<Spanned<f64>>,
    max_average: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoTrafficTable {
    alert_after: Option<Spanned<String>>,
    #[serde(default)]
    hold: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EvidenceTable {
    rollback: Option<Spanned<f64>>,
    hold: Option<Spanned<f64>>,
    watch: Option<Spanned<f64>>,
    margin: Option<Spanned<f64>>,
    weights: Option<Spanned<WeightsTable>>,
    max_error_rate: Option<Spanned<f64>>,
    good_error_rate: Option<Spanned<f64>>,
    cap_per_user_day: Option<Spanned<u32>>,
    planned_hours: Option<Spanned<u32>>,
}

/// What is not named has no weight.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WeightsTable {
    #[serde(default)]
    errors: f64,
    #[serde(default)]
    slow: f64,
    #[serde(default)]
    very_slow: f64,
    #[serde(default)]
    feedback: f64,
}

fn evidence_judges() -> Judge {
    Judge::Evidence
}

fn murmur3() -> Algorithm {
    Algorithm::Murmur3
}

fn automatic() -> Gate {
    Gate::Automatic
}

fn two_hundred() -> u64 {
    200
}

fn twenty() -> u64 {
    20
}

pub(super) fn plan(text: &str, known: &Known) -> Result<Plan, Vec<PlanFault>> {
    let mut check = Check {
        text,
        faults: Vec::new(),
    };
    let file: File = match toml::from_str(text) {
        Ok(file) => file,
        Err(error) => {
            let at = error.span().unwrap_or(0..0);
            check.fault(at, error.message().trim().to_owned());
            return Err(check.faults);
        }
    };
    let plan = check.plan(file, known);
    check.faults.sort_by_key(|fault| fault.line);
    if check.faults.is_empty() {
        Ok(plan)
    } else {
        Err(check.faults)
    }
}

struct Check<'a> {
    text: &'a str,
    faults: Vec<PlanFault>,
}

impl Check<'_> {
    fn fault(&mut self, at: Range<usize>, message: impl Into<String>) {
        let before = self.text.get(..at.start).unwrap_or("");
        self.faults.push(PlanFault {
            line: before.matches('\n').count() + 1,
            message: message.into(),
        });
    }

    fn plan(&mut self, file: File, known: &Known) -> Plan {
        let stages = self.stages(file.stages);
        let name = file.name.get_ref();
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_word) {
            let message = format!(
                "`name` is `{name}`; expected up to 64 lower-case letters, digits and hyphens"
            );
            self.fault(file.name.span(), message);
        }
        let holdout = match file.holdout {
            Some(value) if !(0.0..=MAX_HOLDOUT).contains(value.get_ref()) => {
                let message = format!(
                    "`holdout` is {}; expected 0 to {MAX_HOLDOUT}",
                    value.get_ref()
                );
                self.fault(value.span(), message);
                Percent::ZERO
            }
            Some(value) => Percent::new(*value.get_ref()).unwrap_or_default(),
            None => Percent::ZERO,
        };
        let alert_after = file
            .no_traffic
            .as_ref()
            .and_then(|it| it.alert_after.as_ref());
        Plan {
            tasks: self.names("task", &file.tasks, known.tasks.as_deref()),
            control: self.route("control", file.control, known),
            candidate: self.route("candidate", file.candidate, known),
            forced_on: self.ids("forced_on", file.forced_on),
            forced_off: self.ids("forced_off", file.forced_off),
            deadline: file.deadline.map(|it| self.span("deadline", &it)),
            no_traffic: NoTraffic {
                alert_after: alert_after.map_or(HOUR, |it| self.span("alert_after", it)),
                hold: file.no_traffic.as_ref().is_some_and(|it| it.hold),
            },
            evidence: self.evidence(&file.evidence, &stages),
            name: file.name.into_inner(),
            description: file.description,
            stages,
            holdout,
            judge: file.judge,
            algorithm: file.algorithm,
        }
    }

    fn stages(&mut self, tables: Spanned<Vec<Spanned<StageTable>>>) -> Vec<Stage> {
        let count = tables.get_ref().len();
        if count == 0 || count > MAX_STAGES {
            self.fault(
                tables.span(),
                format!("there are {count} `stages`; expected 1 to {MAX_STAGES}"),
            );
        }
        let mut least = 0.0;
        let mut stages = Vec::with_capacity(count);
        for table in tables.into_inner() {
            let table = table.into_inner();
            let share = self.within("share", &table.share, 0.001, 100.0);
            if share < least {
                let message = format!("`share` sinks from {least} to {share}; stages only rise");
                self.fault(table.share.span(), message);
            }
            least = share;
            let min_time = table.min_time.as_ref();
            let guards = &table.guards;
            let rate = guards.max_error_rate.as_ref();
            stages.push(Stage {
                share: Percent::new(share).unwrap_or_default(),
                soak: self.span("soak", &table.soak),
                gate: table.gate,
                min_requests: table.min_requests,
                min_users: table.min_users,
                min_time: min_time.map_or(HOUR, |it| self.span("min_time", it)),
                rho_bad: match &table.rho_bad {
                    Some(value) => self.within("rho_bad", value, 1.01, 100.0),
                    None if share < 25.0 => 2.0,
                    None => 1.5,
                },
                guards: Guards {
                    max_error_rate: rate.map(|it| self.within("max_error_rate", it, 0.0, 1.0)),
                    max_average: guards
                        .max_average
                        .as_ref()
                        .map(|it| self.span("max_average", it)),
                },
            });
        }
        stages
    }

    fn evidence(&mut self, table: &EvidenceTable, stages: &[Stage]) -> EvidencePlan {
        let mut number = |name: &str, value: &Option<Spanned<f64>>, default, least, most| {
            let value = value.as_ref();
            value.map_or(default, |it| self.within(name, it, least, most))
        };
        let default = EvidencePlan::default();
        let rollback = number("rollback", &table.rollback, default.rollback, 1.0, 1e9);
        let hold = number("hold", &table.hold, default.hold, 1.0, 1e9);
        let watch = number("watch", &table.watch, default.watch, 1.0, 1e9);
        let margin = number("margin", &table.margin, default.margin, 1.0, 10.0);
        let max_error_rate = number(
            "max_error_rate",
            &table.max_error_rate,
            default.max_error_rate,
            1e-6,
            0.95,
        );
        let good_error_rate = number(
            "good_error_rate",
            &table.good_error_rate,
            default.good_error_rate,
            1e-6,
            0.95,
        );
        if !(watch <= hold && hold <= rollback) {
            let at = [&table.watch, &table.hold, &table.rollback];
            let at = at.into_iter().flatten().next().map_or(0..0, Spanned::span);
            let message = format!(
                "levels must rise: `watch` is {watch}, `hold` {hold}, `rollback` {rollback}"
            );
            self.fault(at, message);
        }
        let hours: f64 = stages.iter().map(|it| it.soak.as_secs_f64() / 3600.0).sum();
        // At most some years; the parser of spans refuses more than fits.
        let hours = hours.ceil().clamp(1.0, f64::from(MAX_HOURS)) as u32;
        EvidencePlan {
            rollback,
            hold,
            watch,
            margin,
            weights: self.weights(table.weights.as_ref()),
            max_error_rate,
            good_error_rate,
            cap_per_user_day: self.whole("cap_per_user_day", &table.cap_per_user_day, 3, 3),
            planned_hours: self.whole("planned_hours", &table.planned_hours, hours, MAX_HOURS),
        }
    }

    fn weights(&mut self, table: Option<&Spanned<WeightsTable>>) -> [f64; 4] {
        let Some(table) = table else {
            return [0.5, 0.3, 0.2, 0.0];
        };
        let it = table.get_ref();
        let weights = [it.errors, it.slow, it.very_slow, it.feedback];
        let sum: f64 = weights.iter().sum();
        let is_good = weights.iter().all(|weight| *weight >= 0.0) && sum > 0.0 && sum.is_finite();
        if !is_good {
            self.fault(
                table.span(),
                "`weights` must not be negative, and one must be above 0",
            );
            return weights;
        }
        weights.map(|weight| weight / sum)
    }

    fn whole(&mut self, name: &str, value: &Option<Spanned<u32>>, default: u32, most: u32) -> u32 {
        let Some(value) = value else { return default };
        let number = *value.get_ref();
        if !(1..=most).contains(&number) {
            let message = format!("`{name}` is {number}; expected 1 to {most}");
            self.fault(value.span(), message);
        }
        number
    }

    fn within(&mut self, name: &str, value: &Spanned<f64>, least: f64, most: f64) -> f64 {
        let number = *value.get_ref();
        if !(least..=most).contains(&number) {
            let message = format!("`{name}` is {number}; expected {least} to {most}");
            self.fault(value.span(), message);
        }
        number
    }

    fn span(&mut self, name: &str, value: &Spanned<String>) -> Duration {
        span::parse(value.get_ref()).unwrap_or_else(|error| {
            self.fault(value.span(), format!("`{name}`: {error}"));
            Duration::ZERO
        })
    }

    fn names(
        &mut self,
        what: &str,
        names: &[Spanned<String>],
        known: Option<&[String]>,
    ) -> Vec<String> {
        let mut seen = Vec::with_capacity(names.len());
        for name in names {
            let text = name.get_ref();
            if let Some(known) = known.filter(|known| !known.contains(text)) {
                let likely = known
                    .iter()
                    .max_by(|a, b| strsim::jaro(a, text).total_cmp(&strsim::jaro(b, text)));
                let hint = likely.map_or_else(String::new, |it| format!("; did you mean `{it}`?"));
                self.fault(name.span(), format!("unknown {what} `{text}`{hint}"));
            }
            if seen.contains(text) {
                self.fault(name.span(), format!("{what} `{text}` is listed twice"));
            }
            seen.push(text.clone());
        }
        seen
    }

    fn route(
        &mut self,
        name: &str,
        models: Option<Spanned<Vec<Spanned<String>>>>,
        known: &Known,
    ) -> Option<Vec<String>> {
        let models = models?;
        if models.get_ref().is_empty() {
            self.fault(
                models.span(),
                format!("`{name}` is empty; leave it out to use the catalogue's route"),
            );
        }
        Some(self.names("model", models.get_ref(), known.models.as_deref()))
    }

    fn ids(&mut self, name: &str, ids: Vec<Spanned<String>>) -> Vec<String> {
        for id in &ids {
            if Subject::parse(id.get_ref()).is_none() {
                let message = format!("`{name}`: no user can have the id `{}`", id.get_ref());
                self.fault(id.span(), message);
            }
        }
        ids.into_iter().map(Spanned::into_inner).collect()
    }
}
