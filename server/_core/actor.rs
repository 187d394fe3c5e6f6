//! Who did something, as histories name it.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The controller, by what it found.
    Controller,
    /// A user, by id.
    User(i64),
    /// The settings, by what they say at a start.
    Settings,
    /// Whoever used the program's command line on the database.
    CommandLine,
    /// Somebody else, in the words of whoever stored it.
    Other(Box<str>),
}

impl Actor {
    const CONTROLLER: &str = "controller";
    const SETTINGS: &str = "settings";
    const COMMAND_LINE: &str = "command-line";
    const USER: &str = "user:";

    /// Which user, where it was one.
    pub fn user_id(&self) -> Option<i64> {
        match self {
            Self::User(id) => Some(*id),
            Self::Controller | Self::Settings | Self::CommandLine | Self::Other(_) => None,
        }
    }

    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix(Self::USER).map(str::parse) {
            _ if text == Self::CONTROLLER => Self::Controller,
            _ if text == Self::SETTINGS => Self::Settings,
            _ if text == Self::COMMAND_LINE => Self::CommandLine,
            // Only as it is written: what is stored is not changed by reading it.
            Some(Ok(id)) if format!("{}{id}", Self::USER) == text => Self::User(id),
            _ => Self::Other(text.into()),
        }
    }
}

/// `controller`, `settings`, `command-line`, `user:7`.
impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Controller => f.write_str(Self::CONTROLLER),
            Self::Settings => f.write_str(Self::SETTINGS),
            Self::CommandLine => f.write_str(Self::COMMAND_LINE),
            Self::User(id) => write!(f, "{}{id}", Self::USER),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Actor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::parse(&text))
    }
}

impl JsonSchema for Actor {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Actor".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actors_are_read_as_they_are_written() {
        for text in [
            "controller",
            "settings",
            "user:7",
            "user:-7",
            "user:07",
            "user:",
            "",
            "User:7",
        ] {
            assert_eq!(Actor::parse(text).to_string(), text);
        }
        assert_eq!(Actor::parse("user:7"), Actor::User(7));
        assert_eq!(Actor::parse("user:07"), Actor::Other("user:07".into()));
    }
}
