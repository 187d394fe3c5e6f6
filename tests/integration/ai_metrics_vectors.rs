//! The original's metrics, health, advice and log lines, field by field.
//!
//! What a rule is about is worked out here once more from the case's own events, in the plainest
//! way there is, so that a rule excuses a field only where the case gives it a reason to differ.

use std::collections::BTreeMap;

use chrono::DateTime;
use modelramp::{
    _core::{
        assignment::Variant,
        units::{Microdollars, Percent},
    },
    ai_metrics::{
        AiMetrics,
        health::{Health, HealthFigures},
        recommendation::Recommendation,
        window::Minutes,
    },
    providers::fault::FaultKind,
    recording::{Event, Outcome},
};
use serde_json::{Map, Value, json};

use crate::support::vectors::{self, Case, Rules, number, special};

/// How many entries the original kept.
const ORIGINAL_LIMIT: usize = 10_000;
/// The original's percentiles: name, percent.
const PERCENTILES: [(&str, usize); 3] = [
    ("p50ResponseTime", 50),
    ("p95ResponseTime", 95),
    ("p99ResponseTime", 99),
];

#[test]
fn metrics_vectors() {
    let Some(cases) = vectors::load("ai_metrics.json") else {
        return;
    };
    let mut rules = Rules::new("ai_metrics.json");
    for case in &cases {
        match case.function.as_str() {
            "metricsScenario" => scenario(case, &mut rules),
            "checkHealthThresholds" => thresholds(case, &mut rules),
            "getModelStats" => model_stats(case, &mut rules),
            other => rules.fail(case, "fn", format_args!("unknown function `{other}`")),
        }
    }
    rules.finish();
}

/// One tracked metric of a case.
struct Entry {
    at_ms: i64,
    latency_ms: f64,
    event: Event,
}

fn start(case: &Case) -> i64 {
    let t0 = case.rest.get("t0").and_then(Value::as_str);
    t0.map_or(0, |t0| {
        DateTime::parse_from_rfc3339(t0).unwrap().timestamp_millis()
    })
}

fn entries(case: &Case) -> Vec<Entry> {
    let steps = case.input["steps"].as_array().cloned().unwrap_or_default();
    let mut entries = Vec::new();
    for step in &steps {
        let every = step["everyMs"].as_i64().unwrap_or(0);
        for i in 0..step["repeat"].as_i64().unwrap_or(1) {
            let at_ms = start(case) + step["atMs"].as_i64().unwrap() + i * every;
            entries.push(entry(at_ms, &step["metric"]));
        }
    }
    entries
}

fn entry(at_ms: i64, metric: &Value) -> Entry {
    let text = |field: &str| metric[field].as_str().unwrap_or_default();
    let latency_ms = number(&metric["responseTime"]).unwrap();
    let outcome = if metric["success"] == true {
        Outcome::Success
    } else {
        Outcome::Fault(FaultKind::Upstream)
    };
    Entry {
        at_ms,
        latency_ms,
        event: Event {
            at_ms,
            request_id: "vector".into(),
            user_id: metric["userId"].as_i64(),
            seq: 0,
            subject: None,
            rollout: None,
            counted: false,
            was_open: false,
            model: text("modelId").into(),
            task: text("taskType").into(),
            variant: Variant::Control,
            position: 0,
            latency_ms,
            first_token_ms: None,
            words_ms: None,
            prompt_tokens: 0,
            completion_tokens: 0,
            cost: Microdollars(0),
            outcome,
            quality: None,
            answer_chars: None,
            status: None,
            cause: None,
            finish: None,
        },
    }
}

/// What of a window can be a reason to differ.
struct Reasons {
    /// C5: percentiles whose two definitions disagree over these entries, or whose nearest rank is
    /// no whole number of milliseconds.
    percentiles: Vec<&'static str>,
    /// C22: the original's list was full, so it had forgotten the oldest entries.
    forgot: bool,
    /// C22: a duration that we refuse.
    refused: bool,
}

impl Reasons {
    fn of(entries: &[Entry], from_ms: i64) -> Self {
        let inside = entries.iter().filter(|entry| entry.at_ms >= from_ms);
        let mut latencies: Vec<f64> = inside.map(|entry| entry.latency_ms).collect();
        latencies.sort_by(f64::total_cmp);
        let n = latencies.len();
        let differs = |percent: usize| {
            let original = latencies.get(n * percent / 100);
            let nearest = latencies.get((n * percent).div_ceil(100).max(1) - 1);
            original.copied() != nearest.map(|latency| latency.ceil())
        };
        Self {
            percentiles: PERCENTILES
                .into_iter()
                .filter_map(|(name, percent)| differs(percent).then_some(name))
                .collect(),
            forgot: entries.len() > ORIGINAL_LIMIT,
            refused: entries
                .iter()
                .any(|entry| !entry.latency_ms.is_finite() || entry.latency_ms < 0.0),
        }
    }

