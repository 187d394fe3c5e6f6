//! The database that outlives the processes, and what must be in it.

use std::{collections::BTreeMap, time::Duration};

use modelramp::{
    _core::caller::Role,
    app,
    config::{Config, Sources},
};
use secrecy::ExposeSecret;
use sqlx::{Connection, SqliteConnection};

use super::process::{Lives, Server};
use crate::support::stored_rollout::StoredRollout;

const CATALOGUE: &str = r#"
[providers.test]
base_url = "http://127.0.0.1:9/v1"
api_key_env = "CRASH_TEST_API_KEY"
[models.trusty]
provider = "test"
id = "trusty"
context = 32000
[models.good]
provider = "test"
id = "good"
context = 32000
[models.bad]
provider = "test"
id = "bad"
context = 32000
[tasks.chat]
control = ["trusty"]
candidate = ["good", "trusty"]
"#;
const SANDBOX: &str = "[default]\nlatency_ms = 3\n[models.bad]\nerror_rate = 1\n";
/// Users who chat; so many that neither arm is ever left with two or three, whose few counted errors a
/// day prove nothing.
const USERS: i64 = 40;
/// Events of the last second before a kill may be lost, and a write takes a moment.
const MAY_BE_LOST_MS: i64 = 1_000 + 400;

/// The database and all who write into it.
pub(super) struct Ledger {
    folder: tempfile::TempDir,
    environment: BTreeMap<String, String>,
    admin: String,
    users: Vec<String>,
    lives: Lives,
    database: String,
}

impl Ledger {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let database = format!("sqlite://{}", folder.path().join("crash.db").display());
        let environment: BTreeMap<String, String> = [
            ("APP_ENV", "test".to_owned()),
            ("PORT", "0".to_owned()),
            ("DATABASE_URL", database.clone()),
            ("MODEL_CATALOGUE", write("catalog.toml", CATALOGUE)),
            ("SANDBOX_CONFIG", write("sandbox.toml", SANDBOX)),
            ("CHAT_RATE_LIMIT", "100000".to_owned()),
            ("LOG_LEVEL", "warn".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let config = Config::load(&Sources {
            environment: environment.clone(),
            working_dir: folder.path().to_owned(),
            config_file: None,
        })
        .unwrap();
        let (now, ttl) = (chrono::Utc::now(), Duration::from_secs(24 * 3_600));
        let admin = app::issue_token(&config, 1_000, Role::Admin, Some(ttl), now);
        let admin = admin.await.unwrap();
        let users = app::issue_tokens(&config, 1..=USERS, ttl, now).await;
        let users = users.unwrap();
        let users = users.iter().map(|token| token.expose_secret().to_owned());
        Self {
            users: users.collect(),
            folder,
            environment,
            admin,
            lives: Lives::default(),
            database,
        }
    }

    /// Another process over the same database.
    pub(super) async fn serve(&self) -> Server {
        let folder = self.folder.path();
        Server::start(
            &self.environment,
            folder,
            &self.admin,
            &self.users,
            &self.lives,
        )
        .await
    }

    /// What came of a rollout.
    pub(super) async fn rollout(&self, id: &str) -> StoredRollout {
        StoredRollout::read(&self.database, id).await
    }

    /// Every message that was acknowledged is there with its answer, and all events but those of
    /// the last second.
    pub(super) async fn check_what_was_acknowledged(&self) {
        self.check(MAY_BE_LOST_MS).await;
    }

    /// And no event is missing at all.
    pub(super) async fn check_that_every_answer_has_its_event(&self) {
        self.check(0).await;
    }

    async fn check(&self, may_be_lost_ms: i64) {
        let life = self.lives.lock().last().cloned().unwrap();
        let mut connection = SqliteConnection::connect(&self.database).await.unwrap();
        for sent in &life.acknowledged {
            let content: Option<String> =
                sqlx::query_scalar("SELECT content FROM messages WHERE id = $1")
                    .bind(sent.message_id)
                    .fetch_optional(&mut connection)
                    .await
                    .unwrap();
            assert_eq!(content.as_deref(), Some(sent.content.as_str()), "{sent:?}");
        }
        let until = life.to_ms.unwrap() - may_be_lost_ms;
        let events: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM events WHERE at_ms BETWEEN $1 AND $2 AND outcome = 'success'",
        )
        .bind(life.from_ms)
        .bind(until)
        .fetch_one(&mut connection)
        .await
        .unwrap();
        connection.close().await.unwrap();
        let answered = life.acknowledged.iter().filter(|sent| sent.at_ms <= until);
        let answered = i64::try_from(answered.count()).unwrap();
        assert!(
            events >= answered,
            "{answered} were answered, {events} events are stored"
        );
    }
}
