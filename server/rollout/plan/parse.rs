//! Says what a plan's keys mean, what they may be, and what holds where they are left out.

mod judging;

use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, Utc};
use toml::de::DeValue;

use super::{Day, Gate, Guards, Judge, KnownNames, Minute, NoTraffic, Plan, Stage, Window, Zone};
use crate::{
    _core::{
        assignment::{Algorithm, Subject},
        feature_flags::REHEARSAL,
        toml_reader::{self, TomlFaults, TomlField, TomlTable},
        units::{Microdollars, Percent},
    },
    rollout::{
        evidence::EvidencePlan,
        placebos::PlaceboDemand,
        span,
        trials::{TrialDemand, TrialVerdict},
    },
};

/// The longest hold-out, in percent.
const MAX_HOLDOUT: f64 = 5.0;
/// More stages than anyone needs.
const MAX_STAGES: usize = 50;
/// Eleven years.
const MAX_HOURS: u32 = 100_000;
const HOUR: Duration = Duration::from_secs(3600);

/// What a trial has at least where a plan does not say, and at most.
const TRIAL_PAIRS: u32 = 50;
const MAX_PAIRS: u32 = 10_000;
/// What a trial may tolerate: percentage points, and times.
const TRIAL_POINTS: f64 = 10.0;
const TRIAL_RATIO: f64 = 1.5;
/// A month.
const TRIAL_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
const LEAST_CALM: Duration = Duration::from_secs(1);
const MOST_CALM: Duration = Duration::from_secs(7 * 24 * 3600);

const MAX_WINDOWS: usize = 20;
/// Characters of whom to call.
const MAX_CONTACT: usize = 200;

const INSTANT: &str = "a time with its offset, such as `2026-12-01T08:00:00+01:00`";
const CONTACT: &str = "one line of text, up to 200 characters";
const WINDOWS: &str = "a `[[windows]]` for each window";
const DAYS: &str = "a list of days, such as `[\"mon\", \"tue\"]`";
const TIME: &str = "a time of day from `00:00` to `24:00`";
const ZONE: &str = "a zone such as `Europe/Copenhagen`, `UTC` or `+01:00`";
const NAME: &str = "up to 64 lower-case letters, digits and hyphens";
const STAGES: &str = "a `[[stages]]` for each stage";
const SHARE: &str = "a number, the percentage of users";
const TEXTS: &str = "a list of texts";
const SPAN: &str = "a span of time such as `48h` or `1h 30m`";
/// Longer spans lead to dates that nothing can hold.
const LONGEST_SPAN: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

pub(super) fn plan(text: &str, origin: &str, known: &KnownNames) -> Result<Plan, TomlFaults> {
    toml_reader::document(text, origin, |table| root(table, known))
}

