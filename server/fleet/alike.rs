//! What all processes on one database have to have in common, and what one has otherwise.
//!
//! Each says a *mark* of each such thing, a part of its hash. That of the secret that signs sessions is one by the secret, as a
//! signature is.

use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::replica::Replica;

/// The secret that signs sessions, among the marks.
pub const SECRET: &str = "JWT_SECRET";
/// The catalog of models. Each release may have another one, as it may have other plans.
pub const CATALOG: &str = "catalog";
/// The plans that can be started by name.
pub const PLANS: &str = "plans";
/// Settings by which another process gives users another side: one that lives must not be joined with others of them.
const SIDES: [&str; 2] = ["ASSIGNMENT_ALGORITHM", "ASSIGNMENT_SALT"];
/// Of a hash, in bytes: enough to see that two are not the same.
const BYTES: usize = 6;

/// Of something that is no secret.
pub fn mark(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), shortened(&Sha256::digest(value)))
}

/// Of the secret that signs sessions, as each of the tokens is that it signs.
///
/// # Errors
///
/// None for any length of a secret.
pub fn mark_of_secret(secret: &SecretString) -> anyhow::Result<(String, String)> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())?;
    mac.update(b"the mark of a fleet");
    Ok((SECRET.to_owned(), shortened(&mac.finalize().into_bytes())))
}

fn shortened(hash: &[u8]) -> String {
    hash.iter()
        .take(BYTES)
        .map(|it| format!("{it:02x}"))
        .collect()
}

/// What two processes have otherwise, by name. One of an earlier release says nothing, and has nothing otherwise.
pub fn differences(one: &Replica, other: &Replica) -> Vec<String> {
    let (ours, theirs) = (&one.report.marks, &other.report.marks);
    let differs = |name: &&String| {
        let is_of_release = [CATALOG, PLANS].contains(&name.as_str());
        (one.release == other.release || !is_of_release)
            && theirs.get(*name).is_some_and(|mark| mark != &ours[*name])
    };
    ours.keys().filter(differs).cloned().collect()
}

/// Whether processes that have these things otherwise give one user different sides.
pub fn divides(differing: &[String]) -> bool {
    differing.iter().any(|name| SIDES.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::fleet::replica::ReplicaReport;

    fn process(release: &str, secret: &str, values: &[(&str, &str)]) -> Replica {
        let secret = mark_of_secret(&SecretString::from(secret)).expect("a key");
        let marks = values.iter().map(|(name, value)| mark(name, value));
        Replica {
            holder: "a".to_owned(),
            name: "web-1:3000".to_owned(),
            release: release.to_owned(),
            started_at: DateTime::UNIX_EPOCH,
            seen_at: DateTime::UNIX_EPOCH,
            has_ended: false,
            report: ReplicaReport {
                marks: marks.chain([secret]).collect(),
                ..ReplicaReport::default()
            },
        }
    }

    #[test]
    fn what_is_otherwise_is_named_and_not_told() {
        const ALL: [(&str, &str); 3] = [
            ("ASSIGNMENT_SALT", "pepper"),
            (CATALOG, "one"),
            ("CHAT_RATE_LIMIT", "10"),
        ];
        let is = process("1", "secret", &ALL);
        let with = |at: usize, value| {
            let mut values = ALL;
            values[at].1 = value;
            values
        };
        let said = serde_json::to_string(&is.report).expect("JSON");
        assert!(
            !said.contains("pepper") && !said.contains("secret"),
            "{said}"
        );
        for (other, differing, divided) in [
            (process("1", "secret", &ALL), &[][..], false),
            (
                process("1", "secret", &with(0, "salt")),
                &["ASSIGNMENT_SALT"],
                true,
            ),
            (process("1", "secret", &with(1, "two")), &[CATALOG], false),
            // A new release may bring another catalog.
            (process("2", "secret", &with(1, "two")), &[], false),
            (
                process("2", "secret", &with(2, "7")),
                &["CHAT_RATE_LIMIT"],
                false,
            ),
            (process("1", "another", &ALL), &[SECRET], false),
            (
                process("1", "another", &with(0, "salt")),
                &["ASSIGNMENT_SALT", SECRET],
                true,
            ),
            // It lacks one, as an earlier release does.
            (process("0", "secret", &ALL[..1]), &[], false),
        ] {
            let found = differences(&is, &other);
            assert_eq!(found, differing);
            assert_eq!(divides(&found), divided, "{found:?}");
        }
    }
}
