//! A window's figures as the front end and the log show them.

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    distribution::Distribution,
    health::{Health, HealthFigures},
    numbers::one_decimal,
    window::{PerVariant, Totals, WindowCounts},
};
use crate::_core::{assignment::Variant, units::Microdollars};

/// Width of the rules in the log.
const RULE_WIDTH: usize = 70;

/// Requests, failures and latency of a window. Cancelled attempts are no requests.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Attempts that were not cancelled.
    pub total_requests: u64,
    /// Those that were answered.
    pub successful_requests: u64,
    /// Those that met a fault.
    pub failed_requests: u64,
    /// Failures in percent, not rounded.
    pub error_rate: f64,
    /// Mean latency of all requests in milliseconds, rounded.
    pub avg_response_time: u64,
    /// Median latency in milliseconds, rounded up.
    pub p50_response_time: u64,
    /// Latency in milliseconds that 95 % do not exceed, rounded up.
    pub p95_response_time: u64,
    /// Latency in milliseconds that 99 % do not exceed, rounded up.
    pub p99_response_time: u64,
    /// By model; the order is free.
    pub model_breakdown: BTreeMap<Arc<str>, ModelFigures>,
    /// By variant.
    pub variants: PerVariant<VariantFigures>,
    /// Which thresholds the figures exceed.
    pub health: Health,
}

/// One model's share of a window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelFigures {
    /// Attempts that were not cancelled.
    pub requests: u64,
    /// Mean latency in milliseconds, rounded.
    pub avg_response_time: u64,
    /// Failures in percent, not rounded.
    pub error_rate: f64,
    /// Answers in which something is wrong, in percent of those that were looked at, not rounded; null
    /// where none was.
    pub flaw_rate: Option<f64>,
    /// Answers that a model judged beside the other side's to the same question.
    pub judged_answers: u64,
    /// Those of them that were the worse ones.
    pub worse_answers: u64,
}

/// One variant's share of a window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VariantFigures {
    /// Attempts that were not cancelled.
    pub requests: u64,
    /// Those that met a fault.
    pub failures: u64,
    /// Failures in percent, not rounded.
    pub error_rate: f64,
    /// Mean latency in milliseconds, rounded.
    pub avg_response_time: u64,
    /// Median latency in milliseconds, rounded up.
    pub p50_response_time: u64,
    /// Latency in milliseconds that 95 % do not exceed, rounded up.
    pub p95_response_time: u64,
    /// Latency in milliseconds that 99 % do not exceed, rounded up.
    pub p99_response_time: u64,
    /// Median time to the first token in milliseconds, rounded up; null where nothing was streamed.
    pub p50_first_token_time: Option<u64>,
    /// Time to the first token in milliseconds that 95 % do not exceed, rounded up; null where nothing was streamed.
    pub p95_first_token_time: Option<u64>,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// What it cost, in millionths of a US dollar.
    pub cost_microdollars: Microdollars,
    /// Answers that were looked at.
    pub checked_answers: u64,
    /// Those in which something is wrong: cut off, refused, not of the schema, in another language.
    pub flawed_answers: u64,
    /// Answers that a model judged beside the other side's to the same question.
    pub judged_answers: u64,
    /// Those of them that were the worse ones.
    pub worse_answers: u64,
}

impl Summary {
    /// The figures of a window, here or merged from several replicas.
    pub fn of(window: &WindowCounts) -> Self {
        let mut all = window.totals(Variant::Control);
        all.merge(&window.totals(Variant::Candidate));
        let PerVariant { control, candidate } = &window.durations;
        let latency = Distribution::default()
            .merge(&control.latency)
            .merge(&candidate.latency);
        let quantile = |percent| whole(latency.quantile(percent)).unwrap_or(0);
        let p95_response_time = quantile(95);
        let figures = HealthFigures {
            requests: all.requests,
            error_rate: all.error_rate(),
            p95_ms: p95_response_time as f64,
            average_ms: all.average_ms() as f64,
        };
        Self {
            total_requests: all.requests,
            successful_requests: all.requests - all.failures,
            failed_requests: all.failures,
            error_rate: figures.error_rate,
            avg_response_time: all.average_ms(),
            p50_response_time: quantile(50),
            p95_response_time,
            p99_response_time: quantile(99),
            model_breakdown: window
                .models
                .iter()
                .map(|(name, totals)| (name.clone(), ModelFigures::of(totals)))
                .collect(),
            variants: PerVariant::from_fn(|variant| VariantFigures::of(window, variant)),
            health: Health::of(&figures),
        }
    }