    fn p95(&self) -> bool {
        self.percentiles.contains(&"p95ResponseTime")
    }

    /// Rules for everything that is worked out from the entries.
    fn figures(&self) -> Vec<(&'static str, bool)> {
        vec![
            ("C22 (list capped)", self.forgot),
            ("C22 (duration refused)", self.refused),
        ]
    }

    fn summary(&self, field: &str) -> Vec<(&'static str, bool)> {
        let mut rules = self.figures();
        rules.push(("C5", self.percentiles.contains(&field)));
        rules
    }

    /// Rules for texts and verdicts that P95 has a part in.
    fn verdict(&self) -> Vec<(&'static str, bool)> {
        let mut rules = self.figures();
        rules.push(("C5", self.p95()));
        rules
    }
}

fn scenario(case: &Case, rules: &mut Rules) {
    let entries = entries(case);
    let metrics = AiMetrics::new();
    for entry in &entries {
        metrics.record(entry.event.clone());
    }
    log_lines(case, &entries, rules);

    let queries = case.input["queries"].as_array().unwrap();
    let outputs = case.output.as_array().unwrap();
    for (query, recorded) in queries.iter().zip(outputs) {
        let now_ms = start(case) + query["atMs"].as_i64().unwrap();
        let now = DateTime::from_timestamp_millis(now_ms).unwrap();
        let call = query["call"].as_str().unwrap();
        let argument = query["args"].get(0);

        if let ("getMetricsSummary" | "getMetricsSummary+checkHealthThresholds", Some(minutes)) =
            (call, argument)
        {
            let minutes = number(minutes).unwrap();
            let Ok(minutes) = Minutes::try_from(minutes) else {
                let out_of_range = !(1.0..=10_080.0).contains(&minutes);
                refused(case, rules, "C7", "lastMinutes", out_of_range);
                continue;
            };
            let reasons = Reasons::of(&entries, minutes.start(now));
            let summary = metrics.summary(minutes, now);
            if call == "getMetricsSummary" {
                compare_summary(case, rules, &json!(summary), recorded, &reasons);
            } else {
                compare_health(case, rules, &json!(summary.health), recorded, &reasons);
            }
            continue;
        }

        let summary = metrics.summary(Minutes::HOUR, now);
        let reasons = Reasons::of(&entries, Minutes::HOUR.start(now));
        match (call, argument) {
            ("getMetricsSummary", None) => {
                compare_summary(case, rules, &json!(summary), recorded, &reasons);
            }
            ("getMetricsSummary+checkHealthThresholds", None) => {
                compare_health(case, rules, &json!(summary.health), recorded, &reasons);
            }
            ("getRolloutRecommendation", Some(percentage)) => {
                let percentage = number(percentage).unwrap();
                let Some(current) = Percent::new(percentage) else {
                    let out_of_range = !(0.0..=100.0).contains(&percentage);
                    refused(case, rules, "C1", "percentage", out_of_range);
                    continue;
                };
                let ours = json!(Recommendation::of(&summary, current));
                let below = [50.0, 10.0].into_iter().find(|rung| *rung < percentage);
                let to_rung_below = !summary.health.critical.is_empty()
                    && ours["recommendedPercentage"] == json!(below.unwrap_or(0.0));
                rules.compare_fields(case, &ours, recorded, |field| {
                    let mut rules = reasons.verdict();
                    rules.push(("C8", field == "recommendedPercentage" && to_rung_below));
                    rules
                });
            }
            ("logMetricsSummary", None) => {
                let ours = summary.lines();
                compare_lines(case, rules, &ours, &recorded["lines"], &reasons);
            }
            _ => rules.fail(case, call, "unknown call"),
        }
    }
}

/// An argument that our types do not even take.
fn refused(case: &Case, rules: &mut Rules, rule: &'static str, field: &str, out_of_range: bool) {
    if out_of_range {
        rules.excuse(rule, field);
    } else {
        rules.fail(case, field, "refused though it is in range");
    }
}

