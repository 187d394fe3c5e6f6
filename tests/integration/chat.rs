//! Chat through the registry: conversations, messages, who may see them, how many may be sent.

mod app;
mod ratings;
mod sending;

use std::collections::VecDeque;

use modelramp::_core::{caller::Caller, context::Context, procedure::Input};
use serde_json::{Value, json};

use self::app::{all_failed, app, at, pairs};

#[tokio::test]
async fn rows_have_the_recorded_form() {
    let app = app().await;
    assert_eq!(
        app.call("getConversations", json!({})).await.unwrap(),
        json!([])
    );
    let titled = app
        .call_at(5, 1, "createConversation", json!({"title": "Første"}))
        .await
        .unwrap();
    let row = json!({
        "id": 1, "userId": 1, "title": "Første",
        "createdAt": "2025-11-08T21:30:00.005Z", "updatedAt": "2025-11-08T21:30:00.005Z",
    });
    assert_eq!(titled, row);
    let untitled = app.call("createConversation", json!({})).await.unwrap();
    assert_eq!(untitled["title"], Value::Null);

    let sent = app.send(1, "Hvad kan du?").await.unwrap();
    let message = json!({
        "id": 1, "conversationId": 1, "role": "user", "content": "Hvad kan du?",
        "createdAt": "2025-11-08T21:30:00.000Z",
    });
    assert_eq!(sent, message);
    let deleted = app
        .call("deleteConversation", json!({"conversationId": 1}))
        .await;
    assert_eq!(deleted.unwrap(), json!({"success": true}));
}

#[tokio::test]
async fn the_latest_conversation_is_first_and_sending_does_not_reorder() {
    let app = app().await;
    for ms in [0, 10, 10] {
        app.call_at(ms, 1, "createConversation", json!({}))
            .await
            .unwrap();
    }
    app.call_at(20, 2, "createConversation", json!({}))
        .await
        .unwrap();
    let long = "æ".repeat(39) + "øå";
    let input = json!({"conversationId": 1, "content": "x"});
    *app.answerer.answers.lock() = VecDeque::from([Ok("")]);
    app.call_at(30, 1, "sendMessage", input).await.unwrap();
    *app.answerer.answers.lock() = VecDeque::from([Err(all_failed())]);
    app.send(1, &long).await.unwrap_err();
    let list = app.call("getConversations", json!({})).await.unwrap();
    let rows: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["id"].as_i64().unwrap(), row["lastMessage"].clone()))
        .collect();
    let beginning = json!("æ".repeat(39) + "ø");
    assert_eq!(rows, [(3, Value::Null), (2, Value::Null), (1, beginning)]);
    assert_eq!(list[2]["updatedAt"], "2025-11-08T21:30:00.000Z");
}

#[tokio::test]
async fn messages_come_oldest_first_a_page_at_a_time() {
    let app = app().await;
    let id = app.conversation().await;
    for n in 0..3 {
        app.send(id, &format!("nr {n}")).await.unwrap();
    }
    let mut cursor = None;
    let mut seen = Vec::new();
    for (page_length, next) in [(4, json!(4)), (2, Value::Null)] {
        let mut input = json!({"conversationId": id, "limit": 4});
        if let Some(cursor) = cursor {
            input["cursor"] = cursor;
        }
        let page = app.call("getMessages", input).await.unwrap();
        let messages = page["messages"].as_array().unwrap();
        assert_eq!(messages.len(), page_length);
        assert_eq!(page["hasMore"], json!(!next.is_null()));
        assert_eq!(page["nextCursor"], next);
        seen.extend(messages.iter().map(|m| m["id"].as_i64().unwrap()));
        cursor = Some(next);
    }
    assert_eq!(seen, [1, 2, 3, 4, 5, 6]);
    let whole = app
        .call("getMessages", json!({"conversationId": id}))
        .await
        .unwrap();
    assert_eq!(whole["messages"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn conversations_are_open_to_their_owner_only() {
    let app = app().await;
    let id = app.conversation().await;
    app.send(id, "mine").await.unwrap();
    for name in ["getMessages", "sendMessage", "deleteConversation"] {
        // Another's is answered as none is.
        for (user, conversation) in [(2, id), (1, 999), (1, -1)] {
            let input = json!({"conversationId": conversation, "content": "snig"});
            let error = app.call_at(0, user, name, input).await.unwrap_err();
            assert_eq!(
                (error.data_code(), &*error.message),
                ("NOT_FOUND", "Conversation not found"),
                "{name}"
            );
        }
    }
    assert_eq!(
        app.stored(id).await,
        pairs(&[("user", "mine"), ("assistant", "answer")])
    );
    assert_eq!(app.answerer.calls.lock().len(), 1);
    for name in [
        "getConversations",
        "getMessages",
        "createConversation",
        "sendMessage",
        "deleteConversation",
    ] {
        let target = app.registry.resolve(&format!("chat.{name}"));
        let anonymous = Context::new(Caller::Anonymous, at(0));
        let input = Input::Json(json!({"conversationId": id, "content": "x"}));
        let Err(error) = target.here().unwrap().call(anonymous, input).await else {
            panic!("{name} is open to everybody");
        };
        assert_eq!(error.message, "Please login (10001)", "{name}");
    }
}

#[tokio::test]
async fn the_eleventh_accepted_message_within_a_minute_is_refused() {
    let app = app().await;
    let id = app.conversation().await;
    let input = json!({"conversationId": id, "content": "x"});
    // What is refused for other reasons does not count.
    for input in [
        json!({"conversationId": 999, "content": "x"}),
        json!({"conversationId": id, "content": "x", "model": "nope"}),
    ] {
        for _ in 0..10 {
            app.call("sendMessage", input.clone()).await.unwrap_err();
        }
    }
    for ms in 0..10 {
        app.call_at(ms, 1, "sendMessage", input.clone())
            .await
            .unwrap();
    }
    for (ms, seconds) in [(10, 60), (1_000, 59), (59_999, 1), (60_000, 1)] {
        let error = app
            .call_at(ms, 1, "sendMessage", input.clone())
            .await
            .unwrap_err();
        assert_eq!(error.data_code(), "RATE_LIMIT_EXCEEDED");
        assert_eq!(error.code.http_status(), 429);
        assert_eq!(
            error.message,
            format!("Rate limit exceeded. Please wait {seconds}s before sending more messages.")
        );
        let data = serde_json::to_value(error.data(None, "r")).unwrap();
        assert_eq!(data["retryAfter"], "2025-11-08T21:31:00.001Z");
    }
    assert_eq!(app.stored(id).await.len(), 20);
    // Another user has an allowance of their own, and waiting as told is enough.
    let theirs = app
        .call_at(10, 2, "createConversation", json!({}))
        .await
        .unwrap();
    let to_theirs = json!({"conversationId": theirs["id"], "content": "x"});
    app.call_at(10, 2, "sendMessage", to_theirs).await.unwrap();
    app.call_at(60_001, 1, "sendMessage", input).await.unwrap();
}
