//! The database that outlives the processes, and what must be in it.

use std::ops::RangeInclusive;

use secrecy::ExposeSecret;
use sqlx::{Connection, SqliteConnection};

use super::{
    PROGRAM,
    process::{Lives, Server},
};
use crate::support::{
    app::{TestApp, TestAppBuilder},
    stored_rollout::StoredRollout,
    trusty::{CATALOGUE, SANDBOX},
};

/// Users who chat; so many that neither arm is ever left with two or three, whose few counted errors a
/// day prove nothing.
const USERS: RangeInclusive<i64> = 2..=41;
/// Events of the last second before a kill may be lost, and a write takes a moment.
const MAY_BE_LOST_MS: i64 = 1_000 + 400;

/// The database and all who write into it.
pub(super) struct Ledger {
    setup: TestAppBuilder,
    users: Vec<String>,
    lives: Lives,
}

impl Ledger {
    pub(super) async fn new() -> Self {
        let setup = TestApp::builder().with_catalog(CATALOGUE).with_busy_users();
        let setup = setup.with_sandbox(SANDBOX);
        let users = setup.tokens(USERS).await;
        let users = users.iter().map(|token| token.expose_secret().to_owned());
        Self {
            users: users.collect(),
            setup,
            lives: Lives::default(),
        }
    }

    /// Another process over the same database.
    pub(super) async fn serve(&self) -> Server {
        let process = match std::env::var_os(PROGRAM) {
            Some(program) => {
                let serve = self.setup.command_of(program, &["serve"]);
                self.setup.spawn_by(serve).await
            }
            None => self.setup.spawn().await,
        };
        Server::start(process, &self.users, &self.lives)
    }

    /// What came of a rollout.
    pub(super) async fn rollout(&self, id: &str) -> StoredRollout {
        StoredRollout::read(self.setup.database(), id).await
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
        let mut connection = SqliteConnection::connect(self.setup.database())
            .await
            .unwrap();
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
        let after = answered.map(|sent| sent.at_ms - life.from_ms);
        let after: Vec<_> = after.collect();
        let answered = i64::try_from(after.len()).unwrap();
        let log = || std::fs::read_to_string(self.setup.folder().join("server.log"));
        assert!(
            events >= answered,
            "{answered} were answered, {after:?} ms after it listened; it lived for {} ms; {events} events are stored; its log ends: {}",
            life.to_ms.unwrap() - life.from_ms,
            log()
                .unwrap()
                .lines()
                .rev()
                .take(20)
                .collect::<Vec<_>>()
                .join("\n"),
        );
    }
}
