//! Databases that are opened for reading only, and the commands that do so.

use std::{path::Path, process::Command, sync::Arc};

use modelramp::{
    _core::{actor::Actor, assignment::Subject, caller::Role, feature_flags::FeatureFlags},
    ai_metrics::AiMetrics,
    config::{Config, Sources},
    recording::{Event, Log, Outcome},
    rollout::{
        controller::{Controller, ControllerParts, Wishes, World},
        plan::{KnownNames, Library},
        rollout::{self, CommandKind},
        store::RolloutStore,
    },
    storage::{Storage, StorageError},
};
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;

use super::{
    at,
    database::Database,
    events::event,
    migrations::first_release,
    rollouts::{ROLLOUT, change, rollout, writer},
    text, url,
};
use crate::support::log::{Book, append};

on_both!(
    reading_goes_on_beside_a_server_and_writing_is_refused,
    tables_of_another_release_are_refused,
    a_database_without_tables_gets_none,
    a_rollout_is_replayed_and_reported,
);

async fn reading_goes_on_beside_a_server_and_writing_is_refused(database: Database) {
    let server = &database.storage;
    let fence = writer(server).await;
    let commit = |version| Book::default().commit([], vec![change(version)]);
    server.commit(&fence, &commit(1)).await.unwrap();

    // SQLite lets one write at a time; this one does not end.
    let mut writing = None;
    if database.is_sqlite() {
        let mut connection = SqliteConnection::connect(&database.url).await.unwrap();
        let write = sqlx::raw_sql("BEGIN IMMEDIATE; UPDATE rollouts SET version = 7;");
        write.execute(&mut connection).await.unwrap();
        writing = Some(connection);
    }
    let reader = Storage::open_read_only(&database.url).await.unwrap();
    assert_eq!(reader.rollout(ROLLOUT).await.unwrap(), Some(rollout(1)));
    drop(writing);

    for refused in [
        text(reader.commit(&fence, &commit(2)).await.unwrap_err()),
        text(
            reader
                .ensure_local_user(1, Role::Admin, at(0))
                .await
                .unwrap_err(),
        ),
    ] {
        let words = [
            "attempt to write a readonly database",
            "read-only transaction",
        ];
        assert!(words.iter().any(|it| refused.contains(it)), "{refused}");
    }
    assert!(server.renew(&fence).await.unwrap());
    server.commit(&fence, &commit(2)).await.unwrap();
    assert_eq!(reader.rollout(ROLLOUT).await.unwrap(), Some(rollout(2)));
}

