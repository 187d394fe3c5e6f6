//! `chat.rateMessage`: who may rate what, and who is told.

use modelramp::{
    _core::{
        assignment::{Subject, Variant},
        caller::Caller,
        context::Context,
        errors::ErrorCode,
        procedure::Input,
    },
    chat::store::{ConversationStore, MessageRole, Rating, RatingOutcome},
    recording::Outcome,
};
use serde_json::json;

use super::app::{App, app, at};
use crate::support::log::taken;

/// An application with a conversation: message 1 and its answer, 2.
async fn answered() -> App {
    let app = app().await;
    let conversation = app.conversation().await;
    app.send(conversation, "Hvad kan du?").await.unwrap();
    app
}

#[tokio::test]
async fn the_first_rating_of_an_answer_is_told_with_its_origin() {
    let app = answered().await;
    let input = json!({"messageId": 2, "verdict": "bad"});
    let kept = app.call("rateMessage", input).await.unwrap();
    assert_eq!(kept, json!({"success": true}));
    let told = taken(&app.log);
    let [rated] = &*told else {
        panic!("{told:?}");
    };
    assert_eq!(rated.outcome, Outcome::Rated { good: false });
    assert_eq!(rated.at_ms, at(0).timestamp_millis());
    assert_eq!(rated.rollout.as_deref(), Some("rollout-1"));
    assert_eq!(
        (rated.subject, rated.variant),
        (Some(Subject::User(1).key()), Variant::Control)
    );
    for verdict in ["good", "bad", "good"] {
        let input = json!({"messageId": 2, "verdict": verdict});
        app.call("rateMessage", input).await.unwrap();
    }
    assert!(
        taken(&app.log).is_empty(),
        "one person who clicks often counts once"
    );
}

#[tokio::test]
async fn only_answers_in_ones_own_conversations_are_rated() {
    let app = answered().await;
    for (user, message, code, text) in [
        (1, 99, ErrorCode::NotFound, "Message not found"),
        // Another's is answered as none is.
        (2, 2, ErrorCode::NotFound, "Message not found"),
        (
            1,
            1,
            ErrorCode::BadRequest,
            "Only answers of the assistant can be rated (ID: 1)",
        ),
    ] {
        let input = json!({"messageId": message, "verdict": "good"});
        let error = app.call_at(0, user, "rateMessage", input).await;
        let error = error.unwrap_err();
        assert_eq!((error.code, &*error.message), (code, text));
    }
    let input = json!({"messageId": 2, "verdict": "so-so"});
    let error = app.call("rateMessage", input).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::BadRequest);
    assert!(taken(&app.log).is_empty());
}

#[tokio::test]
async fn nobody_rates_without_a_session() {
    let app = answered().await;
    let target = app.registry.resolve("chat.rateMessage");
    let context = Context::new(Caller::Anonymous, at(0));
    let input = Input::Json(json!({"messageId": 2, "verdict": "good"}));
    let error = target.here().unwrap().call(context, input).await.err();
    assert_eq!(error.map(|error| error.code), Some(ErrorCode::Unauthorized));
}

#[tokio::test]
async fn the_store_tells_first_from_later_and_what_is_gone() {
    let app = answered().await;
    let store = &app.storage;
    let rate = |message, rating| store.rate_message(message, 1, rating, at(5));
    assert_eq!(rate(2, Rating::Good).await.unwrap(), RatingOutcome::First);
    assert_eq!(rate(2, Rating::Bad).await.unwrap(), RatingOutcome::Again);
    assert_eq!(rate(99, Rating::Bad).await.unwrap(), RatingOutcome::Gone);

    let (question, origin) = store.message(1).await.unwrap().unwrap();
    assert_eq!((question.role, origin), (MessageRole::User, None));
    let (answer, origin) = store.message(2).await.unwrap().unwrap();
    let origin = origin.unwrap();
    assert_eq!(answer.content, "answer");
    assert_eq!(&*origin.model, "glm-4.5-air-free");
    assert_eq!(origin.subject, Subject::User(1).key());
    store.delete_conversation(1).await.unwrap();
    assert_eq!(store.message(2).await.unwrap(), None);
}
