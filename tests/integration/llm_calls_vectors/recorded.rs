//! What the recording says of a call, and an upstream that answers as the recorded one did.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::{
    scripted_upstream::{End, Reply, Upstream},
    vectors::Case,
};

/// The reply that stands for `{}` in a recorded upstream.
fn plain_completion() -> Value {
    json!({
        "id": "gen-1", "created": 1, "model": "served-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hej"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    })
}

fn reply(recorded: &Value) -> Reply {
    if recorded.get("networkError").is_some() {
        return Reply::Cut;
    }
    if let Some(chunks) = recorded["chunks"].as_array() {
        let is_base64 = recorded["b64"] == true;
        let chunk = |chunk: &Value| {
            let text = chunk.as_str().unwrap_or("");
            if is_base64 {
                unbase64(text)
            } else {
                Bytes::from(text.to_owned())
            }
        };
        return Reply::Events(chunks.iter().map(chunk).collect(), End::Clean);
    }
    let status = recorded["status"].as_u64().unwrap_or(200);
    let body = match &recorded["body"] {
        Value::Null => plain_completion().to_string(),
        Value::String(text) => text.clone(),
        body => body.to_string(),
    };
    Reply::Http(u16::try_from(status).unwrap(), vec![], body)
}

fn unbase64(text: &str) -> Bytes {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for digit in text.chars().filter_map(|c| ALPHABET.find(c)) {
        (bits, count) = (bits << 6 | u32::try_from(digit).unwrap(), count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    bytes.into()
}

fn upstream_of(case: &Case) -> &[Value] {
    case.rest["upstream"].as_array().map_or(&[], Vec::as_slice)
}

/// The first recorded answer; null where none was needed.
pub(super) fn first_of(case: &Case) -> &Value {
    upstream_of(case).first().unwrap_or(&Value::Null)
}

/// A scripted upstream that answers as the recorded one did.
pub(super) async fn start(case: &Case) -> Upstream {
    let mut replies: Vec<Reply> = upstream_of(case).iter().map(reply).collect();
    if replies.is_empty() {
        replies.push(reply(&Value::Null));
    }
    Upstream::start(replies).await
}

pub(super) fn requests_of(case: &Case) -> &[Value] {
    case.rest["requests"].as_array().map_or(&[], Vec::as_slice)
}

/// What the recorded upstreams sent, as text.
pub(super) fn sent(case: &Case) -> String {
    let chunk = |chunk: &Value| chunk.as_str().unwrap_or("").to_owned();
    let of = |reply: &Value| match reply["chunks"].as_array() {
        Some(chunks) => chunks.iter().map(chunk).collect(),
        None => reply["body"].to_string(),
    };
    upstream_of(case).iter().map(of).collect()
}

pub(super) fn is_set(case: &Case, name: &str) -> bool {
    case.env
        .get(name)
        .is_some_and(|value| !value.trim().is_empty())
}

/// The dialect of the recorded call: OpenAI's, or one of those not spoken here (C24).
pub(super) fn is_native(case: &Case) -> bool {
    let urls = requests_of(case)
        .iter()
        .map(|request| request["url"].as_str().unwrap_or(""));
    urls.into_iter()
        .any(|url| url.contains("/api/chat") || url.contains(":generateContent"))
}

/// C26: which provider is called follows from the catalog, not from the keys that are set.
pub(super) fn lacks_its_key(case: &Case) -> bool {
    ![
        "OPENROUTER_API_KEY",
        "OLLAMA_BASE_URL",
        "GEMINI_API_KEY",
        "OPENAI_API_KEY",
    ]
    .iter()
    .any(|name| is_set(case, name))
}
