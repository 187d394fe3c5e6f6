//! The application as it was when the TypeScript server's exchanges were recorded: its settings, its users,
//! and a model that always says the same.
#![expect(
    clippy::disallowed_methods,
    reason = "a test is an edge: it has a clock and starts tasks"
)]

use std::{collections::BTreeMap, time::Duration};

use axum::{Json, Router, response::IntoResponse, routing::post};
use http::StatusCode;
use modelramp::{
    _core::{
        assignment::Variant,
        auth::{Claims, SessionKey},
        units::Microdollars,
    },
    providers::fault::FaultKind,
    recording::{Event, Outcome},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::app::TestApp;

/// At least 32 bytes, for tests only.
const SECRET: &str = "a secret for tests, long enough for HS256";

/// A running application; stops with the test.
pub(crate) struct RecordedApp {
    pub(crate) app: TestApp,
}

impl RecordedApp {
    /// Starts with these settings above those of the recordings.
    pub(crate) async fn start(settings: &BTreeMap<String, String>) -> Self {
        let upstream = start_upstream().await;
        let builder = TestApp::builder()
            .with_settings([
                ("JWT_SECRET", SECRET),
                ("OWNER_OPEN_ID", "owner-1"),
                ("OPENROUTER_API_KEY", "test-key"),
                ("OPENROUTER_BASE_URL", &upstream),
                ("ASSIGNMENT_ALGORITHM", "legacy-modulo"),
                ("MODEL_ROUTING", "false"),
                ("TRPC_METHOD_OVERRIDE", "false"),
                ("CHAT_RATE_LIMIT", "1000"),
            ])
            .with_settings(settings.clone());
        let app = builder.start().await;
        seed_users(app.setup.database()).await;
        Self { app }
    }

    /// The cookie header of a session, by the recordings' names: `user`, `owner`, `other`, `new`, `noname`,
    /// `expired`, `soon` or `garbage`.
    pub(crate) fn cookie(&self, session: &str) -> String {
        let now = jsonwebtoken::get_current_timestamp();
        let day = 24 * 60 * 60;
        let (open_id, claimed, exp) = match session {
            "user" => ("user-1", "Bo", now + 300 * day),
            "owner" => ("owner-1", "Ejer", now + 300 * day),
            "other" => ("other-1", "Anden", now + 300 * day),
            "new" => ("brand-new", "Ny", now + 300 * day),
            "noname" => ("user-1", "", now + 300 * day),
            "expired" => ("user-1", "Bo", now - day),
            "soon" => ("user-1", "Bo", now + 3 * day),
            "garbage" => return "app_session_id=garbage".into(),
            _ => panic!("the recording names a session that the test does not know: `{session}`"),
        };
        let claims = Claims {
            open_id: open_id.into(),
            app_id: "test".into(),
            name: claimed.into(),
            exp,
            // One that logs out does not end the others.
            sid: Some(uuid::Uuid::new_v4().to_string()),
            ..Claims::default()
        };
        let key = SessionKey::new(&SECRET.into());
        format!("app_session_id={}", key.sign(&claims).unwrap())
    }

    /// Puts a message and its answer into a conversation, as the original stored them.
    pub(crate) async fn store_answered(&self, conversation_id: i64, content: &str) {
        let pool = sqlx::SqlitePool::connect(self.app.setup.database())
            .await
            .unwrap();
        for (role, content) in [("user", content), ("assistant", "Hej fra modellen")] {
            sqlx::query(
                "INSERT INTO messages (conversation_id, role, content, created_at) VALUES ($1, $2, $3, 0)",
            )
            .bind(conversation_id)
            .bind(role)
            .bind(content)
            .execute(&pool)
            .await
            .unwrap();
        }
        pool.close().await;
    }

    /// Records what a recording says, in words, had been recorded before it.
    pub(crate) fn record_prior(&self, prior: Option<&str>) {
        let Some(prior) = prior else { return };
        let numbers: Vec<f64> = prior
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|word| word.parse().ok())
            .collect();
        let count = numbers[0] as usize;
        for index in 0..count {
            let steps = prior.contains(" in steps of ");
            let latency_ms = if steps {
                numbers[1] + index as f64 * numbers[3]
            } else {
                numbers[1]
            };
            let failed = prior.contains("failed") && index < numbers[2] as usize;
            let third = prior.contains("every third one") && index % 3 == 0;
            let model = if third {
                "gpt-oss-20b-free"
            } else {
                "glm-4.5-air-free"
            };
            self.record(model, latency_ms, !failed);
        }
    }

    fn record(&self, model: &str, latency_ms: f64, success: bool) {
        self.app.metrics.record(Event {
            at_ms: chrono::Utc::now().timestamp_millis(),
            request_id: "prior".into(),
            user_id: Some(1),
            seq: 0,
            subject: None,
            rollout: None,
            counted: false,
            was_open: false,
            model: model.into(),
            task: "chat".into(),
            variant: Variant::Candidate,
            position: 0,
            latency_ms,
            first_token_ms: None,
            words_ms: None,
            prompt_tokens: 0,
            completion_tokens: 0,
            quality: None,
            answer_chars: None,
            status: None,
            cause: None,
            finish: None,
            cost: Microdollars(0),
            outcome: if success {
                Outcome::Success
            } else {
                Outcome::Fault(FaultKind::Upstream)
            },
        });
    }
}

/// The users of the recordings, as their database had them.
async fn seed_users(database: &str) {
    let pool = sqlx::SqlitePool::connect(database).await.unwrap();
    for (id, open_id, name, email) in [
        (1, "user-1", "Bo", "bo@example.dk"),
        (2, "owner-1", "Ejer", "ejer@example.dk"),
        (3, "other-1", "Anden", "anden@example.dk"),
    ] {
        sqlx::query(
            "INSERT INTO users (id, open_id, name, email, login_method, role, created_at, updated_at, last_signed_in) \
             VALUES ($1, $2, $3, $4, 'dev', 'user', 0, 0, 0)",
        )
        .bind(id)
        .bind(open_id)
        .bind(name)
        .bind(email)
        .execute(&pool)
        .await
        .unwrap();
    }
    pool.close().await;
}

/// A model that always says the same; where the last message asks it to, it fails (`fejl`) or takes
/// its time (`slow`).
async fn start_upstream() -> String {
    async fn complete(Json(body): Json<Value>) -> impl IntoResponse {
        // What a user sends after a failure is joined to what failed.
        let last = body["messages"].as_array().and_then(|all| all.last());
        let text = last.and_then(|message| message["content"].as_str());
        let says = |word: &str| text.is_some_and(|text| text.split("\n\n").last() == Some(word));
        if says("slow") {
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        if says("fejl") {
            return (
                StatusCode::INTERNAL_SERVER_ERROR,
                Json(json!({ "error": "boom" })),
            );
        }
        let answer = json!({
            "id": "gen-1",
            "model": body["model"],
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": "Hej fra modellen" },
                "finish_reason": "stop",
            }],
            "usage": { "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5 },
        });
        (StatusCode::OK, Json(answer))
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/v1/chat/completions", post(complete));
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/v1")
}