fn compare_summary(
    case: &Case,
    rules: &mut Rules,
    ours: &Value,
    recorded: &Value,
    reasons: &Reasons,
) {
    let mut totals = recorded.clone();
    let models = totals
        .as_object_mut()
        .and_then(|fields| fields.remove("modelBreakdown"));
    rules.compare_fields(case, ours, &totals, |field| reasons.summary(field));
    for (model, recorded) in models.as_ref().and_then(Value::as_object).unwrap() {
        let ours = &ours["modelBreakdown"][model];
        rules.compare_fields(case, ours, recorded, |_| reasons.figures());
    }
    for model in ours["modelBreakdown"].as_object().unwrap().keys() {
        let known = models.as_ref().is_some_and(|m| m.get(model).is_some());
        if !known && !reasons.forgot && !is_inherited_property(model) {
            rules.fail(case, "modelBreakdown", format_args!("`{model}` is new"));
        }
    }
}

/// Names that every JavaScript object has: such a model vanished from the original's breakdown.
/// Ours may have more than it had.
fn is_inherited_property(name: &str) -> bool {
    [
        "constructor",
        "hasOwnProperty",
        "isPrototypeOf",
        "propertyIsEnumerable",
        "toLocaleString",
        "toString",
        "valueOf",
        "__proto__",
        "__defineGetter__",
        "__defineSetter__",
        "__lookupGetter__",
        "__lookupSetter__",
    ]
    .contains(&name)
}

fn compare_health(
    case: &Case,
    rules: &mut Rules,
    ours: &Value,
    recorded: &Value,
    reasons: &Reasons,
) {
    for list in ["warnings", "critical"] {
        // P95 apart, so that C5 cannot hide anything else.
        let (ours_p95, ours_rest) = split_p95(&ours[list]);
        let (recorded_p95, recorded_rest) = split_p95(&recorded[list]);
        rules.compare(case, list, &ours_rest, &recorded_rest, &reasons.figures());
        let field = format!("{list} (P95)");
        rules.compare(case, &field, &ours_p95, &recorded_p95, &reasons.verdict());
    }
    let verdict = reasons.verdict();
    rules.compare(
        case,
        "healthy",
        &ours["healthy"],
        &recorded["healthy"],
        &verdict,
    );
}

fn split_p95(texts: &Value) -> (Value, Value) {
    let texts = texts.as_array().cloned().unwrap_or_default();
    let is_p95 = |text: &Value| text.as_str().is_some_and(|text| text.starts_with("P95 "));
    let (p95, rest): (Vec<_>, Vec<_>) = texts.into_iter().partition(is_p95);
    (p95.into(), rest.into())
}

/// A printed block, with the blocks of models, which may come in any order, taken out.
struct Block {
    lines: Vec<String>,
    models: BTreeMap<String, Vec<String>>,
}

impl Block {
    fn of(lines: &[String]) -> Self {
        let start = lines.iter().position(|line| line == "\nModel Breakdown:");
        let end = lines
            .iter()
            .position(|line| line.starts_with("\nHealth Status:"));
        let (start, end) = (start.unwrap() + 1, end.unwrap());
        let mut models = BTreeMap::new();
        for block in lines[start..end].chunks(4) {
            models.insert(block[0].clone(), block[1..].to_vec());
        }
        Self {
            lines: [&lines[..start], &lines[end..]].concat(),
            models,
        }
    }
}

fn compare_lines(
    case: &Case,
    rules: &mut Rules,
    ours: &[String],
    recorded: &Value,
    reasons: &Reasons,
) {
    let recorded: Vec<String> = serde_json::from_value(recorded.clone()).unwrap();
    let (ours, recorded) = (Block::of(ours), Block::of(&recorded));

    for (model, recorded) in &recorded.models {
        let ours = json!(ours.models.get(model));
        rules.compare(
            case,
            "lines (model)",
            &ours,
            &json!(recorded),
            &reasons.figures(),
        );
    }
    // Up to the verdict the lines are the same in number; each is judged by what it shows.
    let verdict = |lines: &[String]| {
        lines
            .iter()
            .position(|line| line.starts_with("\nHealth Status:"))
            .unwrap()
    };
    let (our_end, recorded_end) = (verdict(&ours.lines), verdict(&recorded.lines));
    if our_end != recorded_end {
        return rules.fail(case, "lines", "another number of lines");
    }
    for (ours, recorded) in ours.lines[..our_end]
        .iter()
        .zip(&recorded.lines[..recorded_end])
    {
        let mut allowed = reasons.figures();
        let shows = |label: &str, name: &str| {
            recorded.trim_start().starts_with(label) && reasons.percentiles.contains(&name)
        };
        allowed.push(("C5", shows("P50", PERCENTILES[0].0)));
        allowed.push(("C5", shows("P95", PERCENTILES[1].0)));
        allowed.push(("C5", shows("P99", PERCENTILES[2].0)));
        let without_nan = recorded.replace("NaN%", "n/a");
        allowed.push(("C9", recorded.contains("NaN%") && *ours == without_nan));
        rules.compare(case, "lines", &json!(ours), &json!(recorded), &allowed);
    }
    let tail = |lines: &[String], end: usize| {
        let (p95, rest): (Vec<String>, Vec<String>) = lines[end..]
            .iter()
            .cloned()
            .partition(|line| line.starts_with("   - P95 "));
        (json!(p95), json!(rest))
    };
    let (our_p95, our_rest) = tail(&ours.lines, our_end);
    let (recorded_p95, recorded_rest) = tail(&recorded.lines, recorded_end);
    let allowed = reasons.verdict();
    rules.compare(case, "lines (P95)", &our_p95, &recorded_p95, &allowed);
    // The verdict's own line and the headings come and go with P95.
    rules.compare(case, "lines (verdict)", &our_rest, &recorded_rest, &allowed);
}

