//! Sending: what is asked of a model, what is stored, and what may happen meanwhile.

use std::{collections::VecDeque, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use modelramp::{
    _core::assignment::Subject,
    chat::store::{ConversationStore, MessageRole},
    model_router::{RouteError, route::First},
    providers::fault::FaultKind,
};
use serde_json::{Value, json};

use super::app::{Scripted, all_failed, app, app_with, at, gated, pairs};

#[tokio::test]
async fn a_model_is_checked_before_anything_is_stored_and_empty_is_absent() {
    let app = app().await;
    let id = app.conversation().await;
    let mut input = json!({"conversationId": id, "content": "x", "model": "nope"});
    let error = app.call("sendMessage", input.clone()).await.unwrap_err();
    assert_eq!(error.data_code(), "BAD_REQUEST");
    assert_eq!(
        error.message,
        "unknown model `nope`; known are old, new, gpt-4o-mini"
    );
    assert!(app.stored(id).await.is_empty());

    for (model, asked) in [
        (json!(""), None),
        (json!("gpt-4o-mini"), Some("gpt-4o-mini")),
    ] {
        input["model"] = model;
        app.call("sendMessage", input.clone()).await.unwrap();
        let calls = app.answerer.calls.lock();
        let (route, _) = calls.last().unwrap();
        let forced = (route.first == First::Forced).then(|| &*route.models[0].name);
        assert_eq!(forced, asked);
    }
}

#[tokio::test]
async fn a_model_is_asked_with_instructions_history_and_deadline() {
    let app = app().await;
    let id = app.conversation().await;
    app.send(id, "Hvad kan du?").await.unwrap();
    let input = json!({
        "conversationId": id, "content": "Og nu?",
        "context": {"page": "inbox", "selectedEmails": ["a"], "hasEmails": true, "unknown": 1},
    });
    app.call("sendMessage", input).await.unwrap();
    let calls = app.answerer.calls.lock();
    let (route, call) = &calls[1];
    let messages = &call.request.messages;
    let roles: Vec<_> = messages.iter().map(|m| m.role.as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user"]);
    let instructions = messages[0].content.as_str().unwrap();
    assert!(instructions.contains("- page: \"inbox\"\n- selected e-mails: 1 (\"a\")"));
    assert_eq!(messages[3].content, "Og nu?");
    assert_eq!(&*route.task, "chat");
    assert_eq!(route.subject, Some(Subject::User(1)));
    let patience = call.deadline - tokio::time::Instant::now();
    assert!(patience <= Duration::from_secs(40) && patience > Duration::from_secs(20));
}

/// The world: the database goes away, is locked or full, between the look-up of the user and the work.
#[tokio::test]
async fn a_database_that_is_away_is_told_as_such_and_one_without_its_tables_as_our_fault() {
    let app = app().await;
    let user = app.storage.find_user(1).await.unwrap().unwrap();
    for (is_there, code, retry_after) in [
        (true, "INTERNAL_SERVER_ERROR", None),
        (false, "SERVICE_UNAVAILABLE", Some(1)),
    ] {
        if is_there {
            app.sql("ALTER TABLE conversations RENAME TO elsewhere")
                .await;
        } else {
            app.storage.close().await;
        }
        for (name, input) in [
            ("createConversation", json!({})),
            ("getConversations", json!(null)),
            (
                "sendMessage",
                json!({"conversationId": 1, "content": "hej"}),
            ),
        ] {
            let error = app.call_as(user.clone(), 0, name, input).await.unwrap_err();
            assert_eq!(error.data_code(), code, "{name}: {error:?}");
            assert_eq!(error.retry_after_seconds(at(0)), retry_after);
            assert!(error.cause().is_some(), "for the log");
            assert!(
                !error.message.contains("conversations"),
                "{}",
                error.message
            );
        }
    }
}

#[tokio::test]
async fn a_message_stays_when_no_model_answers_and_the_error_says_nothing_of_the_upstream() {
    let app = app().await;
    let id = app.conversation().await;
    *app.answerer.answers.lock() = VecDeque::from([Err(all_failed())]);
    let error = app.send(id, "fejl").await.unwrap_err();
    assert_eq!(
        (error.data_code(), error.code.http_status()),
        ("INTERNAL_SERVER_ERROR", 500)
    );
    assert!(!error.message.contains("gemma") && !error.message.contains("Upstream"));
    let cause = format!("{:#}", error.cause().unwrap());
    assert!(cause.contains("gemma-3-27b-free"), "{cause}");
    assert_eq!(app.stored(id).await, pairs(&[("user", "fejl")]));
    app.send(id, "igen").await.unwrap();
    assert_eq!(
        app.answerer.conversation(1),
        pairs(&[("user", "fejl\n\nigen")])
    );
}

#[tokio::test]
async fn a_failed_message_is_tried_again_without_being_stored_or_sent_twice() {
    let app = app().await;
    let id = app.conversation().await;
    *app.answerer.answers.lock() = VecDeque::from([Err(all_failed())]);
    let error = app.send(id, "hej").await.unwrap_err();
    let details = error.details.clone().unwrap();
    assert_eq!(
        (&details["kind"], &details["retryable"]),
        (&json!("upstream"), &json!(true))
    );
    let again = json!({"messageId": details["messageId"]});
    let other = app.call_at(0, 2, "retry", again.clone()).await;
    assert_eq!(other.unwrap_err().data_code(), "NOT_FOUND");

    for _ in 0..2 {
        let message = app.call("retry", again.clone()).await.unwrap();
        assert_eq!(message["id"], details["messageId"]);
    }
    let stored = app.stored(id).await;
    assert_eq!(stored, pairs(&[("user", "hej"), ("assistant", "answer")]));
    assert_eq!(app.answerer.calls.lock().len(), 2);
    assert_eq!(app.answerer.conversation(1), pairs(&[("user", "hej")]));
    let answer = app.storage.messages(id, 1, 1).await.unwrap().remove(0);
    let of_answer = app.call("retry", json!({"messageId": answer.id})).await;
    assert_eq!(of_answer.unwrap_err().data_code(), "BAD_REQUEST");
}

#[tokio::test]
async fn a_message_is_answered_by_one_call_at_a_time() {
    let app = app_with(gated(), 8_000).await;
    let id = app.conversation().await;
    let retry = async {
        app.answerer.until_asked().await;
        let message = app.storage.messages(id, 0, 1).await.unwrap().remove(0);
        let again = app.call("retry", json!({"messageId": message.id})).await;
        app.answerer.gate.add_permits(1);
        again
    };
    let (sent, again) = tokio::join!(app.send(id, "hej"), retry);
    sent.unwrap();
    assert_eq!(again.unwrap_err().data_code(), "CONFLICT");
}

#[tokio::test]
async fn trying_again_is_advised_only_where_it_can_help() {
    let app = app().await;
    let id = app.conversation().await;
    for (kind, code, retryable) in [
        (FaultKind::ContextLength, "PAYLOAD_TOO_LARGE", false),
        (FaultKind::BadRequest, "UNPROCESSABLE_CONTENT", false),
        (FaultKind::Payment, "SERVICE_UNAVAILABLE", false),
        (FaultKind::Timeout, "INTERNAL_SERVER_ERROR", true),
    ] {
        let RouteError::AllFailed {
            attempts, model, ..
        } = all_failed()
        else {
            unreachable!()
        };
        let failed = RouteError::AllFailed {
            attempts,
            model,
            kind,
        };
        *app.answerer.answers.lock() = VecDeque::from([Err(failed)]);
        let error = app.send(id, "hej").await.unwrap_err();
        assert_eq!(error.data_code(), code);
        assert_eq!(error.message.contains("try again"), retryable, "{kind}");
        assert_eq!(error.details.unwrap()["retryable"], retryable);
    }
}

#[tokio::test]
async fn blank_messages_are_refused_and_never_sent() {
    let app = app().await;
    let id = app.conversation().await;
    for blank in ["", "  ", "\n\u{200b}\u{feff}", "\u{3164}"] {
        let error = app.send(id, blank).await.unwrap_err();
        assert_eq!(error.data_code(), "BAD_REQUEST");
        let issues: Value = serde_json::from_str(&error.message).unwrap();
        assert_eq!(issues[0]["code"], "too_small");
        assert_eq!(issues[0]["path"], json!(["content"]));
        assert_eq!(issues[0]["message"], "Message cannot be empty");
    }
    // Those of earlier releases are still there.
    for (role, text) in [
        (MessageRole::System, "Speak Danish."),
        (MessageRole::Assistant, "Hello!"),
        (MessageRole::User, "one"),
        (MessageRole::Assistant, "\u{200b} "),
        (MessageRole::User, " "),
    ] {
        let added = app.storage.add_message(id, role, text, at(0));
        added.await.unwrap().unwrap();
    }
    app.send(id, "two").await.unwrap();
    assert_eq!(
        app.answerer.conversation(0),
        pairs(&[("user", "one\n\ntwo")])
    );
    let calls = app.answerer.calls.lock();
    let systems = calls[0]
        .1
        .request
        .messages
        .iter()
        .filter(|it| it.role == "system");
    let systems: Vec<_> = systems.collect();
    assert_eq!(systems.len(), 1);
    assert!(
        systems[0]
            .content
            .as_str()
            .unwrap()
            .ends_with("Speak Danish.")
    );
}

#[tokio::test]
async fn old_messages_are_left_out_when_the_budget_is_used_up() {
    // Each message of 30 bytes is estimated at 14 tokens.
    let app = app_with(Scripted::new(), 3 * 14).await;
    let id = app.conversation().await;
    for n in 0..4 {
        *app.answerer.answers.lock() = VecDeque::from([Ok("thirty bytes of an answer, yes")]);
        app.send(id, &format!("a question of thirty bytes, {n:02}"))
            .await
            .unwrap();
    }
    assert_eq!(
        app.answerer.conversation(3),
        pairs(&[
            ("user", "a question of thirty bytes, 02"),
            ("assistant", "thirty bytes of an answer, yes"),
            ("user", "a question of thirty bytes, 03"),
        ])
    );
    // A message is sent even where it alone is too much.
    let long = "x".repeat(10_000);
    app.send(id, &long).await.unwrap();
    assert_eq!(app.answerer.conversation(4), pairs(&[("user", &long)]));
}

#[tokio::test]
async fn a_small_context_leaves_room_for_instructions_and_answer() {
    let answerer = Scripted {
        context_tokens: 1_000,
        ..Scripted::new()
    };
    let app = app_with(answerer, 1_000_000).await;
    let id = app.conversation().await;
    for n in 0..9 {
        app.send(id, &format!("{n}{}", "x".repeat(599)))
            .await
            .unwrap();
    }
    let calls = app.answerer.calls.lock();
    let bytes: usize = calls[8]
        .1
        .request
        .messages
        .iter()
        .map(|m| m.content.as_str().unwrap().len())
        .sum();
    assert!(bytes / 3 <= 750, "{bytes}");
    assert!(calls[8].1.request.messages.len() >= 4);
}

#[tokio::test]
async fn long_conversations_are_read_in_pages() {
    let app = app_with(Scripted::new(), 1_000_000).await;
    let id = app.conversation().await;
    for n in 0..70 {
        let input = json!({"conversationId": id, "content": format!("nr {n}")});
        app.call_at(n * 10_000, 1, "sendMessage", input)
            .await
            .unwrap();
    }
    let asked = app.answerer.conversation(69);
    assert_eq!(asked.len(), 139);
    let questions: Vec<_> = asked
        .iter()
        .step_by(2)
        .map(|(_, text)| text.clone())
        .collect();
    assert_eq!(
        questions,
        (0..70).map(|n| format!("nr {n}")).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_send_goes_on_when_its_client_leaves() {
    let app = app_with(gated(), 8_000).await;
    let id = app.conversation().await;
    tokio::select! {
        _ = app.send(id, "hej") => panic!("nobody has answered yet"),
        () = app.answerer.until_asked() => {}
    }
    app.answerer.gate.add_permits(1);
    assert!(app.tasks.shutdown(Duration::from_secs(10)).await);
    let messages = app.storage.messages(id, 0, 9);
    let contents: Vec<_> = messages
        .await
        .unwrap()
        .into_iter()
        .map(|m| m.content)
        .collect();
    assert_eq!(contents, ["hej", "answer"]);
}

#[tokio::test]
async fn a_conversation_deleted_during_a_send_stays_deleted() {
    let app = app_with(gated(), 8_000).await;
    let id = app.conversation().await;
    let delete = async {
        app.answerer.until_asked().await;
        let deleted = app
            .call("deleteConversation", json!({"conversationId": id}))
            .await;
        app.answerer.gate.add_permits(1);
        deleted
    };
    let (sent, deleted) = tokio::join!(app.send(id, "hej"), delete);
    assert_eq!(sent.unwrap()["content"], "hej");
    deleted.unwrap();
    let error = app
        .call("getMessages", json!({"conversationId": id}))
        .await
        .unwrap_err();
    assert_eq!(error.data_code(), "NOT_FOUND");
    assert_eq!(
        app.call("getConversations", json!({})).await.unwrap(),
        json!([])
    );
}

#[tokio::test]
async fn of_two_sends_at_once_each_asks_with_its_own_message_last() {
    let app = app_with(gated(), 8_000).await;
    let id = app.conversation().await;
    let release = async {
        app.answerer.until_asked().await;
        app.answerer.until_asked().await;
        app.answerer.gate.add_permits(2);
    };
    let (first, second, ()) = tokio::join!(app.send(id, "a"), app.send(id, "b"), release);
    let mut sent = [first.unwrap(), second.unwrap()];
    sent.sort_by_key(|message| message["id"].as_i64());
    let [earlier, later] = sent.map(|message| message["content"].as_str().unwrap().to_owned());
    let mut asked = [app.answerer.conversation(0), app.answerer.conversation(1)];
    asked.sort_by_key(|messages| messages[0].1.len());
    assert_eq!(
        asked,
        [
            pairs(&[("user", &earlier)]),
            pairs(&[("user", &format!("{earlier}\n\n{later}"))])
        ]
    );
    let roles: Vec<_> = app
        .stored(id)
        .await
        .into_iter()
        .map(|(role, _)| role)
        .collect();
    assert_eq!(roles, ["user", "user", "assistant", "assistant"]);
}

#[tokio::test]
async fn the_same_text_at_the_same_time_is_one_message_and_later_another() {
    let app = app_with(gated(), 8_000).await;
    let id = app.conversation().await;
    let other = app.conversation().await;
    let user = app.storage.find_user(1).await.unwrap().unwrap();
    let send = |conversation: i64| {
        let input = json!({"conversationId": conversation, "content": "hej"});
        app.call_as(user.clone(), 0, "sendMessage", input)
    };
    // No send is to wait for a connection that is only being opened.
    futures::future::join_all((0..16).map(|_| app.stored(id))).await;
    // Once so many are asked, and whoever came with them has been let in: twenty reads come after its own.
    let release = async |asked: usize, permits: usize| {
        for _ in 0..asked {
            app.answerer.until_asked().await;
        }
        for _ in 0..20 {
            app.stored(id).await;
        }
        app.answerer.gate.add_permits(permits);
    };
    let (first, again, elsewhere, ()) =
        tokio::join!(send(id), send(id), send(other), release(2, 2));
    assert_eq!(first.unwrap()["id"], again.unwrap()["id"]);
    elsewhere.unwrap();
    let once = pairs(&[("user", "hej"), ("assistant", "answer")]);
    assert_eq!(app.stored(id).await, once);
    assert_eq!(app.stored(other).await, once);

    // Where the first has no answer the second gets one; it is not stored again.
    let id = app.conversation().await;
    *app.answerer.answers.lock() = VecDeque::from([Err(all_failed())]);
    assert_eq!(app.answerer.gate.forget_permits(2), 2, "it is closed again");
    let (one, other, ()) = tokio::join!(send(id), send(id), release(1, 3));
    let (failed, answered) = if one.is_err() {
        (one, other)
    } else {
        (other, one)
    };
    assert_eq!(
        failed.unwrap_err().details.unwrap()["messageId"],
        answered.unwrap()["id"]
    );
    assert_eq!(app.stored(id).await, once);
    app.send(id, "hej").await.unwrap();
    assert_eq!(app.stored(id).await, [once.clone(), once].concat());
}

#[tokio::test]
async fn an_answer_is_dated_after_its_question() {
    let app = app().await;
    let id = app.conversation().await;
    app.send(id, "hej").await.unwrap();
    let page = app
        .call("getMessages", json!({"conversationId": id}))
        .await
        .unwrap();
    let time = |n: usize| -> DateTime<Utc> {
        page["messages"][n]["createdAt"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    };
    assert_eq!(time(0), at(0));
    assert!(time(1) >= at(0) && time(1) < at(0) + TimeDelta::seconds(30));
}
