//! Who answers a procedure, and since when.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::_core::{actor::Actor, units::Percent};

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The old server.
    Legacy,
    /// The old server; queries are run here as well, after the answer, and compared.
    Shadow,
    /// This server for a share of the users, the old one for all others; their queries are compared.
    Share,
    /// This server.
    Native,
}

impl Mode {
    /// All of them, from the old server to this one.
    pub const ALL: [Self; 4] = [Self::Legacy, Self::Shadow, Self::Share, Self::Native];

    /// As on the wire and in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Shadow => "shadow",
            Self::Share => "share",
            Self::Native => "native",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Whether nobody is answered here.
    pub const fn is_old(self) -> bool {
        matches!(self, Self::Legacy | Self::Shadow)
    }
}

/// Where a procedure, or all of a namespace, is on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// UUIDv7 text; a change makes another.
    pub id: String,
    /// `chat.getMessages` or `chat.*`. What names a procedure wins over what names its namespace.
    pub name: String,
    /// Who answers.
    pub mode: Mode,
    /// Whom this server answers; 0 or 100 unless the mode is a share.
    pub share: Percent,
    /// When it came into force.
    pub at: DateTime<Utc>,
    /// Who did it: a user, or the controller where it was taken back.
    pub actor: Actor,
    /// The reason that was given.
    pub reason: String,
}

/// Whether `chat.getMessages`, `chat.*` or `*` names a procedure.
pub fn covers(name: &str, procedure: &str) -> bool {
    match name.strip_suffix('*') {
        Some(start) => procedure.starts_with(start),
        None => procedure == name,
    }
}