fn root(table: &mut TomlTable<'_>, known: &KnownNames) -> Plan {
    let name = table.required("name", NAME, name);
    let stages = table.required("stages", STAGES, stages).unwrap_or_default();
    let hours = hours(&stages);
    let description = table.optional("description", |it| it.text("a text"));
    let tasks = table.optional("tasks", |it| it.list(TEXTS));
    let tasks = tasks.map(|it| task_names(&it, known.tasks.as_deref()));
    let no_traffic = table.optional("no_traffic", |it| it.table(no_traffic));
    let judges = [
        ("evidence", Judge::Evidence),
        ("thresholds", Judge::Thresholds),
    ];
    let judge = table.optional("judge", |it| it.word(&judges));
    let algorithms = Algorithm::ALL.map(|it| (it.name(), it));
    let algorithm = table.optional("algorithm", |it| it.word(&algorithms));
    let evidence = table.optional("evidence", |it| it.table(|table| evidence(table, hours)));
    let holdout = table.optional("holdout", |it| number(it, 0.0, MAX_HOLDOUT));
    let covered = tasks.as_deref().unwrap_or_default();
    let control = table.optional("control", |it| route(it, known, covered));
    let candidate = table.optional("candidate", |it| route(it, known, covered));
    let arms = [&control, &candidate].map(|it| it.as_deref().unwrap_or_default());
    let arms = arms.concat();
    let judging = table.optional("judging", |it| {
        if judge == Some(Judge::Thresholds) {
            it.fault(
                "`judging` counts for nothing where `judge` is `thresholds`; expected one of them",
            );
        }
        it.table(|table| judging::read(table, known, covered, &arms))
    });
    Plan {
        name: name.unwrap_or_default(),
        description: description.unwrap_or_default().to_owned(),
        tasks: tasks.unwrap_or_default(),
        control,
        candidate,
        stages,
        forced_on: table.optional("forced_on", ids).unwrap_or_default(),
        forced_off: table.optional("forced_off", ids).unwrap_or_default(),
        deadline: table.optional("deadline", duration),
        no_traffic: no_traffic.unwrap_or(NoTraffic {
            alert_after: HOUR,
            hold: false,
        }),
        holdout: holdout.and_then(Percent::new).unwrap_or_default(),
        judge: judge.unwrap_or(Judge::Evidence),
        algorithm: algorithm.unwrap_or(Algorithm::Murmur3),
        evidence: evidence.unwrap_or_else(|| EvidencePlan {
            planned_hours: hours,
            ..EvidencePlan::default()
        }),
        trial: table.optional("trial", |it| it.table(trial)),
        placebo: table.optional("placebo", |it| it.table(placebo)),
        judging,
        not_before: table.optional("not_before", |it| it.read(INSTANT, instant)),
        windows: table.optional("windows", windows).unwrap_or_default(),
        on_call: table.optional("on_call", |it| it.read(CONTACT, contact)),
    }
}

/// A time of the world: TOML's own, or a text.
fn instant(value: &DeValue<'_>) -> Option<DateTime<Utc>> {
    let text = match value {
        DeValue::Datetime(at) => at.to_string(),
        value => value.as_str()?.to_owned(),
    };
    let at = DateTime::parse_from_rfc3339(&text.replacen(' ', "T", 1));
    Some(at.ok()?.with_timezone(&Utc).trunc_subsecs(3))
}

/// On one line.
fn contact(value: &DeValue<'_>) -> Option<String> {
    let text = value.as_str()?.trim();
    let is_line = !text.is_empty() && !text.chars().any(char::is_control);
    (is_line && text.chars().count() <= MAX_CONTACT).then(|| text.to_owned())
}

fn windows(field: &TomlField<'_>) -> Option<Vec<Window>> {
    let tables = field.list(WINDOWS)?;
    let count = tables.len();
    if count == 0 || count > MAX_WINDOWS {
        field.fault(format!(
            "there are {count} `windows`; expected 1 to {MAX_WINDOWS}, or none of the key"
        ));
    }
    Some(tables.iter().filter_map(|it| it.table(window)?).collect())
}

fn window(table: &mut TomlTable<'_>) -> Option<Window> {
    let days = table.optional("days", |it| {
        let items = it.list(DAYS)?;
        if items.is_empty() {
            it.fault(format!("`days` is empty; expected {DAYS}"));
        }
        items.iter().map(|it| it.word(&Day::ALL)).collect()
    });
    let mut minute = |key| {
        table.get(key).map(|it| {
            let minute = it.read(TIME, |value| value.as_str()?.parse::<Minute>().ok());
            (it, minute)
        })
    };
    let (from, to) = (minute("from"), minute("to"));
    if let (Some((field, Some(from))), Some((_, Some(to)))) = (&from, &to)
        && from == to
    {
        field.fault(format!(
            "`from` and `to` are both {from}; leave both out for whole days"
        ));
    }
    let [from, to] =
        [(from, Minute::FIRST), (to, Minute::LAST)].map(|(field, default)| match field {
            Some((_, minute)) => minute,
            None => Some(default),
        });
    let zone = table.required("zone", ZONE, |it| {
        it.read(ZONE, |value| value.as_str()?.parse::<Zone>().ok())
    });
    Some(Window {
        days: days.unwrap_or_else(|| Day::ALL.map(|(_, day)| day).to_vec()),
        from: from?,
        to: to?,
        zone: zone?,
    })
}

