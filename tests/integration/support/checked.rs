//! What `modelramp check` and `modelramp smoke` found, as they print it for programs.

use std::process::Output;

use serde_json::Value;

/// What a check came to.
pub(crate) struct Checked {
    pub(crate) code: i32,
    pub(crate) findings: Vec<Value>,
}

impl Checked {
    /// Of a process that printed JSON.
    pub(crate) fn of(ran: &Output) -> Self {
        let findings = serde_json::from_slice(&ran.stdout);
        Self {
            code: ran.status.code().unwrap(),
            findings: findings.unwrap_or_else(|error| {
                panic!("{error}: {}", String::from_utf8_lossy(&ran.stderr));
            }),
        }
    }

    /// The outcomes of the findings of one name, in order, and all that was found there.
    pub(crate) fn named(&self, check: &str) -> (Vec<&str>, String) {
        let of_it = self.findings.iter().filter(|it| it["check"] == check);
        let (outcomes, found): (Vec<_>, Vec<_>) = of_it
            .map(|it| {
                (
                    it["outcome"].as_str().unwrap(),
                    it["found"].as_str().unwrap(),
                )
            })
            .unzip();
        (outcomes, found.join("\n"))
    }

    pub(crate) fn assert(&self, check: &str, outcomes: &[&str], words: &str) {
        let (came, found) = self.named(check);
        assert_eq!(came, outcomes, "{check}: {found}");
        assert!(found.contains(words), "{check}: {found}");
    }
}