async fn refusal(database: &Database) -> StorageError {
    match Storage::open_read_only(&database.url).await {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

async fn tables_of_another_release_are_refused(database: Database) {
    let newest = "version = (SELECT MAX(version) FROM _sqlx_migrations)";
    let newer = format!("UPDATE _sqlx_migrations SET version = 9999 WHERE {newest}");
    database.execute(&newer).await.unwrap();
    let error = refusal(&database).await;
    let StorageError::Newer { version, known, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*version, 9999);
    let words = format!("has version 9999, this program knows up to {known})");
    assert!(error.to_string().contains(&words), "{error}");

    let older = format!("DELETE FROM _sqlx_migrations WHERE {newest}");
    database.execute(&older).await.unwrap();
    let error = refusal(&database).await;
    let StorageError::Older { version, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(version < known, "{error}");
    let words = format!("has version {version}, this program reads version {known})");
    assert!(error.to_string().contains(&words), "{error}");
}

/// What a release of after this one leaves, while both run side by side.
#[tokio::test]
async fn a_server_passes_over_migrations_that_it_can_live_with() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'from the future', TRUE, '\\x00', 0)";
    database.execute(newer).await.unwrap();
    let beside = Storage::open(&database.url).await.unwrap();
    beside.ping().await.unwrap();
    let cannot = "UPDATE upkeep SET value = 9999 WHERE name = 'oldest-migration'";
    database.execute(cannot).await.unwrap();
    let Err(error) = Storage::open(&database.url).await else {
        panic!("it was opened");
    };
    assert!(
        matches!(error, StorageError::Newer { version: 9999, .. }),
        "{error:?}"
    );
}

async fn a_database_without_tables_gets_none(database: Database) {
    let drop = "DROP TABLE _sqlx_migrations";
    database.execute(drop).await.unwrap();
    let error = refusal(&database).await;
    assert!(matches!(error, StorageError::Older { version: 0, .. }));
    assert!(database.execute(drop).await.is_err(), "it was made again");
}

const PLAN: &str = "name = \"kept\"\n[[stages]]\nshare = 50\nsoak = \"1h\"\n";

/// A rollout with some hundred events.
pub(super) async fn kept_rollout(url: &str) -> String {
    let storage = Storage::open(url).await.unwrap();
    let config = Config::load(&Sources {
        environment: [("DATABASE_URL".to_owned(), url.to_owned())].into(),
        working_dir: "/".into(),
        config_file: None,
    });
    let flags = Arc::new(FeatureFlags::new(config.unwrap().flags));
    let log = Arc::new(Log::default());
    let metrics = Arc::new(AiMetrics::over(log.clone()));
    let controller = Controller::open(ControllerParts {
        store: Arc::new(storage.clone()),
        flags: flags.clone(),
        metrics: metrics.clone(),
        log: log.clone(),
        library: Library::default(),
        known: KnownNames::default(),
        world: World::real(),
        holder: "test".into(),
        seen: Default::default(),
    })
    .await
    .unwrap();
    let started = controller
        .start(PLAN, "try it", &Actor::User(1), Wishes::default())
        .await;
    let id = started.unwrap().0.id;
    assert!(controller.tick().await);
    for user in 1..=400 {
        let subject = Subject::User(user);
        let assigned = flags.assign("chat", Some(&subject));
        let variant = assigned.decision.variant;
        let answered = Event {
            user_id: Some(user),
            subject: Some(subject.key()),
            rollout: assigned.rollout.and_then(|rollout| rollout.judged_as()),
            counted: true,
            variant,
            outcome: Outcome::Success,
            ..event(now_ms())
        };
        metrics.record(answered.clone());
        log.append(Event {
            outcome: Outcome::Rated { good: true },
            ..answered
        });
    }
    // Evidence is stored with each change, and else every few seconds.
    let pause = rollout::Command {
        id: id.clone(),
        based_on: 1,
        actor: Actor::User(1),
        reason: "enough".into(),
        kind: CommandKind::Pause,
    };
    let paused = controller.apply(pause).await;
    paused.unwrap();
    // A stop writes the rest and gives back the lease.
    controller.run(async {}).await;
    storage.close().await;
    id
}

#[expect(clippy::disallowed_methods, reason = "the controller's clock is real")]
fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// Runs `modelramp rollout …`: exit code, standard output and standard error.
fn command(url: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    modelramp(url, &[&["rollout"], arguments].concat())
}

/// Runs `modelramp …`.
pub(super) fn modelramp(url: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let ran = Command::new(env!("CARGO_BIN_EXE_modelramp"))
        .args(arguments)
        .env_clear()
        .env("DATABASE_URL", url)
        .current_dir("/")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ran.status.code(), text(ran.stdout), text(ran.stderr))
}

