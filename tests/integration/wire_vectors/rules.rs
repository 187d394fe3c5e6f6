//! What is changed on purpose, as predicates over an exchange; docs/compatibility.md has the reasons.

use super::exchange::{Answer, Exchange};

/// A whole outcome that a rule changes on purpose, told by what was asked and what came.
pub(super) fn changed_outcome(exchange: &Exchange, got: &Answer) -> Option<&'static str> {
    let input = exchange.input();
    let minutes = &input["lastMinutes"];
    let recorded = exchange.output["status"].as_u64()?;
    match (recorded, got.status) {
        // The input object is optional, and plain query parameters work.
        (400, 200)
            if exchange.names("aiMetrics.getSummary") && !exchange.path.contains("input=") =>
        {
            Some("C7")
        }
        (200, 400)
            if exchange.names("aiMetrics.getSummary")
                && minutes
                    .as_f64()
                    .is_some_and(|m| !(1.0..=10_080.0).contains(&m)) =>
        {
            Some("C7")
        }
        (200, 400)
            if exchange.names("chat.getMessages")
                && ["cursor", "limit"].iter().any(|field| {
                    input[*field]
                        .as_f64()
                        .is_some_and(|n| n < 0.0 || n.fract() != 0.0)
                }) =>
        {
            Some("C7")
        }
        (200, 400) if is_blank_send(exchange) && got.text.contains("Message cannot be empty") => {
            Some("C50")
        }
        (200, 401 | 403) if exchange.names("aiMetrics.logSummary") => Some("C16"),
        (403, 401) if exchange.session.is_none() => Some("C16"),
        // Nobody is signed in without a link.
        (200, 405) if exchange.path.starts_with("/api/auth/login") => Some("C17"),
        (200, 401) if exchange.names("auth.login") => Some("C17"),
        // Another's conversation is answered as none is; the later version said that it is another's.
        (403, 404)
            if exchange.is_on_a_conversation() && got.text.contains("Conversation not found") =>
        {
            Some("C30")
        }
        // A subscription that is POSTed is refused before its stream begins.
        (200, 405) if exchange.names("chatStreaming.sendMessageStream") => Some("C7"),
        (200 | 500, 404)
            if exchange.is_on_a_conversation() && got.text.contains("Conversation not found") =>
        {
            Some("C21")
        }
        _ => None,
    }
}

/// Whether a message is sent in which there is nothing to see.
pub(super) fn is_blank_send(exchange: &Exchange) -> bool {
    let input = exchange.input();
    let text = input["content"].as_str().unwrap_or_default();
    exchange.names("chat.sendMessage")
        && exchange.output["status"] == 200
        && text.trim().is_empty()
        && !text.is_empty()
}

/// A field that a rule changes on purpose.
pub(super) fn changed_field(at: &str, exchange: &Exchange) -> Option<&'static str> {
    let field = at.rsplit('.').next().unwrap_or_default();
    match field {
        "p50ResponseTime" | "p95ResponseTime" | "p99ResponseTime" => Some("C5"),
        "recommendedPercentage" => Some("C8"),
        // A failed send answers a text of ours: the upstream's stays in the log.
        "message" if exchange.names("chat.sendMessage") && exchange.output["status"] == 500 => {
            Some("C24")
        }
        // Messages that ownership refused are missing from the conversations they went to.
        "lastMessage" | "messages" | "hasMore" | "nextCursor" if exchange.session_is_owner() => {
            Some("C21")
        }
        _ => None,
    }
}
