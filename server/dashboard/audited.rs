//! What people change, and how it was before and after, as its history keeps it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    _core::{caller::Role, units::Percent},
    keys::KeyLimits,
    live_flags::store::FlagPosition,
    migration::mode::Mode,
    rollout::record::Standing,
};

/// What was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Subject")]
#[serde(rename_all = "lowercase")]
pub enum AuditSubject {
    /// A rollout.
    Rollout,
    /// The kill switch or the live share.
    Flags,
    /// The key of a program.
    Keys,
    /// What a user may do.
    Users,
    /// All sessions of a user.
    Sessions,
    /// Who answers a procedure that an old server has as well.
    Moves,
    /// A setting, by what it was at the start before.
    Settings,
    /// Prompt and answer of a request, which somebody opened.
    Texts,
}

impl AuditSubject {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Rollout,
        Self::Flags,
        Self::Keys,
        Self::Users,
        Self::Sessions,
        Self::Moves,
        Self::Settings,
        Self::Texts,
    ];

    /// As on the wire and in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rollout => "rollout",
            Self::Flags => "flags",
            Self::Keys => "keys",
            Self::Users => "users",
            Self::Sessions => "sessions",
            Self::Moves => "moves",
            Self::Settings => "settings",
            Self::Texts => "texts",
        }
    }

    /// The least role that sees it: viewers see all but keys and settings.
    pub const fn told_to(self) -> Role {
        match self {
            Self::Rollout
            | Self::Flags
            | Self::Users
            | Self::Sessions
            | Self::Moves
            | Self::Texts => Role::Viewer,
            Self::Keys | Self::Settings => Role::Admin,
        }
    }
}

/// How something was. The `subject` of its line says what it is of; nothing in it does.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum AuditedState {
    /// A rollout.
    Rollout(Standing),
    /// The kill switch and the live share.
    Flags(FlagPosition),
    /// The key of a program.
    Key(AuditedKey),
    /// What a user may do.
    User(AuditedUser),
    /// Who answers a procedure.
    Move(AuditedMove),
    /// The value of a setting.
    Setting(String),
}

/// What a change of a program's key is about; the rest is missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AuditedKey {
    /// What it may ask for; missing also where that is everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// What it may spend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<KeyLimits>,
    /// When it expires, in ISO 8601; missing also where it never does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Until when its secret of before a rotation is still taken, in ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_until: Option<String>,
}

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditedUser {
    /// The role.
    pub role: Role,
}

/// Who answers a procedure that the old server has as well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditedMove {
    /// Who.
    pub mode: Mode,
    /// For which share of the users this server does, where the mode is a share.
    pub share: Percent,
    /// Why, for those who look later.
    pub reason: String,
}

impl AuditedState {
    /// What a history keeps as JSON; `None` where it keeps nothing, or what this release cannot read. The history
    /// itself says which of its lines are damaged.
    pub fn read(subject: AuditSubject, stored: &str) -> Option<Self> {
        fn read<T: DeserializeOwned>(
            stored: &str,
            state: fn(T) -> AuditedState,
        ) -> Option<AuditedState> {
            let read: Option<T> = serde_json::from_str(stored).ok()?;
            read.map(state)
        }
        match subject {
            AuditSubject::Rollout => read(stored, Self::Rollout),
            AuditSubject::Flags => read(stored, Self::Flags),
            AuditSubject::Keys => read(stored, Self::Key),
            AuditSubject::Users => read(stored, Self::User),
            AuditSubject::Moves => read(stored, Self::Move),
            AuditSubject::Settings => read(stored, Self::Setting),
            AuditSubject::Sessions | AuditSubject::Texts => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_kept_is_read_as_what_it_is_of() {
        let standing =
            json!({"state": {"name": "running"}, "stage": 1, "share": 25.0, "soakedMs": 60_000});
        for (subject, stored) in [
            (AuditSubject::Rollout, standing),
            (AuditSubject::Flags, json!({"share": 10.0, "killed": true})),
            (
                AuditSubject::Keys,
                json!({"previousUntil": "2025-11-08T21:30:25Z"}),
            ),
            (AuditSubject::Users, json!({"role": "viewer"})),
            (
                AuditSubject::Moves,
                json!({"mode": "share", "share": 5.0, "reason": "one team first"}),
            ),
            (AuditSubject::Settings, json!("info")),
        ] {
            let read = AuditedState::read(subject, &stored.to_string());
            assert_eq!(serde_json::to_value(read).unwrap(), stored);
        }
    }

    #[test]
    fn what_is_not_kept_or_of_another_release_is_none() {
        for (subject, stored) in [
            (AuditSubject::Rollout, "null"),
            (
                AuditSubject::Rollout,
                r#"{"state": {"name": "floating"}, "stage": 0, "share": 1}"#,
            ),
            (AuditSubject::Users, r#"{"role": "emperor"}"#),
            (AuditSubject::Flags, "no JSON"),
            (AuditSubject::Sessions, "{}"),
        ] {
            assert_eq!(AuditedState::read(subject, stored), None, "{stored}");
        }
    }

    #[test]
    fn an_early_line_lacks_what_came_later() {
        let stored = r#"{"state": {"name": "paused"}, "stage": 0, "share": 5}"#;
        let read = AuditedState::read(AuditSubject::Rollout, stored);
        let read = serde_json::to_value(read).unwrap();
        assert_eq!(
            (&read["state"]["name"], &read["soakedMs"]),
            (&json!("paused"), &Value::from(0))
        );
    }
}
