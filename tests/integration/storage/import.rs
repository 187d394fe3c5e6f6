//! Users and conversations of the TypeScript server, taken over from its PostgreSQL.

use modelramp::{
    _core::{
        auth::oidc::{Person, PersonStore},
        caller::Role,
    },
    chat::store::ConversationStore,
    storage::{ImportPlan, ImportReport, Storage},
};
use sqlx::{Connection, PgConnection};

use super::{at, database::Database};
use crate::support::postgres;

on_both!(
    everything_is_taken_over_once_and_what_is_new_later,
    nothing_is_written_by_a_dry_run,
    what_changed_there_alone_is_brought_up_to_date,
);

/// The tables as drizzle makes them, with a user, conversations and messages; also some that lead nowhere.
const TABLES: &str = r#"
CREATE SCHEMA friday_ai;
CREATE TYPE friday_ai.user_role AS ENUM ('user', 'admin');
CREATE TYPE friday_ai.message_role AS ENUM ('user', 'assistant', 'system', 'tool');
CREATE TABLE friday_ai.users (
    id serial PRIMARY KEY, "openId" varchar(64) NOT NULL UNIQUE, name text, email varchar(320), "loginMethod" varchar(64),
    role friday_ai.user_role NOT NULL DEFAULT 'user', "createdAt" timestamp NOT NULL, "updatedAt" timestamp NOT NULL,
    "lastSignedIn" timestamp with time zone NOT NULL
);
CREATE TABLE friday_ai.conversations (
    id serial PRIMARY KEY, "userId" integer NOT NULL, title varchar(255), "createdAt" timestamp NOT NULL,
    "updatedAt" timestamp NOT NULL
);
CREATE TABLE friday_ai.messages (
    id serial PRIMARY KEY, "conversationId" integer NOT NULL, role friday_ai.message_role NOT NULL, content text NOT NULL,
    "createdAt" timestamp NOT NULL
);
INSERT INTO friday_ai.users VALUES
    (1, 'anna', 'Anna Ø', 'anna@example.com', 'google', 'admin', '2025-01-02 03:04:05.678', '2025-01-02 03:04:05', '2025-01-02 04:04:05+01'),
    (7, 'bo', NULL, NULL, NULL, 'user', '2025-01-02', '2025-01-02', '2025-01-02'),
    (9, 'local:9', 'x', NULL, NULL, 'user', '2025-01-02', '2025-01-02', '2025-01-02');
INSERT INTO friday_ai.conversations VALUES
    (1, 1, 'Første', '2025-01-02', '2025-01-03'), (2, 7, NULL, '2025-01-02', '2025-01-02'), (3, 99, 'nobody', '2025-01-02', '2025-01-02');
INSERT INTO friday_ai.messages VALUES
    (1, 1, 'user', 'Hej', '2025-01-02 10:00:00.001'), (2, 3, 'user', 'lost', '2025-01-02'), (3, 1, 'tool', '{}', '2025-01-02'),
    (4, 1, 'assistant', 'Hej Anna', '2025-01-02 10:00:01');
INSERT INTO friday_ai.messages SELECT 10 + n, 2, 'user', 'message ' || n, '2025-01-02' FROM generate_series(1, 1200) AS n;
"#;

/// The database of the TypeScript server, and a plan to take it over.
async fn original() -> Option<(PgConnection, ImportPlan)> {
    let url = postgres::database().await?;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(TABLES)
        .execute(&mut connection)
        .await
        .unwrap();
    let plan = ImportPlan {
        from: url,
        schema: "friday_ai".to_owned(),
        keeps_roles: false,
        is_dry: false,
    };
    Some((connection, plan))
}

async fn import(storage: &Storage, plan: &ImportPlan) -> ImportReport {
    storage.import(plan, at(0), |_, _| {}).await.unwrap()
}

/// New, here already, taken over before, left out.
fn figures(report: &ImportReport) -> Vec<(u64, u64, u64, u64)> {
    let figures = report.tables.iter().map(|(_, it)| {
        let refused = it.refused.values().map(|(count, _)| count).sum();
        (it.new, it.joined, it.known, refused)
    });
    figures.collect()
}

