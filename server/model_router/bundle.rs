//! Bundles: a model with a prompt and parameters of its own, so that a rollout can move users to another prompt as
//! it does to another model.
//!
//! A bundle stands wherever a model can, and its name there ends in the version of its contents, such as
//! `brief@3f9a2c1b`. So events, metrics and histories say which prompt answered, and a prompt that is changed while
//! a rollout is about it is a model that is gone: the rollout pauses, and says so.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::providers::ChatRequest;

/// Between a bundle's name and its version.
pub const MARK: char = '@';
/// Hexadecimal digits of a version.
const DIGITS: usize = 8;
/// Fields of a request that are no parameters: the server's, or the caller's own.
pub const NO_PARAMETERS: [&str; 12] = [
    "messages",
    "model",
    "models",
    "n",
    "provider",
    "route",
    "stream",
    "stream_options",
    "tool_choice",
    "tools",
    "transforms",
    "user",
];

/// What goes with a request beside the conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    /// Its name in the catalog, without the version.
    pub name: Arc<str>,
    /// The name of the model that is asked.
    pub model: Arc<str>,
    /// Its instructions, which stand before a conversation.
    pub prompt: Option<Arc<str>>,
    /// Further fields of the body, where the caller does not give them.
    pub parameters: Map<String, Value>,
    /// Tokens that an answer may have where the caller does not say.
    pub max_tokens: Option<u32>,
}

impl Bundle {
    /// Its name with the version of what it holds, which another prompt, parameter or model changes.
    pub fn versioned(&self) -> String {
        let contents = json!([self.model, self.prompt, self.parameters, self.max_tokens]);
        let hash = Sha256::digest(contents.to_string());
        let version = hex::encode(hash);
        format!("{}{MARK}{}", self.name, &version[..DIGITS])
    }

    /// Gives a request the parameters that it lacks.
    pub fn complete(&self, request: &mut ChatRequest) {
        for (name, value) in &self.parameters {
            match &mut request.given {
                // A null is given, too.
                Some(given) if given.names().all(|it| it != name) => {
                    // A JSON value can be written.
                    let _ = given.set(name, value);
                }
                Some(_) => {}
                None => {
                    let rest = &mut request.rest;
                    rest.entry(name.clone()).or_insert_with(|| value.clone());
                }
            }
        }
        if let (Some(given), Some(max_tokens)) = (&mut request.given, self.max_tokens)
            && given.names().all(|it| !LENGTHS.contains(&it))
        {
            let _ = given.set(LENGTHS[0], &max_tokens);
        }
    }
}

/// The names of the same limit.
const LENGTHS: [&str; 2] = ["max_tokens", "max_completion_tokens"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::RawObject;

    fn bundle() -> Bundle {
        Bundle {
            name: "brief".into(),
            model: "m".into(),
            prompt: Some("Be brief.".into()),
            parameters: Map::from_iter([("temperature".to_owned(), json!(0.2))]),
            max_tokens: Some(9),
        }
    }

    #[test]
    fn a_version_is_of_all_that_is_in_it_and_of_nothing_else() {
        let first = bundle().versioned();
        assert!(first.starts_with("brief@") && first.len() == 14, "{first}");
        assert_eq!(first, bundle().versioned());
        let others = [
            Bundle {
                model: "n".into(),
                ..bundle()
            },
            Bundle {
                prompt: None,
                ..bundle()
            },
            Bundle {
                parameters: Map::new(),
                ..bundle()
            },
            Bundle {
                max_tokens: None,
                ..bundle()
            },
        ];
        for other in others {
            assert_ne!(first, other.versioned(), "{other:?}");
        }
    }

    #[test]
    fn what_a_caller_gives_stays() {
        let body = |text: &str| {
            let given = RawObject::parse(text.as_bytes()).unwrap();
            let mut request = ChatRequest::passing_on(given);
            bundle().complete(&mut request);
            request.given.unwrap().to_json()
        };
        assert_eq!(body("{}"), r#"{"temperature":0.2,"max_tokens":9}"#);
        let own = r#"{"temperature":1.0,"max_completion_tokens":5}"#;
        assert_eq!(body(own), own);
        let null = r#"{"temperature":null,"max_tokens":null}"#;
        assert_eq!(body(null), null);
        let mut request = ChatRequest::new(Vec::new());
        bundle().complete(&mut request);
        assert_eq!(request.rest["temperature"], 0.2);
        request.rest.insert("temperature".into(), json!(1));
        bundle().complete(&mut request);
        assert_eq!(request.rest["temperature"], 1);
    }
}