fn trial(table: &mut TomlTable<'_>) -> TrialDemand {
    let verdicts = [
        ("no-worse", TrialVerdict::NoWorse),
        ("not-proven", TrialVerdict::NotProven),
    ];
    let verdict = table.optional("verdict", |it| it.word(&verdicts));
    let margin = table.optional("margin", |it| number(it, 0.1, 50.0));
    let ratio = table.optional("ratio", |it| number(it, 1.01, 3.99));
    let pairs = table.optional("pairs", |it| count(it, MAX_PAIRS));
    TrialDemand {
        verdict: verdict.unwrap_or(TrialVerdict::NoWorse),
        pairs: pairs.unwrap_or(TRIAL_PAIRS).into(),
        max_age: table.optional("max_age", duration).unwrap_or(TRIAL_AGE),
        margin: margin.unwrap_or(TRIAL_POINTS) / 100.0,
        ratio: ratio.unwrap_or(TRIAL_RATIO),
    }
}

fn placebo(table: &mut TomlTable<'_>) -> PlaceboDemand {
    PlaceboDemand {
        max_age: table.optional("max_age", duration).unwrap_or(TRIAL_AGE),
    }
}

fn no_traffic(table: &mut TomlTable<'_>) -> NoTraffic {
    NoTraffic {
        alert_after: table.optional("alert_after", duration).unwrap_or(HOUR),
        hold: table.optional("hold", TomlField::flag).unwrap_or_default(),
    }
}

fn stages(field: &TomlField<'_>) -> Option<Vec<Stage>> {
    let tables = field.list(STAGES)?;
    let count = tables.len();
    if count == 0 || count > MAX_STAGES {
        field.fault(format!(
            "there are {count} `stages`; expected 1 to {MAX_STAGES}"
        ));
    }
    let mut least = 0.0;
    let stages = tables
        .iter()
        .filter_map(|it| it.table(|table| stage(table, &mut least)));
    Some(stages.collect())
}

/// `least` is the share of the stage before, and becomes that of this one.
fn stage(table: &mut TomlTable<'_>, least: &mut f64) -> Stage {
    let share = table.required("share", SHARE, |it| {
        let share = number(it, 0.001, 100.0)?;
        if share < *least {
            it.fault(format!(
                "`share` sinks from {least} to {share}; stages only rise"
            ));
        }
        *least = share;
        Some(share)
    });
    let share = share.unwrap_or_default();
    let gates = [("automatic", Gate::Automatic), ("manual", Gate::Manual)];
    let gate = table.optional("gate", |it| it.word(&gates));
    let rho_bad = table.optional("rho_bad", |it| number(it, 1.01, 100.0));
    let guards = table.optional("guards", |it| it.table(guards));
    Stage {
        share: Percent::new(share).unwrap_or_default(),
        soak: table.required("soak", SPAN, duration).unwrap_or_default(),
        gate: gate.unwrap_or(Gate::Automatic),
        min_requests: table
            .optional("min_requests", TomlField::whole)
            .unwrap_or(200),
        min_users: table.optional("min_users", TomlField::whole).unwrap_or(20),
        min_time: table.optional("min_time", duration).unwrap_or(HOUR),
        rho_bad: rho_bad.unwrap_or(if share < 25.0 { 2.0 } else { 1.5 }),
        guards: guards.unwrap_or_default(),
    }
}

fn guards(table: &mut TomlTable<'_>) -> Guards {
    Guards {
        max_error_rate: table.optional("max_error_rate", |it| number(it, 0.0, 1.0)),
        max_cost: table
            .optional("max_cost", |it| number(it, 1e-6, 1e6))
            .map(Microdollars::from_dollars),
        max_average: table.optional("max_average", duration),
        max_cost_ratio: table.optional("max_cost_ratio", |it| number(it, 0.01, 1e6)),
        max_length_ratio: table.optional("max_length_ratio", |it| number(it, 0.01, 1e6)),
    }
}

