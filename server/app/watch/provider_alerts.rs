//! What was reported of a provider's models, also before a restart: it is read from the alerts.

use std::{collections::HashMap, sync::Arc};

use serde_json::Value;

use super::LONG;
use crate::{
    alerting::{
        Alert, AlertKind,
        sent::{AlertLog, AlertPlace},
    },
    model_router::watch::ModelFinding,
};

/// In the details of an alert: which model it is about, and what it reports.
pub(super) const FINDINGS: &str = "findings";
/// In the details of an alert: that a list cannot be read.
pub(super) const UNREADABLE: &str = "unreadable";
/// So many alerts are looked through at once, and so often.
const PAGE: u32 = 200;
const PAGES: usize = 10;

/// What was reported of a provider: as much as its models in the catalog give cause for.
#[derive(Default)]
pub(super) struct ProviderAlerts {
    /// With the alert that reported it, where that could be stored.
    pub(super) findings: HashMap<(Arc<str>, ModelFinding), Option<String>>,
    /// Models that it listed.
    length: usize,
    /// Whether its last list was too short to be believed.
    is_doubted: bool,
    pub(super) failures: u32,
    /// The alert of its failures.
    pub(super) failing: Option<String>,
}

impl ProviderAlerts {
    /// Whether a list of so many models is believed: not at once if it is suddenly shorter than half of what it
    /// was, but when it is so for the second time in a row.
    pub(super) fn believes(&mut self, length: usize) -> bool {
        let is_short = self.length >= LONG && length < self.length / 2;
        let is_believed = !is_short || self.is_doubted;
        self.is_doubted = !is_believed;
        if is_believed {
            self.length = length;
        }
        is_believed
    }
}

/// A finding, as details of alerts name it.
pub(super) fn words(model: &str, finding: ModelFinding) -> String {
    format!("{model}:{}", finding.name())
}

fn finding(words: &str) -> Option<(Arc<str>, ModelFinding)> {
    let (model, name) = words.rsplit_once(':')?;
    let finding = ModelFinding::ALL.into_iter().find(|it| it.name() == name)?;
    Some((model.into(), finding))
}

/// What alerts that are not over reported of each provider. Where they cannot be read, it is reported again.
pub(super) async fn before(alerts: &dyn AlertLog) -> HashMap<String, ProviderAlerts> {
    let mut all = Vec::new();
    let mut place: Option<AlertPlace> = None;
    for _ in 0..PAGES {
        let page = match alerts.newest(None, place.as_ref(), PAGE).await {
            Ok(page) => page,
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "what was told of providers' models cannot be read");
                break;
            }
        };
        let Some(last) = page.last() else {
            break;
        };
        place = Some(AlertPlace {
            at_ms: last.alert.at.timestamp_millis(),
            id: last.alert.id.clone(),
        });
        all.extend(page.into_iter().map(|it| it.alert));
    }
    all.reverse();
    of(&all)
}

/// The same of these alerts, the oldest first.
fn of(alerts: &[Alert]) -> HashMap<String, ProviderAlerts> {
    let mut all: HashMap<String, ProviderAlerts> = HashMap::new();
    for alert in alerts.iter().filter(|it| it.kind == AlertKind::Catalog) {
        let Some(provider) = alert.details.get("provider").and_then(Value::as_str) else {
            continue;
        };
        let told = all.entry(provider.to_owned()).or_default();
        let over = alert.resolves();
        let is_over = |id: &Option<String>| id.as_ref().is_some_and(|id| over.contains(id));
        told.findings.retain(|_, id| !is_over(id));
        if is_over(&told.failing) {
            told.failing = None;
        }
        let findings = alert.details.get(FINDINGS).and_then(Value::as_array);
        let findings = findings.into_iter().flatten().filter_map(Value::as_str);
        for finding in findings.filter_map(finding) {
            told.findings.insert(finding, Some(alert.id.clone()));
        }
        if alert.details.get(UNREADABLE) == Some(&Value::Bool(true)) {
            told.failing = Some(alert.id.clone());
        }
    }
    for told in all.values_mut().filter(|it| it.failing.is_some()) {
        told.failures = super::FAILURES;
    }
    all
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use serde_json::json;

    use super::*;
    use crate::alerting::{RESOLVES, Severity};

    fn alert(details: Value) -> Alert {
        let at = chrono::DateTime::<Utc>::UNIX_EPOCH;
        Alert::of_catalog(Severity::Warning, String::new(), String::new(), details, at)
    }

    #[test]
    fn what_is_not_over_was_told() {
        let first = alert(json!({"provider": "p", FINDINGS: ["a:missing", "b:x:gone"]}));
        let second = alert(json!({"provider": "p", FINDINGS: ["a:repriced"]}));
        let unread = alert(json!({"provider": "q", UNREADABLE: true}));
        let over = alert(json!({"provider": "p", RESOLVES: [first.id.clone()]}));
        let mut alerts = vec![first, second.clone(), unread.clone()];
        let told = of(&alerts);
        assert_eq!(told["p"].findings.len(), 3);
        assert!(
            told["p"]
                .findings
                .contains_key(&("b:x".into(), ModelFinding::Gone))
        );
        assert_eq!(
            (told["q"].failures, &told["q"].failing),
            (super::super::FAILURES, &Some(unread.id))
        );
        alerts.push(over);
        let left: Vec<_> = of(&alerts)["p"].findings.clone().into_iter().collect();
        assert_eq!(
            left,
            [(("a".into(), ModelFinding::Repriced), Some(second.id))]
        );
    }

    #[test]
    fn a_list_that_is_halved_is_believed_when_it_is_so_twice() {
        let mut told = ProviderAlerts::default();
        assert!(told.believes(100) && told.believes(60));
        assert!(!told.believes(20), "once");
        assert!(told.believes(60), "it was a slip");
        assert!(!told.believes(20) && told.believes(21), "twice in a row");
        assert!(
            told.believes(12) && told.believes(9) && told.believes(1),
            "a short list may be halved"
        );
    }
}
