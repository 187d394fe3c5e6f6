//! Conversations, their messages and the ratings of these as they are stored.

use modelramp::{
    _core::{
        assignment::Variant,
        auth::{Session, UserStore},
        caller::Role,
    },
    chat::store::{AnswerOrigin, ConversationStore, Message, MessageRole, Rating, RatingOutcome},
};

use super::{at, database::Database};

on_both!(
    messages_go_with_their_conversation_and_cannot_come_back,
    an_answer_knows_what_wrote_it_and_is_rated,
    any_text_can_be_kept,
);

async fn messages_go_with_their_conversation_and_cannot_come_back(database: Database) {
    let storage = &database.storage;
    storage
        .ensure_local_user(1, Role::User, at(0))
        .await
        .unwrap();
    let doomed = storage.create_conversation(1, None, at(0)).await.unwrap();
    let kept = storage.create_conversation(1, None, at(0)).await.unwrap();
    for conversation in [&doomed, &kept] {
        storage
            .add_message(conversation.id, MessageRole::User, "hej", at(1))
            .await
            .unwrap();
    }
    storage.delete_conversation(doomed.id).await.unwrap();
    storage.delete_conversation(doomed.id).await.unwrap();
    let late = storage
        .add_message(doomed.id, MessageRole::Assistant, "too late", at(2))
        .await
        .unwrap();
    assert_eq!(late, None);
    assert!(storage.messages(doomed.id, 0, 10).await.unwrap().is_empty());
    assert_eq!(storage.messages(kept.id, 0, 10).await.unwrap().len(), 1);
    // Nor is its id handed out again.
    storage.delete_conversation(kept.id).await.unwrap();
    let next = storage.create_conversation(1, None, at(3)).await.unwrap();
    assert_eq!(next.id, kept.id + 1);
}

async fn an_answer_knows_what_wrote_it_and_is_rated(database: Database) {
    let storage = &database.storage;
    for user in [1, 2] {
        storage
            .ensure_local_user(user, Role::User, at(0))
            .await
            .unwrap();
    }
    let conversation = storage.create_conversation(1, None, at(0)).await.unwrap();
    let origin = AnswerOrigin {
        request_id: "r-1".into(),
        model: "glm".into(),
        task: "chat".into(),
        variant: Variant::Candidate,
        rollout: Some("0193".into()),
        subject: u64::MAX,
    };
    let question = storage
        .add_message(conversation.id, MessageRole::User, "hej", at(1))
        .await
        .unwrap()
        .unwrap();
    let answer = storage
        .add_answer(&question, "goddag", &origin, at(2))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer.role, MessageRole::Assistant);
    let gone = Message {
        id: 999,
        conversation_id: 999,
        ..question.clone()
    };
    for (question, is_answered) in [(&question, true), (&gone, false)] {
        let found = storage.answer_to(question).await.unwrap();
        let expected = is_answered.then(|| (answer.clone(), Some(origin.clone())));
        assert_eq!(found, expected);
        let again = storage.add_answer(question, "goddag", &origin, at(2)).await;
        assert_eq!(again.unwrap(), None);
    }

    let read = async |id| storage.message(id).await.unwrap();
    assert_eq!(read(question.id).await.unwrap().1, None);
    assert_eq!(read(answer.id).await, Some((answer.clone(), Some(origin))));
    assert_eq!(read(999).await, None);

    let rate =
        async |user, id, rating| storage.rate_message(id, user, rating, at(3)).await.unwrap();
    assert_eq!(rate(1, answer.id, Rating::Good).await, RatingOutcome::First);
    assert_eq!(rate(1, answer.id, Rating::Bad).await, RatingOutcome::Again);
    assert_eq!(rate(1, 999, Rating::Good).await, RatingOutcome::Gone);
    let kept = "SELECT COUNT(*) FROM message_ratings WHERE verdict = 'bad'";
    assert_eq!(database.number(kept).await, 1);
    let ratings = "SELECT COUNT(*) FROM message_ratings";
    assert_eq!(database.number(ratings).await, 1);
    storage.delete_conversation(conversation.id).await.unwrap();
    assert_eq!(database.number(ratings).await, 0);
}

/// PostgreSQL's texts know no NUL.
async fn any_text_can_be_kept(database: Database) {
    let storage = &database.storage;
    let user = storage
        .user_of_session(&Session::of("a\0b", "N\0"), at(0))
        .await;
    let user = user.unwrap().unwrap();
    let same = storage
        .user_of_session(&Session::of("a\0b", "N\0"), at(1))
        .await;
    assert_eq!(same.unwrap().unwrap().id, user.id);
    let conversation = storage
        .create_conversation(user.id, Some("t\0"), at(0))
        .await
        .unwrap();
    let text = "a\0b\u{10ffff}'\"\\\n\u{202e}";
    let message = storage
        .add_message(conversation.id, MessageRole::User, text, at(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(message.content, text.replace('\0', "\u{fffd}"));
}
