//! A server with stub procedures on a free port, and what it takes to talk to it.

use std::{
    collections::HashMap, net::SocketAddr, path::Path, process::Command, sync::Arc, time::Duration,
};

use async_trait::async_trait;
use axum::{Router, body::Body, routing::get};
use chrono::{DateTime, Utc};
use futures::{FutureExt, StreamExt, future, stream};
use modelramp::{
    _core::{
        auth::{Authenticator, Claims, SESSION_COOKIE, Session, SessionKey, UserStore},
        caller::{Role, User},
        environment::Environment,
        site::{Site, SiteConfig},
        tasks::Tasks,
        turns::Turns,
    },
    config::{JsonRpcConfig, Transformer},
    schema::Documents,
    transport::{
        self, PortParts,
        bounds::{Bounds, Budget, Connections},
        gate::CallerGate,
        jsonrpc::{self, JsonRpc},
    },
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::support::{http_client, packages};

use super::stubs::{self, MEETING, Stubs};

/// Nothing in these tests takes longer, however busy the machine.
pub(super) const SOON: Duration = Duration::from_secs(20);
pub(super) const LISTED_ORIGIN: &str = "https://app.example";
/// Users by open id.
#[derive(Default)]
pub(super) struct Users(pub(super) Mutex<HashMap<String, Role>>);

#[async_trait]
impl UserStore for Users {
    async fn user_of_session(
        &self,
        session: &Session,
        _: DateTime<Utc>,
    ) -> anyhow::Result<Option<User>> {
        let open_id = session.open_id.as_str();
        let role = self.0.lock().get(open_id).copied();
        Ok(role.map(|role| User {
            id: 1,
            open_id: open_id.into(),
            name: None,
            email: None,
            login_method: None,
            role,
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
            last_signed_in: DateTime::UNIX_EPOCH,
        }))
    }

    async fn end_session(&self, _: &Session, _: DateTime<Utc>) -> anyhow::Result<()> {
        Ok(())
    }

    async fn end_sessions_of(&self, _: i64, _: DateTime<Utc>) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Small limits, so that tests can reach them.
pub(super) struct Limits {
    pub(super) max_batch: usize,
    pub(super) max_connections: u32,
    pub(super) ping_interval: Duration,
    pub(super) patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_batch: MEETING,
            max_connections: 100,
            ping_interval: Duration::from_secs(30),
            patience: SOON,
        }
    }
}

pub(super) const MAX_BODY_BYTES: usize = 4096;

pub(super) struct TestServer {
    pub(super) address: SocketAddr,
    pub(super) stubs: Arc<Stubs>,
    pub(super) users: Arc<Users>,
    pub(super) obstacles: Arc<Mutex<Vec<String>>>,
    pub(super) client: reqwest::Client,
    tasks: Tasks,
    served: JoinHandle<bool>,
}

fn key() -> SessionKey {
    SessionKey::new(&"0123456789abcdef0123456789abcdef".into())
}