fn evidence(table: &mut TomlTable<'_>, hours: u32) -> EvidencePlan {
    let default = EvidencePlan::default();
    let [watch, hold, rollback] = levels(table, &default).unwrap_or_default();
    let margin = table.optional("margin", |it| number(it, 1.0, 10.0));
    let max_error_rate = table.optional("max_error_rate", |it| number(it, 1e-6, 0.95));
    let good_error_rate = table.optional("good_error_rate", |it| number(it, 1e-6, 0.95));
    let weights = table.optional("weights", weights);
    let cap = table.optional("cap_per_user_day", |it| count(it, 3));
    let slow_floor = table.optional("slow_floor", duration);
    let outage_calm = table.optional("outage_calm", calm);
    let outage_period = table.optional("outage_period", duration);
    let planned_hours = table.optional("planned_hours", |it| count(it, MAX_HOURS));
    EvidencePlan {
        rollback,
        hold,
        watch,
        margin: margin.unwrap_or(default.margin),
        weights: weights.unwrap_or(default.weights),
        max_error_rate: max_error_rate.unwrap_or(default.max_error_rate),
        good_error_rate: good_error_rate.unwrap_or(default.good_error_rate),
        cap_per_user_day: cap.unwrap_or(default.cap_per_user_day),
        slow_floor_ms: slow_floor.map_or(default.slow_floor_ms, |it| it.as_secs_f64() * 1e3),
        outage_calm_ms: outage_calm.map_or(default.outage_calm_ms, millis),
        outage_period_ms: outage_period.map_or(default.outage_period_ms, |it| {
            i64::try_from(it.as_millis()).unwrap_or(i64::MAX)
        }),
        planned_hours: planned_hours.unwrap_or(hours),
    }
}

/// `watch`, `hold` and `rollback`; `None` where one is no number and so cannot be compared.
fn levels(table: &mut TomlTable<'_>, default: &EvidencePlan) -> Option<[f64; 3]> {
    let fields = ["watch", "hold", "rollback"].map(|key| table.get(key));
    let level = |field: &Option<TomlField<'_>>, default| match field {
        Some(field) => number(field, 1.0, 1e9),
        None => Some(default),
    };
    let [watch, hold, rollback] = &fields;
    let watch = level(watch, default.watch);
    let hold = level(hold, default.hold);
    let rollback = level(rollback, default.rollback);
    let (watch, hold, rollback) = (watch?, hold?, rollback?);
    if !(watch <= hold && hold <= rollback)
        && let Some(field) = fields.iter().flatten().next()
    {
        field.fault(format!(
            "levels must rise: `watch` is {watch}, `hold` {hold}, `rollback` {rollback}"
        ));
    }
    Some([watch, hold, rollback])
}

/// Normalised; what is not named has no weight.
fn weights(field: &TomlField<'_>) -> Option<[f64; 5]> {
    let [errors, slow, very_slow, feedback, quality] = field.table(|table| {
        ["errors", "slow", "very_slow", "feedback", "quality"].map(|key| match table.get(key) {
            Some(weight) => weight.number(),
            None => Some(0.0),
        })
    })?;
    let weights = [errors?, slow?, very_slow?, feedback?, quality?];
    let sum: f64 = weights.iter().sum();
    let is_good = weights.iter().all(|weight| *weight >= 0.0) && sum > 0.0 && sum.is_finite();
    if !is_good {
        field.fault("`weights` must not be negative, and one must be above 0");
        return None;
    }
    Some(weights.map(|weight| weight / sum))
}

/// What the soaks sum up to.
fn hours(stages: &[Stage]) -> u32 {
    let hours: f64 = stages.iter().map(|it| it.soak.as_secs_f64() / 3600.0).sum();
    // At most some years; the parser of spans refuses more than fits.
    hours.ceil().clamp(1.0, f64::from(MAX_HOURS)) as u32
}

