//! Users, conversations and events as they are stored.

use std::{collections::HashSet, sync::Arc};

use chrono::TimeDelta;
use modelramp::{
    _core::{
        actor::Actor,
        assignment::Variant,
        auth::{Authenticator, Session, SessionKey, UserStore, login_link::LoginLinkStore},
        caller::{Caller, Role},
        units::Microdollars,
    },
    chat::store::{ConversationStore, Message, MessageRole, Origin, Rated, Rating},
    dashboard::texts::TextStore,
    email_intelligence::{
        Categorized, Category,
        store::{EmailStore, Insight},
    },
    providers::{
        fault::{Cause, FaultKind},
        finish::Finish,
        quality::Quality,
    },
    recording::{
        Event, Outcome,
        texts::{TextSink, Texts},
    },
    storage::UserError,
};

use super::{at, database::Database};
use crate::support::log::{append, since};

on_both!(
    an_answer_knows_what_wrote_it_and_is_rated,
    any_text_can_be_kept,
    an_unknown_open_id_becomes_a_user_of_that_name,
    first_calls_at_once_make_one_user,
    a_call_is_noted_once_a_minute,
    local_users_are_made_by_the_command_only,
    ids_that_were_asked_for_are_not_handed_out_later,
    the_role_of_a_user_who_came_by_session_can_be_set,
    ids_are_positive_and_deleted_users_stay_deleted,
    an_issued_token_names_its_user,
    a_link_is_used_once_and_within_five_minutes,
    an_ended_session_is_nobodys_and_others_go_on,
    messages_go_with_their_conversation_and_cannot_come_back,
    what_is_kept_of_a_user_is_given_out_and_forgotten,
    events_come_back_as_they_were_oldest_first,
    events_are_stored_all_or_none,
);

async fn an_unknown_open_id_becomes_a_user_of_that_name(database: Database) {
    let storage = &database.storage;
    let made = storage
        .user_of_session(&Session::of("brand-new", "Ny"), at(0))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(made.id, 1);
    assert_eq!(made.name.as_deref(), Some("Ny"));
    assert_eq!(made.email, None);
    assert_eq!(made.login_method.as_deref(), Some("dev"));
    assert_eq!(made.role, Role::User);
    assert_eq!(made.created_at, at(0));
    let again = storage
        .user_of_session(&Session::of("brand-new", "Other"), at(1))
        .await
        .unwrap();
    assert_eq!(again, Some(made));
}

async fn first_calls_at_once_make_one_user(database: Database) {
    let storage = &database.storage;
    let ids: HashSet<i64> = futures::future::join_all((0..20).map(|_| {
        let storage = storage.clone();
        async move {
            storage
                .user_of_session(&Session::of("new", "N"), at(0))
                .await
                .unwrap()
                .unwrap()
                .id
        }
    }))
    .await
    .into_iter()
    .collect();
    assert_eq!(ids.len(), 1);
}

async fn a_call_is_noted_once_a_minute(database: Database) {
    let storage = &database.storage;
    let mut seen = Vec::new();
    for seconds in [0, 59, 60, 100, 120, 121] {
        let user = storage
            .user_of_session(&Session::of("u", "U"), at(seconds))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(user.updated_at, at(0));
        seen.push((user.last_signed_in - at(0)).num_seconds());
    }
    assert_eq!(seen, [0, 0, 60, 60, 120, 120]);
    let stored = storage.find_user(1).await.unwrap().unwrap();
    assert_eq!(stored.last_signed_in, at(120));
}

async fn local_users_are_made_by_the_command_only(database: Database) {
    let storage = &database.storage;
    assert_eq!(
        storage
            .user_of_session(&Session::of("local:7", "X"), at(0))
            .await
            .unwrap(),
        None
    );
    let made = storage
        .ensure_local_user(7, Role::User, at(0))
        .await
        .unwrap();
    assert_eq!(
        (made.id, made.open_id.as_str(), made.role),
        (7, "local:7", Role::User)
    );
    let session = storage
        .user_of_session(&Session::of("local:7", "X"), at(1))
        .await
        .unwrap();
    assert_eq!(session, Some(made));
    let admin = storage
        .ensure_local_user(7, Role::Admin, at(2))
        .await
        .unwrap();
    assert_eq!((admin.id, admin.role), (7, Role::Admin));
    assert_eq!((admin.created_at, admin.updated_at), (at(0), at(2)));
}

