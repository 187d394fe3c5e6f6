//! What can be said of the settings alone.

use std::collections::HashSet;

use secrecy::ExposeSecret;

use super::Findings;
use crate::config::Config;

/// A secret of fewer different characters was typed, not drawn.
const VARIED: usize = 12;
/// What a token for `/metrics` should have at least.
const TOKEN_CHARACTERS: usize = 16;
/// Words of secrets that somebody meant to replace.
const PLACEHOLDERS: [&str; 7] = [
    "change",
    "example",
    "secret",
    "password",
    "placeholder",
    "your-",
    "modelramp",
];

pub(super) fn look(config: &Config, findings: &mut Findings) {
    let set = config.settings.len();
    findings.pass("settings", format!("all {set} settings can be used"));
    for warning in &config.warnings {
        findings.warn("settings", warning, "correct it, or say that it is meant");
    }
    if config.environment.is_local() {
        findings.warn(
            "environment",
            "this is not production, and missing secrets and keys are made up",
            "for users, set `APP_ENV=production`",
        );
    } else {
        findings.pass("environment", "this is production");
    }
    match &config.auth.jwt_secret {
        Some(secret) => match weakness(secret.expose_secret()) {
            Some(why) => findings.fail(
                "secret",
                format!("`JWT_SECRET` {why}, so sessions can be forged"),
                "draw one with `openssl rand -hex 32`; all sessions end with the change",
            ),
            None => findings.pass("secret", "`JWT_SECRET` looks drawn at random"),
        },
        None => findings.warn(
            "secret",
            "`JWT_SECRET` is not set; this machine has one of its own in a file",
            "for users, set one drawn with `openssl rand -hex 32`",
        ),
    }
    if config.auth.jwt_secret_previous.is_some() {
        findings.warn(
            "secret",
            "`JWT_SECRET_PREVIOUS` is set: whoever knows it can still sign in",
            "take it out once the sessions of before have run out (`SESSION_TTL`)",
        );
    }
    match &config.server.metrics_token {
        None => findings.pass("metrics", "only this machine may read `/metrics`"),
        Some(token) if token.expose_secret().len() < TOKEN_CHARACTERS => findings.fail(
            "metrics",
            format!("`METRICS_TOKEN` has fewer than {TOKEN_CHARACTERS} characters"),
            "draw one with `openssl rand -hex 16`",
        ),
        Some(_) => findings.pass("metrics", "`/metrics` wants its token"),
    }
}

/// Why a secret can be guessed, without a part of it.
fn weakness(secret: &str) -> Option<&'static str> {
    let lower = secret.to_lowercase();
    if PLACEHOLDERS.iter().any(|word| lower.contains(word)) {
        return Some("holds a word of examples");
    }
    let different: HashSet<char> = secret.chars().collect();
    (different.len() < VARIED).then_some("has few different characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_were_typed_are_told_from_drawn_ones() {
        for typed in [
            "0123456701234567012345670123456701234567",
            "please-change-me-please-change-me-please",
            "My-Modelramp-key-1234567890-abcdefghijkl",
        ] {
            assert!(weakness(typed).is_some(), "{typed}");
        }
        for drawn in [
            "5d1f0c9a7e3b48266a90d4c17be85f3210fe9c8b7a6d5e4f3c2b1a0918273645",
            "q7Zk/0vXw9+LrT3bYh2Nf8Ge1Ms4Jd6Pu5Ca",
        ] {
            assert_eq!(weakness(drawn), None, "{drawn}");
        }
    }
}
