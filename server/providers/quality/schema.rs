//! The JSON schema of a task's answers.

use std::sync::Arc;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// A longer schema is none, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// Why a text is no schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchema {
    /// It is larger than any that is meant.
    #[error("is {0} bytes long; expected at most {MAX_BYTES}")]
    TooLong(usize),
    /// It is not JSON.
    #[error("is not JSON: {0}")]
    NotJson(String),
    /// It is JSON and no schema, or refers to one elsewhere, which is never fetched.
    #[error("is no JSON schema: {0}")]
    NoSchema(String),
}

/// A JSON schema, compiled.
#[derive(Clone, Debug)]
pub struct Schema {
    text: Arc<str>,
    validator: Arc<Validator>,
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Schema {
    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Compiles a schema. Patterns are matched in linear time, whatever a model writes, so those that look
    /// around or back are refused.
    pub fn parse(text: &str) -> Result<Self, InvalidSchema> {
        if text.len() > MAX_BYTES {
            return Err(InvalidSchema::TooLong(text.len()));
        }
        let json: Value = serde_json::from_str(text)
            .map_err(|error| InvalidSchema::NotJson(error.to_string()))?;
        let validator = jsonschema::options()
            .with_pattern_options(PatternOptions::regex())
            .build(&json)
            .map_err(|error| InvalidSchema::NoSchema(error.to_string()))?;
        Ok(Self {
            text: text.into(),
            validator: Arc::new(validator),
        })
    }

    /// Whether a text is JSON of this schema, without anything around it: a program reads it as it is.
    pub(super) fn accepts(&self, text: &str) -> bool {
        let json: Result<Value, _> = serde_json::from_str(text);
        json.is_ok_and(|json| self.validator.is_valid(&json))
    }
}