async fn ids_that_were_asked_for_are_not_handed_out_later(database: Database) {
    let storage = &database.storage;
    storage
        .ensure_local_user(3, Role::User, at(0))
        .await
        .unwrap();
    storage
        .ensure_local_user(1, Role::User, at(0))
        .await
        .unwrap();
    for expected in [4, 5] {
        let open_id = format!("user-{expected}");
        let user = storage
            .user_of_session(&Session::of(&open_id, "N"), at(0))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(user.id, expected);
    }
}

async fn the_role_of_a_user_who_came_by_session_can_be_set(database: Database) {
    let storage = &database.storage;
    storage
        .user_of_session(&Session::of("bo", "Bo"), at(0))
        .await
        .unwrap();
    let user = storage
        .ensure_local_user(1, Role::Admin, at(1))
        .await
        .unwrap();
    assert_eq!((user.open_id.as_str(), user.role), ("bo", Role::Admin));
    assert_eq!(user.name.as_deref(), Some("Bo"));
}

async fn ids_are_positive_and_deleted_users_stay_deleted(database: Database) {
    let storage = &database.storage;
    for id in [0, -1, i64::MIN, i64::MAX] {
        let error = storage
            .ensure_local_user(id, Role::User, at(0))
            .await
            .unwrap_err();
        assert!(matches!(error, UserError::InvalidId { .. }));
        assert!(error.to_string().contains(&format!("`{id}`")));
    }
    storage
        .ensure_local_user(7, Role::User, at(0))
        .await
        .unwrap();
    assert!(
        storage
            .forget_user(7, &Actor::CommandLine, at(1))
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(
        storage
            .forget_user(99, &Actor::CommandLine, at(1))
            .await
            .unwrap(),
        None
    );
    assert_eq!(storage.find_user(7).await.unwrap(), None);
    assert_eq!(
        storage
            .user_of_session(&Session::of("local:7", "X"), at(2))
            .await
            .unwrap(),
        None
    );
    let error = storage
        .ensure_local_user(7, Role::Admin, at(2))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "user `7` was deleted");

    storage
        .user_of_session(&Session::of("bo", "Bo"), at(0))
        .await
        .unwrap();
    storage
        .forget_user(8, &Actor::CommandLine, at(1))
        .await
        .unwrap();
    assert_eq!(
        storage
            .user_of_session(&Session::of("bo", "Bo"), at(2))
            .await
            .unwrap(),
        None
    );
}

async fn an_issued_token_names_its_user(database: Database) {
    let storage = &database.storage;
    let user = storage
        .ensure_local_user(7, Role::Admin, at(0))
        .await
        .unwrap();
    let secret = "0123456789abcdef0123456789abcdef";
    let token = SessionKey::new(&secret.into())
        .issue(
            &user,
            "app",
            TimeDelta::days(36_500).to_std().unwrap(),
            at(0),
        )
        .unwrap();
    let authenticator = Authenticator::new(
        SessionKey::new(&secret.into()),
        None,
        Arc::new(storage.clone()),
    );
    let Caller::User(caller) = authenticator.caller_of_token(&token, at(1)).await else {
        panic!("the token names nobody");
    };
    assert_eq!(*caller, user);
}

async fn a_link_is_used_once_and_within_five_minutes(database: Database) {
    let storage = &database.storage;
    let user = storage
        .ensure_local_user(7, Role::User, at(0))
        .await
        .unwrap();
    for (hash, user_id) in [("early", 7), ("late", 7), ("gone", 8)] {
        storage
            .ensure_local_user(user_id, Role::User, at(0))
            .await
            .unwrap();
        storage.keep_link(hash, user_id, at(0)).await.unwrap();
    }
    storage
        .forget_user(8, &Actor::CommandLine, at(1))
        .await
        .unwrap();
    let tries = (0..10).map(|_| storage.spend_link("early", at(299)));
    let users = futures::future::join_all(tries).await;
    let users: Vec<_> = users.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(users, [user]);
    for (hash, now) in [
        ("early", at(299)),
        ("late", at(300)),
        ("gone", at(2)),
        ("none", at(2)),
    ] {
        assert_eq!(storage.spend_link(hash, now).await.unwrap(), None, "{hash}");
    }
    // Ending all sessions ends the links from before, and none from after.
    for (hash, made_at) in [("before", at(9)), ("after", at(10))] {
        storage.keep_link(hash, 7, made_at).await.unwrap();
    }
    assert!(storage.end_sessions(7, at(10)).await.unwrap());
    assert_eq!(storage.spend_link("before", at(11)).await.unwrap(), None);
    assert!(storage.spend_link("after", at(11)).await.unwrap().is_some());
    storage.prune(TimeDelta::days(14), at(301)).await.unwrap();
    assert_eq!(storage.spend_link("late", at(299)).await.unwrap(), None);
}