fn name(field: &TomlField<'_>) -> Option<String> {
    let name = field.text(NAME)?;
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_word) {
        field.fault(format!("`name` is `{name}`; expected {NAME}"));
    }
    Some(name.to_owned())
}

fn route(field: &TomlField<'_>, known: &KnownNames, tasks: &[String]) -> Option<Vec<String>> {
    let models = field.list(TEXTS)?;
    if models.is_empty() {
        let name = field.name();
        field.fault(format!(
            "{name} is empty; leave it out to use the catalog's route"
        ));
    }
    for model in &models {
        let name = model.text("a text").unwrap_or_default();
        may_get(model, name, known, tasks);
    }
    Some(names(&models, "model", known.models.as_deref()))
}

/// A fault where a model may not get the texts of these tasks.
fn may_get(field: &TomlField<'_>, model: &str, known: &KnownNames, tasks: &[String]) {
    let covered = |task: &String| tasks.is_empty() || tasks.contains(task);
    for (task, kept_out) in known.kept_out.iter().filter(|(task, _)| covered(task)) {
        if let Some(why) = kept_out.get(model) {
            field.fault(format!(
                "model `{model}` may not get the texts of task `{task}`: {why}"
            ));
        }
    }
}

/// Tasks of the catalog, or the one of a rehearsal alone.
fn task_names(items: &[TomlField<'_>], known: Option<&[String]>) -> Vec<String> {
    let is_rehearsal = |item: &TomlField<'_>| item.text("a text") == Some(REHEARSAL);
    match items {
        [item] if is_rehearsal(item) => vec![REHEARSAL.to_owned()],
        items => names(items, "task", known),
    }
}

fn names(items: &[TomlField<'_>], what: &str, known: Option<&[String]>) -> Vec<String> {
    let mut seen = Vec::with_capacity(items.len());
    for item in items {
        let Some(text) = item.text("a text") else {
            continue;
        };
        let name = text.to_owned();
        if let Some(known) = known.filter(|known| !known.contains(&name)) {
            item.unknown(what, text, known.iter().map(String::as_str));
        }
        if seen.contains(&name) {
            item.fault(format!("{what} `{name}` is listed twice"));
        }
        seen.push(name);
    }
    seen
}

fn ids(field: &TomlField<'_>) -> Option<Vec<String>> {
    let ids = field.list(TEXTS)?;
    let ids = ids.iter().filter_map(|it| {
        let id = it.text("a text")?;
        if Subject::parse(id).is_none() {
            let name = field.name();
            it.fault(format!("{name}: no user can have the id `{id}`"));
        }
        Some(id.to_owned())
    });
    Some(ids.collect())
}

fn duration(field: &TomlField<'_>) -> Option<Duration> {
    let text = field.text(SPAN)?;
    let parsed = span::parse(text).and_then(|span| {
        if span > LONGEST_SPAN {
            return Err(format!("`{text}` is longer than 10 years"));
        }
        Ok(span)
    });
    parsed
        .map_err(|error| field.fault(format!("{}: {error}", field.name())))
        .ok()
}

/// How long a candidate has to answer probes after an outage.
fn calm(field: &TomlField<'_>) -> Option<Duration> {
    let calm = duration(field)?;
    if !(LEAST_CALM..=MOST_CALM).contains(&calm) {
        let [is, least, most] = [calm, LEAST_CALM, MOST_CALM].map(humantime::format_duration);
        let name = field.name();
        field.fault(format!("{name} is {is}; expected {least} to {most}"));
    }
    Some(calm)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn number(field: &TomlField<'_>, least: f64, most: f64) -> Option<f64> {
    let number = field.number()?;
    Some(field.within(number, least..=most))
}

fn count(field: &TomlField<'_>, most: u32) -> Option<u32> {
    let count = field.whole()?;
    u32::try_from(field.within(count, 1..=most.into())).ok()
}
