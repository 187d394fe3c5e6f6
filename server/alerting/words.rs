//! How an alert reads, whatever carries it.

use serde_json::Value;

use super::{Alert, AlertKind, Notice, RESOLVES, Severity};

impl Severity {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl AlertKind {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Hold => "hold",
            Self::PromotionDue => "promotion-due",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled-back",
            Self::NoTraffic => "no-traffic",
            Self::BothSidesFailing => "both-sides-failing",
            Self::ProviderRefusing => "provider-refusing",
            Self::NotConverged => "not-converged",
            Self::Killed => "killed",
            Self::KillEnded => "kill-ended",
            Self::ShareSet => "share-set",
            Self::TakenBack => "taken-back",
            Self::Catalog => "catalog",
            Self::Digest => "digest",
            Self::Message => "message",
            Self::Test => "test",
        }
    }
}

/// The severity in words, with how it came to be.
pub(super) fn severity(notice: &Notice<'_>) -> String {
    let name = notice.severity.name();
    if notice.is_escalated() {
        format!("{name} (was {})", notice.alert.severity.name())
    } else {
        name.to_owned()
    }
}

/// The figures of an alert that are single values.
pub(super) fn figures(alert: &Alert) -> Vec<(&str, String)> {
    let details = alert.details.as_object().into_iter().flatten();
    details
        .filter(|(name, _)| *name != RESOLVES)
        .filter_map(|(name, value)| match value {
            Value::String(text) => Some((name.as_str(), one_line(text))),
            Value::Number(_) | Value::Bool(_) => Some((name.as_str(), value.to_string())),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        })
        .collect()
}

/// At most so many characters, the last one an ellipsis where something is missing.
pub(super) fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let kept = text.chars().take(limit.saturating_sub(1));
    kept.chain(['…']).collect()
}

/// Without line breaks and other control characters.
pub(super) fn one_line(text: &str) -> String {
    let words = text.split(char::is_control).map(str::trim);
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_those_of_json() {
        use AlertKind::*;
        for kind in [
            Watch,
            Hold,
            PromotionDue,
            Promoted,
            RolledBack,
            NoTraffic,
            BothSidesFailing,
            ProviderRefusing,
            NotConverged,
            Killed,
            KillEnded,
            ShareSet,
            TakenBack,
            Catalog,
            Digest,
            Message,
            Test,
        ] {
            assert_eq!(json!(kind), kind.name());
        }
        for severity in [Severity::Info, Severity::Warning, Severity::Critical] {
            assert_eq!(json!(severity), severity.name());
        }
    }

    #[test]
    fn long_texts_are_cut_by_characters() {
        assert_eq!(cut("æøå", 3), "æøå");
        assert_eq!(cut("æøåæ", 3), "æø…");
        assert_eq!(cut("abc", 0), "…");
    }

    #[test]
    fn a_line_stays_one() {
        assert_eq!(one_line("a\r\nBcc: b\t c\u{7}"), "a Bcc: b c");
    }
}