async fn an_ended_session_is_nobodys_and_others_go_on(database: Database) {
    let storage = &database.storage;
    let session = |id: &str, seconds: i64| {
        let mut session = Session::of("bo", "Bo");
        session.id = id.into();
        session.issued_ms = at(seconds).timestamp_millis();
        session
    };
    let (first, second) = (session("a", 0), session("b", 0));
    let holds = async |session: &Session, now| {
        storage
            .user_of_session(session, now)
            .await
            .unwrap()
            .is_some()
    };
    assert!(holds(&first, at(0)).await && holds(&second, at(0)).await);
    // Twice is as good as once.
    for _ in 0..2 {
        storage.end_session(&first, at(100)).await.unwrap();
    }
    assert!(!holds(&first, at(1)).await && holds(&second, at(1)).await);
    storage.prune(TimeDelta::days(14), at(99)).await.unwrap();
    assert!(!holds(&first, at(99)).await);

    assert!(storage.end_sessions(1, at(5)).await.unwrap());
    assert!(!holds(&second, at(6)).await);
    // A token that does not say when it was issued counts as older.
    assert!(!holds(&Session::of("bo", "Bo"), at(6)).await);
    assert!(holds(&session("c", 5), at(6)).await);
    assert!(!storage.end_sessions(99, at(5)).await.unwrap());
    let other = storage
        .user_of_session(&Session::of("eve", "Eve"), at(6))
        .await;
    assert!(other.unwrap().is_some());
}

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

pub(super) fn event(at_ms: i64) -> Event {
    Event {
        at_ms,
        request_id: "r".into(),
        user_id: Some(7),
        seq: 0,
        subject: None,
        rollout: None,
        counted: false,
        was_open: false,
        model: "glm-4.5-air-free".into(),
        task: "chat".into(),
        variant: Variant::Candidate,
        position: 1,
        latency_ms: 12.5,
        first_token_ms: None,
        prompt_tokens: u32::MAX,
        completion_tokens: 3,
        quality: Some(Quality::FLAWS[usize::try_from(at_ms.unsigned_abs() % 4).unwrap_or(0)]),
        answer_chars: Some(u32::MAX),
        status: Some(u16::MAX),
        cause: Some(Cause::TimeoutUpstream),
        finish: Some(Finish::Length),
        cost: Microdollars(42),
        outcome: Outcome::Fault(FaultKind::Timeout),
    }
}

async fn events_come_back_as_they_were_oldest_first(database: Database) {
    let storage = &database.storage;
    // More than two inserts of one transaction, the newest first.
    let events: Vec<_> = (0..1_203).rev().map(event).collect();
    append(storage, &events).await.unwrap();
    append(storage, &[]).await.unwrap();
    let read = since(storage, 3).await;
    let times: Vec<_> = read.iter().map(|event| event.at_ms).collect();
    assert_eq!(times, (3..1_203).collect::<Vec<_>>());
    let numbered = |event: Event, seq| format!("{:?}", Event { seq, ..event });
    assert_eq!(format!("{:?}", read[0]), numbered(event(3), 1_200));

    let other = Event {
        user_id: None,
        seq: 0,
        subject: None,
        rollout: None,
        counted: false,
        was_open: false,
        first_token_ms: Some(1.25),
        variant: Variant::Control,
        outcome: Outcome::Success,
        ..event(5_000)
    };
    append(storage, std::slice::from_ref(&other)).await.unwrap();
    let read = since(storage, 5_000).await;
    assert_eq!(format!("{:?}", read[0]), numbered(other, 1_204));
}

async fn events_are_stored_all_or_none(database: Database) {
    let storage = &database.storage;
    let mut events: Vec<_> = (0..600).map(event).collect();
    // SQLite keeps not-a-number as NULL, which the column refuses, as PostgreSQL's check does.
    events[599].latency_ms = f64::NAN;
    assert!(append(storage, &events).await.is_err());
    assert!(since(storage, 0).await.is_empty());
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
    let origin = Origin {
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
    assert_eq!(rate(1, answer.id, Rating::Good).await, Rated::First);
    assert_eq!(rate(1, answer.id, Rating::Bad).await, Rated::Again);
    assert_eq!(rate(1, 999, Rating::Good).await, Rated::Gone);
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
    let said = |user, seconds| Texts {
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
