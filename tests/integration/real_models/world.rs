//! Two real models, the server between them, and its users.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::SqlitePool;

use super::{
    client::Client,
    upstream::{Model, Ruin, free_port},
};
use crate::support::{
    app::{TestApp, TestAppBuilder},
    process::TestProcess,
    stored_rollout::StoredRollout,
    wait::until,
};

/// So many that a rollout puts some of them on either side.
const USERS: std::ops::RangeInclusive<i64> = 2..=61;
const ADMIN: i64 = 1;
/// Users of each arm in a rollout.
const ARM: usize = 8;
/// After the event that decides.
const MUST_BE_GONE: Duration = Duration::from_secs(2);

/// All of it; ends with the test.
pub(super) struct World {
    pub(super) candidate: Option<Model>,
    pub(super) control: Model,
    pub(super) server: TestProcess,
    pub(super) admin: Client,
    pub(super) users: Vec<Client>,
    pub(super) setup: TestAppBuilder,
}

/// A rollout, and users on both sides of it.
pub(super) struct Rollout {
    pub(super) id: String,
    pub(super) candidates: Vec<Client>,
    pub(super) controls: Vec<Client>,
}

impl World {
    /// `None`, and a line that says so, without the Python that has the models.
    #[expect(clippy::print_stdout, reason = "a test that does not run says so")]
    pub(super) async fn start() -> Option<Self> {
        let Some(python) = std::env::var_os("MODELRAMP_TEST_PYTHON") else {
            println!("skipped: MODELRAMP_TEST_PYTHON is not set (scripts/test sets it)");
            return None;
        };
        let python = python.to_str().unwrap();
        modelramp::_core::http_client::install_tls();
        let candidate = Model::start(python, "smol-candidate");
        let control = Model::start(python, "smol-control");

        let catalog = format!(
            r#"
            [providers.a]
            base_url = "{}/v1"
            [providers.b]
            base_url = "{}/v1"
            [models.new]
            provider = "a"
            id = "smol-candidate"
            context = 2048
            max_tokens = 8
            [models.old]
            provider = "b"
            id = "smol-control"
            context = 2048
            max_tokens = 8
            [tasks.chat]
            candidate = ["new", "old"]
            control = ["old"]
            "#,
            candidate.url, control.url
        );
        let setup = TestApp::builder()
            .with_catalog(&catalog)
            .with_busy_users()
            .with_settings([
                // Its own, so that a restart is where the users look for it.
                ("PORT", free_port().to_string().as_str()),
                ("OPENROUTER_ROLLOUT_PERCENTAGE", "50"),
            ]);
        let tokens = setup.tokens(USERS).await;
        let server = setup.spawn_beside_full_disks().await;
        let admin = Client {
            id: ADMIN,
            token: server.admin.clone(),
            base: server.url.clone(),
            http: server.http.clone(),
        };
        let users = USERS.zip(tokens).map(|(id, token)| Client {
            id,
            token: token.expose_secret().to_owned(),
            ..admin.clone()
        });
        Some(Self {
            candidate: Some(candidate),
            control,
            server,
            users: users.collect(),
            admin,
            setup,
        })
    }

    /// SIGKILL for the candidate's upstream; what is on its port from then on.
    pub(super) async fn kill_candidate(&mut self) -> Ruin {
        self.candidate.take().unwrap().die().await
    }

    /// Another process over the same database, at the same address, once the old one is gone.
    pub(super) async fn restart(&mut self) {
        self.server = self.setup.spawn_beside_full_disks().await;
    }

    /// Which model a user would get, and why.
    async fn explain(&self, user: &Client) -> Value {
        let input = json!({ "userId": user.id, "task": "chat" });
        self.admin.query("models.explain", input).await
    }

    pub(super) async fn is_candidate(&self, user: &Client) -> bool {
        self.explain(user).await["variant"] == "candidate"
    }

    /// Waits until this is the share that is served, and gives the time, in milliseconds since 1970.
    pub(super) async fn until_share_is(&self, share: f64) -> i64 {
        until("the share is served", async || {
            self.explain(&self.users[0]).await["share"] == share
        })
        .await;
        chrono::Utc::now().timestamp_millis()
    }

