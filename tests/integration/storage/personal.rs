//! What is kept of one user.

use chrono::TimeDelta;
use modelramp::{
    _core::{
        actor::Actor,
        auth::{Session, UserStore},
        caller::Role,
    },
    chat::store::{ConversationStore, MessageRole},
    dashboard::texts::TextStore,
    email_intelligence::{
        Categorized, Category,
        store::{EmailStore, Insight},
    },
    recording::{
        Event,
        texts::{CallTexts, TextSink},
    },
};

use super::{at, database::Database, events::event};
use crate::support::log::{append, since};

on_both!(what_is_kept_of_a_user_is_given_out_and_forgotten,);

async fn what_is_kept_of_a_user_is_given_out_and_forgotten(database: Database) {
    let storage = &database.storage;
    for id in [7, 8] {
        storage
            .ensure_local_user(id, Role::User, at(0))
            .await
            .unwrap();
        let title = Some(format!("of {id}"));
        let conversation = storage
            .create_conversation(id, title.as_deref(), at(1))
            .await;
        let letter = format!("the letter of {id}");
        let conversation = conversation.unwrap().id;
        let added = storage
            .add_message(conversation, MessageRole::User, &letter, at(2))
            .await;
        assert!(added.unwrap().is_some());
    }
    let of = |user, seconds| Event {
        user_id: Some(user),
        ..event(at(seconds).timestamp_millis())
    };
    let events = [of(7, 1), of(8, 2), of(7, 3)];
    append(storage, &events).await.unwrap();
    let exported = async |id| {
        let mut out = Vec::new();
        let found = storage.export_user(id, &mut out).await.unwrap();
        let lines = String::from_utf8(out).unwrap();
        let kinds: Vec<String> = lines
            .lines()
            .map(|line| {
                let line: serde_json::Map<_, _> = serde_json::from_str(line).unwrap();
                line.keys().next().unwrap().clone()
            })
            .collect();
        (found, kinds, lines)
    };
    let said = |user, seconds| CallTexts {
        request_id: format!("t{user}"),
        at_ms: at(seconds).timestamp_millis(),
        user_id: Some(user),
        task: "chat".to_owned(),
        prompt: Vec::new(),
        answer: Some("an answer".to_owned()),
        is_cut: false,
        masked: 0,
    };
    storage.keep_texts(&[said(7, 1), said(8, 2)]).await.unwrap();
    let (found, kinds, lines) = exported(7).await;
    assert!(found);
    let expected = [
        "user",
        "conversation",
        "message",
        "requestText",
        "event",
        "event",
    ];
    assert_eq!(kinds, expected);
    assert!(
        lines.contains("the letter of 7") && !lines.contains("of 8"),
        "{lines}"
    );

    let before = since(storage, 0).await;
    let forgotten = storage
        .forget_user(7, &Actor::CommandLine, at(3))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((forgotten.conversations, forgotten.events), (1, 2));
    assert_eq!(exported(7).await, (false, vec![], String::new()));
    assert!(!storage.has_texts("t7").await.unwrap());
    storage.keep_texts(&[said(7, 4)]).await.unwrap();
    // A call that was under way then has left something; the second delete finds it, and the upkeep does.
    append(storage, &[of(7, 4)]).await.unwrap();
    let again = storage
        .forget_user(7, &Actor::CommandLine, at(4))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((again.conversations, again.events), (0, 1));
    append(storage, &[of(7, 5)]).await.unwrap();
    storage.prune(TimeDelta::days(14), at(5)).await.unwrap();
    let came_late = storage.has_texts("t7").await.unwrap();
    assert!(!came_late, "the upkeep deletes it");
    assert!(storage.has_texts("t8").await.unwrap());
    assert_eq!(storage.prune_texts(at(3)).await.unwrap(), 1);
    assert_eq!(
        storage
            .forget_user(7, &Actor::CommandLine, at(6))
            .await
            .unwrap()
            .unwrap()
            .events,
        0
    );
    let insight = Insight::Category(Categorized {
        category: Category::Work,
        confidence: 1.0,
        subcategory: None,
        reasoning: None,
    });
    let late = storage.keep(7, "t", &insight, at(6)).await;
    assert!(
        late.is_err(),
        "nothing is kept for somebody who was deleted"
    );
    let (_, kinds, _) = exported(8).await;
    assert_eq!(kinds, ["user", "conversation", "message", "event"]);
    let mut without: Vec<Event> = before;
    without.extend(since(storage, at(4).timestamp_millis()).await);
    for event in &mut without {
        event.user_id = event.user_id.filter(|user| *user != 7);
    }
    // Nothing else of events has changed.
    assert_eq!(
        format!("{:?}", since(storage, 0).await),
        format!("{without:?}")
    );
    let session = Session::of("local:7", "again");
    let refused = storage.user_of_session(&session, at(5)).await.unwrap();
    assert_eq!(refused, None, "nobody comes back by an old session");
    // Nothing is kept for longer than is said.
    storage.keep(8, "t", &insight, at(6)).await.unwrap();
    storage
        .prune(TimeDelta::days(14), at(6) + TimeDelta::days(91))
        .await
        .unwrap();
    assert!(
        storage
            .found(8, &["t".to_owned()])
            .await
            .unwrap()
            .is_empty()
    );
}
