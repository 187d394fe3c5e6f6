//! What is proven for the next stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Edition, Evidence, Level,
    finite::{finite, read_finite},
    metric::Metric,
    proof::ProofTests,
};

/// Promotion is recommended at this (α = 0.05).
const RECOMMENDED: f64 = 20.0;
/// Promotion is proven at this (α = 0.01).
const PROVEN: f64 = 100.0;
/// Lately a fifth is enough: a day has less to say than a stage, and only has to agree with it.
const LATELY: f64 = 5.0;

/// The last hours may not speak against it: they are too few to prove anything.
const NEWEST: f64 = 1.0;
/// What was before them is kept to four places, so an empty night can have a little less than 1; from the eighth edition
/// on this is enough, which reads 1.00.
const NEWEST_KEPT: f64 = 0.995;

/// What is proven for the next stage, since this one began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Promotion {
    /// When the stage began, in milliseconds since 1970.
    pub since_ms: i64,
    /// The candidate's requests in this stage.
    pub requests: u64,
    /// At least so many users made them (exact up to a few hundred).
    pub users: u64,
    /// The evidence that the candidate is no worse than the stage tolerates, or good enough anyway.
    #[serde(deserialize_with = "read_finite")]
    pub e: f64,
    /// Enough for a person to promote it (α = 0.05).
    pub recommended: bool,
    /// Enough to promote it without a person (α = 0.01).
    pub proven: bool,
    /// By metric, where more than errors are asked about. The least of them is the whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<Proven>,
    /// In words.
    pub why: String,
}

/// What is proven of one metric.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Proven {
    /// What it is of.
    pub metric: Metric,
    /// The evidence since the stage began that the candidate is no worse than tolerated, or good enough.
    #[serde(deserialize_with = "read_finite")]
    pub e: f64,
    /// The same of the last day (18 to 24 hours), or since the stage began.
    #[serde(deserialize_with = "read_finite")]
    pub lately: f64,
    /// The same of the last 4 to 6 hours; none in a rollout that an earlier release began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<f64>,
}

impl Promotion {
    pub(super) fn of(evidence: &Evidence, level: Level) -> Self {
        let stage = &evidence.stage;
        let may = level < Level::Hold;
        let (e, words) = match (&stage.dual, &stage.good) {
            (Some(dual), Some(good)) => of_errors(dual.value(), good.value()),
            _ => of_all(evidence.edition, &stage.proofs),
        };
        let why = if may {
            words
        } else {
            "no promotion while the evidence says hold".to_owned()
        };
        Self {
            since_ms: stage.began_at_ms,
            requests: stage.requests,
            users: stage
                .users
                .iter()
                .map(|word| u64::from(word.count_ones()))
                .sum(),
            e,
            recommended: may && e >= RECOMMENDED,
            proven: may && e >= PROVEN,
            metrics: needed(&stage.proofs).map(Proven::of).collect(),
            why,
        }
    }
}

/// As earlier editions had it. Either is enough; the mean of both is one test at the same error rate.
fn of_errors(dual: f64, good: f64) -> (f64, String) {
    let e = finite((dual + good) / 2.0);
    let words = if e < RECOMMENDED {
        "inconclusive: extend the stage, or ask a person"
    } else if dual >= good {
        "the candidate is proven no worse than the stage tolerates"
    } else {
        "the candidate is proven to fail rarely enough"
    };
    (e, words.to_owned())
}

/// The least of all metrics: a candidate that is too bad in one of them passes with at most the error rate of
/// that one.
fn of_all(edition: Edition, proofs: &[ProofTests]) -> (f64, String) {
    let least = needed(proofs)
        .map(|proof| Worth::of(edition, proof))
        .min_by(|a, b| a.least().total_cmp(&b.least()));
    let Some(worth) = least else {
        return (1.0, "nothing is judged".to_owned());
    };
    let e = finite(worth.least());
    let Worth {
        metric,
        whole,
        lately,
        ..
    } = worth;
    let words = if edition >= Edition::Fourth {
        worth.in_words()
    } else if e >= RECOMMENDED {
        EVERY.to_owned()
    } else if lately < whole {
        format!("inconclusive in {metric} lately: extend the stage, or ask a person")
    } else {
        format!("inconclusive in {metric}: extend the stage, or ask a person")
    };
    (e, words)
}

const EVERY: &str = "the candidate is proven no worse than the stage tolerates, in every metric";

/// What the evidence of one metric is worth, in units of what the whole stage needs.
struct Worth {
    metric: Metric,
    /// Since the stage began.
    whole: f64,
    /// The last day; as much as the stage at a part of it.
    lately: f64,
    /// The last hours.
    newest: f64,
    /// What they have to have.
    newest_needed: f64,
}

impl Worth {
    fn of(edition: Edition, proof: &ProofTests) -> Self {
        let newest_needed = match edition {
            edition if edition >= Edition::Eighth => NEWEST_KEPT,
            _ => NEWEST,
        };
        Self {
            metric: proof.metric(),
            whole: proof.value(),
            lately: LATELY * proof.lately(),
            newest: proof
                .newest()
                .map_or(f64::INFINITY, |e| PROVEN / newest_needed * e),
            newest_needed,
        }
    }

    fn least(&self) -> f64 {
        self.whole.min(self.lately).min(self.newest)
    }

    /// What is proven, or what the metric that is proven least lacks.
    fn in_words(&self) -> String {
        let Self {
            metric,
            whole,
            lately,
            newest,
            newest_needed,
        } = *self;
        if self.least() >= PROVEN {
            return EVERY.to_owned();
        }
        let how = if self.least() >= RECOMMENDED {
            "recommended, not proven"
        } else {
            "inconclusive"
        };
        if newest < whole.min(lately) {
            let is = newest * newest_needed / PROVEN;
            return format!(
                "{how}: of {metric}, the last hours alone have an E of {is:.2}, and below {NEWEST} they speak \
                 against it"
            );
        }
        lacks(how, metric, whole, lately)
    }
}

fn lacks(how: &str, metric: Metric, whole: f64, lately: f64) -> String {
    if lately < whole {
        let (is, needed) = (lately / LATELY, PROVEN / LATELY);
        format!(
            "{how}: of {metric}, the last day alone has an E of {is:.1}, and {needed} would prove it; \
             where a day has too few requests for that, a person decides"
        )
    } else {
        format!("{how}: of {metric}, the stage has an E of {whole:.1}, and {PROVEN} would prove it")
    }
}

/// Those without which nothing is proven.
fn needed(proofs: &[ProofTests]) -> impl Iterator<Item = &ProofTests> {
    proofs.iter().filter(|proof| proof.is_needed())
}

impl Proven {
    fn of(proof: &ProofTests) -> Self {
        Self {
            metric: proof.metric(),
            e: finite(proof.value()),
            lately: finite(proof.lately()),
            newest: proof.newest().map(finite),
        }
    }
}