    /// Begins a rollout and lets its users chat once, with both models.
    pub(super) async fn roll_out(&self, plan: &str) -> Rollout {
        let start = json!({ "plan": plan, "reason": "two real models", "takeBack": true });
        let started = self.admin.mutate("rollout.start", start).await;
        self.until_share_is(50.0).await;
        let (mut candidates, mut controls) = (Vec::new(), Vec::new());
        for user in &self.users {
            let arm = match self.is_candidate(user).await {
                true => &mut candidates,
                false => &mut controls,
            };
            if arm.len() < ARM {
                arm.push(user.clone());
            }
        }
        assert_eq!((candidates.len(), controls.len()), (ARM, ARM));
        let rollout = Rollout {
            id: started["id"].as_str().unwrap().to_owned(),
            candidates,
            controls,
        };
        rollout.chat_in_turn(1).await;
        rollout
    }

    /// The rollout as `rollout.get` gives it.
    pub(super) async fn get(&self, rollout: &Rollout) -> Value {
        let input = json!({ "id": rollout.id });
        self.admin.query("rollout.get", input).await
    }

    /// Waits until it is in this state.
    pub(super) async fn until_state_is(&self, rollout: &Rollout, state: &str) {
        until("the rollout is in the state", async || {
            self.get(rollout).await["state"]["name"] == state
        })
        .await;
    }

    /// Lets its users chat until nobody gets the candidate, and gives the time of that.
    pub(super) async fn until_taken_back(&self, rollout: &Rollout) -> i64 {
        // A user's first three errors of a day count, so three rounds are all the evidence there can be.
        let traffic = async {
            rollout.chat_in_turn(3).await;
            // The time is what is tested.
            tokio::time::sleep(MUST_BE_GONE).await;
        };
        tokio::select! {
            zero_ms = self.until_share_is(0.0) => zero_ms,
            () = traffic => panic!("not taken back: {}", self.get(rollout).await),
        }
    }

    /// What the database has of it.
    pub(super) async fn stored(&self, rollout: &Rollout) -> StoredRollout {
        StoredRollout::read(self.setup.database(), &rollout.id).await
    }

    /// Holds a rollback to the promise: it is stored once and told once, and `zero_ms`, when nobody
    /// got the candidate any more, is at most two seconds after the event that decided. Gives the
    /// state that it was taken back from.
    pub(super) async fn check_rollback(&self, rollout: &Rollout, zero_ms: i64) -> String {
        until("its end is stored", async || {
            self.stored(rollout).await.is_over()
        })
        .await;
        let stored = self.stored(rollout).await;
        assert_eq!(stored.state, "rolled-back");
        let rollbacks = stored.actions.iter().filter(|it| it.0 == "rolled-back");
        assert_eq!(rollbacks.count(), 1, "{stored:?}");
        assert_eq!(stored.alerts["rolled-back"], 1, "{stored:?}");

        let pool = SqlitePool::connect(self.setup.database());
        let pool = pool.await.unwrap();
        // The event that decided is the last one that the evidence held then.
        let (before, event_ms): (String, i64) = sqlx::query_as(
            "SELECT audit.state_before ->> '$.state.name', events.at_ms FROM rollout_audit AS audit \
             JOIN event_order AS place ON audit.evidence ->> '$.cursor' - place.first_seq BETWEEN 0 AND place.events - 1 \
             JOIN events ON events.writer = place.writer AND events.batch = place.batch \
             AND events.place = audit.evidence ->> '$.cursor' - place.first_seq \
             WHERE audit.rollout_id = $1 AND audit.action = 'rolled-back'",
        )
        .bind(&rollout.id)
        .fetch_one(&pool)
        .await
        .unwrap();
        pool.close().await;
        let took_ms = zero_ms - event_ms;
        assert!(
            took_ms <= MUST_BE_GONE.as_millis().try_into().unwrap(),
            "{took_ms} ms"
        );
        before
    }
}

impl Rollout {
    /// All users, of both arms in turn, so that evidence can compare them.
    pub(super) fn users(&self) -> impl Iterator<Item = &Client> {
        let arms = self.candidates.iter().zip(&self.controls);
        arms.flat_map(|(candidate, control)| [candidate, control])
    }

    pub(super) async fn chat_in_turn(&self, rounds: usize) {
        for _ in 0..rounds {
            for user in self.users() {
                user.chat().await;
            }
        }
    }

    /// All of them are answered, and not by the candidate, whose upstream is this.
    pub(super) async fn check_served_by_control(&self, ruin: &Ruin) {
        let requests = ruin.requests();
        self.chat_in_turn(1).await;
        assert_eq!(ruin.requests(), requests, "the candidate still gets some");
    }
}
