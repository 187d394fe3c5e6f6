//! Users, their sessions and their links as they are stored.

use std::{collections::HashSet, sync::Arc};

use chrono::TimeDelta;
use modelramp::{
    _core::{
        actor::Actor,
        auth::{Authenticator, Session, SessionKey, UserStore, login_link::LoginLinkStore},
        caller::{Caller, Role},
    },
    storage::UserError,
};

use super::{at, database::Database};

on_both!(
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