fn check_that_it_is_read(url: &str, id: &str) {
    let (code, out, err) = command(url, &["replay", id]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(
        out.contains("800 events were folded, 400 of them ratings"),
        "{out}"
    );
    assert!(out.ends_with("identical, bit for bit\n"), "{out}");
    let (code, out, err) = command(url, &["report", id]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("# Deployment log: kept\n"), "{out}");
    let (code, out, err) = command(url, &["plot", id]);
    assert_eq!(code, Some(0), "{err}");
    let is_drawn = out.starts_with("<svg") && out.ends_with("</svg>\n");
    assert!(
        is_drawn && out.contains(&format!("Rollout {id} of plan")),
        "{out}"
    );
}

async fn a_rollout_is_replayed_and_reported(database: Database) {
    let id = kept_rollout(&database.url).await;
    // Another server has it open.
    let fence = writer(&database.storage).await;
    check_that_it_is_read(&database.url, &id);
    assert!(database.storage.renew(&fence).await.unwrap());
}

#[tokio::test]
async fn a_file_that_is_only_read_stays_as_it_is() {
    let folder = TempDir::new().unwrap();
    let url = url(folder.path());
    let file = folder.path().join("data/modelramp.db");
    let id = kept_rollout(&url).await;
    let before = std::fs::read(&file).unwrap();
    check_that_it_is_read(&url, &id);
    assert!(std::fs::read(&file).unwrap() == before, "it was changed");
    // What SQLite left beside it is in nobody's way.
    let storage = Storage::open(&url).await.unwrap();
    append(&storage, &[event(1)]).await.unwrap();
    storage.close().await;
    check_that_it_is_read(&url, &id);
}

#[tokio::test]
async fn a_picture_says_what_is_no_longer_there_to_be_drawn() {
    let folder = TempDir::new().unwrap();
    let url = url(folder.path());
    let id = kept_rollout(&url).await;
    let whole = command(&url, &["plot", &id]).1;
    assert!(!whole.contains("rolled up"), "{whole}");
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    let deleted = sqlx::query("DELETE FROM events").execute(&pool).await;
    assert_eq!(deleted.unwrap().rows_affected(), 800);
    pool.close().await;
    let (code, out, err) = command(&url, &["plot", &id]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("800 events are rolled up"), "{out}");
    // What was known when it was paused is known, not what nothing makes of it.
    let e = |picture: &str| {
        let at = picture.find("E = ").unwrap();
        picture[at..].split_whitespace().nth(2).unwrap().to_owned()
    };
    assert_eq!(e(&out), e(&whole));
}

#[tokio::test]
async fn a_log_that_a_killed_server_left_is_read() {
    let folder = TempDir::new().unwrap();
    let url = url(folder.path());
    // As long as somebody has it open, what is written stays in the log.
    let server = Storage::open(&url).await.unwrap();
    let id = kept_rollout(&url).await;
    let copy = |name: &str, files: &[&str]| {
        let copy = folder.path().join(name);
        std::fs::create_dir(&copy).unwrap();
        for file in files {
            std::fs::copy(folder.path().join("data").join(file), copy.join(file)).unwrap();
        }
        format!("sqlite://{}", copy.join("modelramp.db").display())
    };
    let with_log = copy("with-log", &["modelramp.db", "modelramp.db-wal"]);
    check_that_it_is_read(&with_log, &id);
    let without = copy("without", &["modelramp.db"]);
    assert_eq!(command(&without, &["replay", &id]).0, Some(1));
    server.close().await;
}

#[tokio::test]
async fn a_file_of_the_first_release_is_refused_and_stays_as_it_is() {
    let folder = TempDir::new().unwrap();
    let url = first_release(folder.path()).await;
    let file = folder.path().join("old.db");
    // As that release had it.
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let set = sqlx::raw_sql("PRAGMA journal_mode = WAL");
    set.execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    let before = std::fs::read(&file).unwrap();
    for arguments in [
        &["rollout", "replay", "r"][..],
        &["rollout", "report", "r"],
        // These change something, and bring no table up to date on the way.
        &["user", "export", "--user", "1"],
        &["user", "delete", "--user", "1", "--yes"],
        &["user", "set-role", "--user", "1", "--role", "admin"],
        &["sessions", "revoke", "--user", "1"],
        &["key", "list"],
        &["token", "--user", "1"],
        &["token", "--user", "1", "--create"],
    ] {
        let (code, out, err) = modelramp(&url, arguments);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{arguments:?}");
        let shown = file.display();
        let words = format!(
            "the database `{shown}` is of an older modelramp (its schema has version 1, this program reads version "
        );
        assert!(err.contains(&words), "{arguments:?}: {err}");
        let errors = err.lines().filter(|it| !it.starts_with("note: "));
        assert_eq!(errors.count(), 1, "{arguments:?}: {err}");
    }
    assert!(std::fs::read(&file).unwrap() == before, "it was changed");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_not_made() {
    let folder = TempDir::new().unwrap();
    let url = url(folder.path());
    let (code, _, err) = command(&url, &["replay", "r"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("there is no database at `"), "{err}");
    assert!(!folder.path().join("data").exists());
}

/// SQLite needs two files of its own beside a database that a server is not holding open.
#[cfg(unix)]
#[tokio::test]
async fn a_folder_that_cannot_be_written_is_told() {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};
    let folder = TempDir::new().unwrap();
    let url = url(folder.path());
    let id = kept_rollout(&url).await;
    let data = folder.path().join("data");
    let allow = |mode| std::fs::set_permissions(&data, Permissions::from_mode(mode)).unwrap();
    allow(0o555);
    if is_writable(&data) {
        // root may do everything.
        return;
    }
    let (code, _, err) = command(&url, &["replay", &id]);
    allow(0o755);
    assert_eq!(code, Some(1));
    assert!(err.contains("nothing can be written beside it"), "{err}");

    // With them there, it is read.
    let server = Storage::open(&url).await.unwrap();
    allow(0o555);
    check_that_it_is_read(&url, &id);
    allow(0o755);
    server.close().await;
}

#[cfg(unix)]
fn is_writable(folder: &Path) -> bool {
    tempfile::NamedTempFile::new_in(folder).is_ok()
}