    /// The original's block for the log, one line an element; some begin or end with a line feed.
    pub fn lines(&self) -> Vec<String> {
        let rule = "=".repeat(RULE_WIDTH);
        // The original divides by the total here, and shows its error rate below.
        let answered = match self.total_requests {
            0 => "n/a".to_owned(),
            total => {
                let share = self.successful_requests as f64 / total as f64;
                format!("{}%", one_decimal(share * 100.0))
            }
        };
        let mut lines = vec![
            format!("\n{rule}"),
            "📊 AI METRICS SUMMARY (Last 60 minutes)".to_owned(),
            rule.clone(),
            format!("Total Requests:     {}", self.total_requests),
            format!(
                "Successful:         {} ({answered})",
                self.successful_requests
            ),
            format!(
                "Failed:             {} ({}%)",
                self.failed_requests,
                one_decimal(self.error_rate)
            ),
            "\nResponse Times:".to_owned(),
            format!("  Average:          {}ms", self.avg_response_time),
            format!("  P50 (median):     {}ms", self.p50_response_time),
            format!("  P95:              {}ms", self.p95_response_time),
            format!("  P99:              {}ms", self.p99_response_time),
            "\nModel Breakdown:".to_owned(),
        ];
        for (model, figures) in &self.model_breakdown {
            lines.push(format!("  {model}:"));
            lines.push(format!("    Requests:       {}", figures.requests));
            lines.push(format!(
                "    Avg Time:       {}ms",
                figures.avg_response_time
            ));
            lines.push(format!(
                "    Error Rate:     {}%",
                one_decimal(figures.error_rate)
            ));
        }
        let verdict = if self.health.healthy {
            "✅ HEALTHY"
        } else {
            "❌ UNHEALTHY"
        };
        lines.push(format!("\nHealth Status: {verdict}"));
        for (heading, texts) in [
            ("⚠️  Warnings:", &self.health.warnings),
            ("🚨 Critical Issues:", &self.health.critical),
        ] {
            if !texts.is_empty() {
                lines.push(heading.to_owned());
                lines.extend(texts.iter().map(|text| format!("   - {text}")));
            }
        }
        lines.push(format!("{rule}\n"));
        lines
    }
}

impl ModelFigures {
    fn of(totals: &PerVariant<Totals>) -> Self {
        let mut sum = totals.control;
        sum.merge(&totals.candidate);
        Self {
            requests: sum.requests,
            avg_response_time: sum.average_ms(),
            error_rate: sum.error_rate(),
            flaw_rate: sum.flaw_rate(),
            judged_answers: sum.judged,
            worse_answers: sum.judged_worse,
        }
    }
}

impl VariantFigures {
    fn of(window: &WindowCounts, variant: Variant) -> Self {
        let totals = window.totals(variant);
        let durations = window.durations.get(variant);
        let latency = |percent| whole(durations.latency.quantile(percent)).unwrap_or(0);
        Self {
            requests: totals.requests,
            failures: totals.failures,
            error_rate: totals.error_rate(),
            avg_response_time: totals.average_ms(),
            p50_response_time: latency(50),
            p95_response_time: latency(95),
            p99_response_time: latency(99),
            p50_first_token_time: whole(durations.first_token.quantile(50)),
            p95_first_token_time: whole(durations.first_token.quantile(95)),
            prompt_tokens: totals.prompt_tokens,
            completion_tokens: totals.completion_tokens,
            cost_microdollars: Microdollars(totals.cost),
            checked_answers: totals.answers,
            flawed_answers: totals.flawed,
            judged_answers: totals.judged,
            worse_answers: totals.judged_worse,
        }
    }
}

/// A duration in whole milliseconds: rounded up, so that it is still not exceeded, and so that a
/// threshold in whole milliseconds is exceeded by the figure exactly where the duration does.
fn whole(duration_ms: Option<f64>) -> Option<u64> {
    Some(duration_ms?.ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai_metrics::{AiMetrics, Minutes};
    use chrono::DateTime;

    #[test]
    fn an_empty_summary_shows_a_rate_of_errors_and_no_share_of_answers() {
        let lines = AiMetrics::new()
            .summary(Minutes::HOUR, DateTime::UNIX_EPOCH)
            .lines();
        assert!(lines.contains(&"Successful:         0 (n/a)".to_owned()));
        assert!(lines.contains(&"Failed:             0 (0.0%)".to_owned()));
    }

    #[test]
    fn a_duration_is_rounded_up_to_whole_milliseconds() {
        for (duration, shown) in [(0.0, 0), (0.2, 1), (6476.116735, 6477), (5000.0, 5000)] {
            assert_eq!(whole(Some(duration)), Some(shown));
        }
        assert_eq!(whole(None), None);
    }
}