/// What the original printed while tracking: everything, or how much and the first of it.
fn log_lines(case: &Case, entries: &[Entry], rules: &mut Rules) {
    let Some(log) = case.rest.get("log") else {
        return;
    };
    let ours: Vec<(&str, String)> = entries
        .iter()
        .filter(|entry| entry.event.validate().is_ok())
        .flat_map(|entry| {
            let failure = entry.event.failure_line().map(|line| ("error", line));
            let slow = entry.event.slow_line().map(|line| ("warn", line));
            failure.into_iter().chain(slow)
        })
        .collect();
    let refused = [("C22 (duration refused)", Reasons::of(entries, 0).refused)];
    let recorded = match log.get("lines") {
        Some(count) => {
            rules.compare(case, "log (count)", &json!(ours.len()), count, &refused);
            &log["first"]
        }
        None => {
            let count = json!(log.as_array().map_or(0, Vec::len));
            rules.compare(case, "log (count)", &json!(ours.len()), &count, &refused);
            log
        }
    };
    for (recorded, (level, line)) in recorded.as_array().unwrap().iter().zip(&ours) {
        rules.compare(case, "log (level)", &json!(level), &recorded["level"], &[]);
        let text = recorded["text"].as_str().unwrap();
        let head = |text: &str| text.split(", Error=").next().map(str::to_owned);
        let is_error = text.contains(", Error=") && head(text) == head(line);
        rules.compare(
            case,
            "log",
            &json!(line),
            &json!(text),
            &[("C24 (the kind of fault, not the upstream's text)", is_error)],
        );
    }
}

fn thresholds(case: &Case, rules: &mut Rules) {
    let figure = |field: &str| number(&case.input[field]).unwrap();
    let health = Health::of(&HealthFigures {
        requests: case.input["totalRequests"].as_u64().unwrap(),
        error_rate: figure("errorRate"),
        p95_ms: figure("p95ResponseTime"),
        average_ms: figure("avgResponseTime"),
    });
    rules.compare_fields(case, &json!(health), &case.output, |_| Vec::new());
}

/// No procedure of ours gives these; they are figures of the summary under other names.
fn model_stats(case: &Case, rules: &mut Rules) {
    let entries = entries(case);
    let metrics = AiMetrics::new();
    for entry in &entries {
        metrics.record(entry.event.clone());
    }
    let now_ms = start(case) + case.input["atMs"].as_i64().unwrap_or(0);
    let now = DateTime::from_timestamp_millis(now_ms).unwrap();
    let minutes = case
        .input
        .get("lastMinutes")
        .filter(|m| special(m).is_none());
    let minutes = minutes.and_then(Value::as_f64).unwrap_or(60.0);
    let Ok(minutes) = Minutes::try_from(minutes) else {
        return refused(case, rules, "C7", "lastMinutes", true);
    };
    let summary = metrics.summary(minutes, now);
    let usage: Map<String, Value> = summary
        .model_breakdown
        .iter()
        .map(|(model, figures)| (model.to_string(), json!(figures.requests)))
        .collect();
    let ours = json!({
        "totalRequests": summary.total_requests,
        "modelUsage": usage,
        "averageResponseTime": summary.avg_response_time,
        "errorRate": summary.error_rate,
    });
    let reasons = Reasons::of(&entries, minutes.start(now));
    rules.compare_fields(case, &ours, &case.output, |_| reasons.figures());
}