async fn everything_is_taken_over_once_and_what_is_new_later(database: Database) {
    let Some((mut original, plan)) = original().await else {
        return;
    };
    let storage = &database.storage;
    // Whoever has conversation 1 here keeps it, and so does the user of this number.
    let here = storage
        .ensure_local_user(1, Role::User, at(0))
        .await
        .unwrap();
    let kept = storage
        .create_conversation(here.id, Some("ours"), at(0))
        .await
        .unwrap();
    assert_eq!(kept.id, 1);

    let first = import(storage, &plan).await;
    assert_eq!(
        figures(&first),
        [(2, 0, 0, 1), (2, 0, 0, 1), (1202, 0, 0, 2)]
    );
    let again = import(storage, &plan).await;
    assert_eq!(
        figures(&again),
        [(0, 0, 2, 1), (0, 0, 2, 1), (0, 0, 1202, 2)]
    );

    let bo = storage
        .find_user(7)
        .await
        .unwrap()
        .expect("the number was free");
    assert_eq!((bo.open_id.as_str(), bo.role), ("bo", Role::User));
    let conversations = storage.conversations_of(7).await.unwrap();
    assert_eq!(conversations[0].conversation.id, 2);
    let messages = storage.messages(2, 0, 2_000).await.unwrap();
    assert_eq!(messages.len(), 1200);
    let texts = messages.iter().map(|it| it.content.as_str());
    assert!(
        texts.eq((1..=1200)
            .map(|n| format!("message {n}"))
            .collect::<Vec<_>>()
            .iter())
    );
    assert_eq!(
        storage.conversations_of(1).await.unwrap().len(),
        1,
        "nobody else's"
    );

    let anna = (8..20).collect::<Vec<_>>();
    let mut found = None;
    for id in anna {
        found = storage
            .find_user(id)
            .await
            .unwrap()
            .filter(|it| it.open_id == "anna")
            .or(found);
    }
    let anna = found.expect("she has another number");
    assert_eq!(anna.role, Role::User, "an admin there is none here");
    assert_eq!(anna.created_at.timestamp_millis(), 1_735_787_045_678);
    assert_eq!(anna.last_signed_in.timestamp_millis(), 1_735_787_045_000);
    let hers = storage.conversations_of(anna.id).await.unwrap();
    let title = hers[0].conversation.title.as_deref();
    assert_eq!((hers.len(), title), (1, Some("Første")));
    assert_eq!(hers[0].last_message.as_deref(), Some("Hej Anna"));

    // Numbers that are handed out later are free.
    let new = storage.create_conversation(7, None, at(1)).await.unwrap();
    assert!(new.id > 2, "{}", new.id);

    // Later, what is new there; what was deleted here does not come back.
    storage.delete_conversation(2).await.unwrap();
    let more = r#"INSERT INTO friday_ai.messages VALUES (5000, 1, 'user', 'new', '2025-02-01'), (5001, 2, 'user', 'gone', '2025-02-01')"#;
    sqlx::raw_sql(more).execute(&mut original).await.unwrap();
    let later = import(storage, &plan).await;
    assert_eq!(figures(&later)[2], (1, 0, 1202, 3));
    let refused: Vec<_> = later.tables[2].1.refused.keys().copied().collect();
    assert!(
        refused.contains(&"its conversation was deleted here"),
        "{refused:?}"
    );
}

async fn nothing_is_written_by_a_dry_run(database: Database) {
    let Some((mut original, plan)) = original().await else {
        return;
    };
    let storage = &database.storage;
    let dry = ImportPlan {
        is_dry: true,
        ..plan.clone()
    };
    let told = import(storage, &dry).await;
    assert_eq!(storage.find_user(7).await.unwrap(), None);
    assert_eq!(figures(&told), figures(&import(storage, &plan).await));

    let wrong = ImportPlan {
        schema: "public".to_owned(),
        ..plan.clone()
    };
    let error = storage.import(&wrong, at(0), |_, _| {}).await.unwrap_err();
    assert!(error.to_string().contains("--schema"), "{error:#}");
    sqlx::raw_sql("ALTER TABLE friday_ai.users RENAME COLUMN \"openId\" TO sub")
        .execute(&mut original)
        .await
        .unwrap();
    let error = storage.import(&plan, at(0), |_, _| {}).await.unwrap_err();
    assert!(
        error.to_string().contains("no column like `open_id`"),
        "{error:#}"
    );
}

async fn what_changed_there_alone_is_brought_up_to_date(database: Database) {
    let Some((mut original, plan)) = original().await else {
        return;
    };
    let storage = &database.storage;
    import(storage, &plan).await;
    let of = |report: &ImportReport| -> Vec<(u64, u64, u64)> {
        let tables = report.tables.iter();
        tables
            .map(|(_, it)| (it.known, it.updated, it.left))
            .collect()
    };
    // Here somebody signs in anew under another name; there, several rows change.
    let person = Person {
        open_id: "bo".to_owned(),
        name: "Bo, as the sign-in says".to_owned(),
        email: None,
        has_proven_email: false,
        role: None,
    };
    storage.admit(&person, at(1)).await.unwrap();
    let changes = r#"
        UPDATE friday_ai.users SET name = 'Anna Å', email = 'anna@firma.dk' WHERE id = 1;
        UPDATE friday_ai.users SET name = 'Bo, as it was there' WHERE id = 7;
        UPDATE friday_ai.conversations SET title = 'Den første', "updatedAt" = '2025-03-01' WHERE id = 1;
        UPDATE friday_ai.messages SET content = 'Hej, verden' WHERE id = 1;
        UPDATE friday_ai.users SET "lastSignedIn" = '2025-03-01';"#;
    sqlx::raw_sql(changes).execute(&mut original).await.unwrap();
    let dry = ImportPlan {
        is_dry: true,
        ..plan.clone()
    };
    let expected = [(0, 1, 1), (1, 1, 0), (1201, 1, 0)];
    assert_eq!(
        of(&import(storage, &dry).await),
        expected,
        "and nothing is written"
    );
    assert_eq!(of(&import(storage, &plan).await), expected);
    assert_eq!(
        of(&import(storage, &plan).await),
        [(1, 0, 1), (2, 0, 0), (1202, 0, 0)]
    );
    let user = storage.find_user(1).await.unwrap().unwrap();
    assert_eq!(
        (user.name.as_deref(), user.email.as_deref()),
        (Some("Anna Å"), Some("anna@firma.dk"))
    );
    let user = storage.find_user(7).await.unwrap().unwrap();
    assert_eq!(user.name.as_deref(), Some("Bo, as the sign-in says"));
    let hers = storage.conversations_of(1).await.unwrap();
    assert_eq!(hers[0].conversation.title.as_deref(), Some("Den første"));
    let messages = storage.messages(1, 0, 10).await.unwrap();
    assert_eq!(messages[0].content, "Hej, verden");
}