impl TestServer {
    pub(super) async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub(super) async fn with(limits: Limits) -> Self {
        let tasks = Tasks::default();
        let stubs = Arc::new(Stubs::new());
        let users = Arc::new(Users::default());
        users.0.lock().insert("ann".into(), Role::Admin);
        users.0.lock().insert("bo".into(), Role::User);
        let obstacles = Arc::new(Mutex::new(Vec::<String>::new()));
        let registry = Arc::new(stubs::registry(&stubs, &tasks));
        let authenticator = Authenticator::new(key(), None, users.clone());
        let site = Site::new(Environment::Test, &SiteConfig::default());
        let gate = CallerGate::new(Arc::new(authenticator), vec![LISTED_ORIGIN.into()], site);
        let bounds = Bounds {
            budget: Budget::new(1 << 26),
            connections: Connections::new(1000),
            max_body_bytes: MAX_BODY_BYTES,
            turns: Turns::default(),
        };
        let gate = Arc::new(gate);
        let documents = Arc::new(Documents::new(registry.clone(), Transformer::None, true));
        let jsonrpc = jsonrpc::routes(JsonRpc {
            registry,
            gate: gate.clone(),
            tasks: tasks.clone(),
            bounds: bounds.clone(),
            documents: documents.clone(),
            moving: None,
            config: JsonRpcConfig {
                max_batch: limits.max_batch,
                batch_concurrency: MEETING,
                max_connections: limits.max_connections,
            },
            ping_interval: limits.ping_interval,
        })
        .unwrap();
        let router = transport::router(PortParts {
            proxy: None,
            old: None,
            allowed_origins: vec![LISTED_ORIGIN.into()],
            turns: bounds.turns.clone(),
            gate,
            tasks: tasks.clone(),
            documents,
            readiness: Arc::new({
                let obstacles = obstacles.clone();
                move || future::ready(obstacles.lock().clone()).boxed()
            }),
            metrics: Router::new(),
            dashboard: Router::new(),
            status: false,
            sign_in: Router::new(),
            gateway: Router::new(),
            trpc: events_until_stop(&tasks),
            jsonrpc,
            mcp: axum::Router::new(),
        });

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Not on the server's own tasks, which it waits for.
        let served = Tasks::default().spawn({
            let tasks = tasks.clone();
            async move {
                transport::serve(
                    listener,
                    router,
                    &bounds,
                    &tasks,
                    future::pending(),
                    limits.patience,
                )
                .await
            }
        });
        modelramp::_core::http_client::install_tls();
        Self {
            address,
            stubs,
            users,
            obstacles,
            client: http_client(),
            tasks,
            served,
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A session that lasts an hour.
    pub(super) fn token(open_id: &str) -> String {
        let claims = Claims {
            open_id: open_id.into(),
            app_id: "app".into(),
            name: "Name".into(),
            exp: jsonwebtoken::get_current_timestamp() + 3600,
            ..Claims::default()
        };
        key().sign(&claims).unwrap()
    }

    pub(super) fn cookie(open_id: &str) -> String {
        format!("{SESSION_COOKIE}={}", Self::token(open_id))
    }

    pub(super) fn request(&self, body: impl Into<String>) -> reqwest::RequestBuilder {
        self.client
            .post(self.url("/rpc"))
            .header("content-type", "application/json")
            .body(body.into())
    }

    /// Status and body; the body is `null` where it is empty.
    pub(super) async fn post(&self, body: impl Into<String>) -> (u16, Value) {
        read(self.request(body)).await
    }

    /// The one answer to a call.
    pub(super) async fn call(&self, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.post(body.to_string()).await.1
    }

    /// Asks the server to stop.
    pub(super) fn stop(&self) {
        self.tasks.stop();
    }

    /// Waits for its end; whether everything was finished.
    pub(super) async fn served(self) -> bool {
        tokio::time::timeout(SOON, self.served)
            .await
            .expect("the server ends")
            .unwrap()
    }
}

pub(super) async fn read(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = tokio::time::timeout(SOON, request.send())
        .await
        .expect("an answer comes")
        .unwrap();
    let status = response.status().as_u16();
    let body = response.bytes().await.unwrap();
    let body = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&body).unwrap()
    };
    (status, body)
}

/// Stands where tRPC will be: a stream like server-sent events, which ends with the server.
fn events_until_stop(tasks: &Tasks) -> Router {
    let tasks = tasks.clone();
    Router::new().route(
        "/api/trpc/events",
        get(move || {
            let first = stream::iter([Ok::<_, std::io::Error>("data: hello\n\n")]);
            let events = first.chain(stream::pending()).take_until(tasks.stopping());
            future::ready(Body::from_stream(events))
        }),
    )
}

/// Runs a script of a folder below `tests/` with Node, after `npm ci` where that has not been done.
///
/// The output is the script's; it fails the test where the script fails.
pub(super) async fn node(folder: &str, script: &str, arguments: &[&str]) -> String {
    let name = folder.to_owned();
    let folder = tokio::task::spawn_blocking(move || packages::installed(&name));
    let folder = folder.await.unwrap();
    let mut run = Command::new("node");
    run.current_dir(&folder).arg(script).args(arguments);
    output(run, &folder).await
}

async fn output(mut command: Command, folder: &Path) -> String {
    let label = format!("{command:?} in {}", folder.display());
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap();
    let output = output.unwrap_or_else(|error| panic!("{label}: {error}; Node 20 is needed"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{label}:\n{text}\n{errors}");
    text
}
