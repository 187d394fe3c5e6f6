//! A server with a controller that ticks when it is told to, and its procedures.

use std::{net::SocketAddr, sync::Arc};

use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use modelramp::{
    _core::{
        caller::{Caller, Role, User},
        context::Context,
        errors::RpcError,
        feature_flags::FeatureFlags,
        procedure::{Input, StreamItem},
        registry::Registry,
        tasks::Tasks,
        units::Percent,
    },
    ai_metrics::AiMetrics,
    config::{Config, Sources},
    live_flags::LiveFlags,
    recording::Log,
    rollout::{
        controller::{Controller, Parts, World},
        plan::{Known, Library},
    },
    routers::rollout_router,
    storage::Storage,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::support::sessions;

pub(super) const USER: i64 = 1;
pub(super) const ADMIN: i64 = 2;

/// Two stages; the first waits for a person.
pub(super) const PLAN: &str = r#"name = "own"

[[stages]]
share = 10
soak = "1h"
gate = "manual"

[[stages]]
share = 50
soak = "1h"
"#;

pub(super) struct App {
    pub(super) registry: Arc<Registry>,
    pub(super) controller: Arc<Controller>,
    pub(super) live: Arc<LiveFlags>,
    pub(super) database: String,
    pub(super) folder: TempDir,
    tasks: Tasks,
}

impl App {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite://{}/modelramp.db", folder.path().display());
        let storage = Storage::open(&database).await.unwrap();
        let config = Config::load(&Sources {
            environment: [("DATABASE_URL".to_owned(), database.clone())].into(),
            working_dir: folder.path().to_owned(),
            config_file: None,
        })
        .unwrap();
        let flags = Arc::new(FeatureFlags::new(config.flags));
        let store = Arc::new(storage.clone());
        let live = LiveFlags::open(store.clone(), flags.clone(), Percent::ZERO, now());
        let live = live.await.unwrap();
        let log = Arc::new(Log::default());
        let controller = Controller::open(Parts {
            store,
            flags: flags.clone(),
            metrics: Arc::new(AiMetrics::over(log.clone())),
            log,
            library: Library::load(None, &Known::default()).unwrap(),
            known: Known::default(),
            world: World::real(),
            holder: "test".into(),
        })
        .await
        .unwrap();
        let tasks = Tasks::default();
        let mut registry = Registry::new(tasks.clone());
        let state = rollout_router::State {
            controller: controller.clone(),
            live: live.clone(),
        };
        rollout_router::register(&mut registry, state);
        let app = Self {
            registry: Arc::new(registry),
            controller,
            live,
            database,
            folder,
            tasks,
        };
        // From here on it ticks as it does in production.
        let stopping = app.tasks.stopping();
        app.tasks.spawn(app.controller.clone().run(stopping));
        app.tasks.spawn(app.live.clone().run(app.tasks.stopping()));
        app
    }

    /// Calls as a user, an admin, or nobody.
    pub(super) async fn call(
        &self,
        user: Option<i64>,
        name: &str,
        input: Value,
    ) -> Result<Value, RpcError> {
        let target = self.registry.resolve(&format!("rollout.{name}"));
        let procedure = target.here().unwrap();
        let input = if input.is_null() {
            Input::Absent
        } else {
            Input::Json(input)
        };
        let context = Context::new(caller(user), now());
        let reply = procedure.call(context, input).await?;
        Ok(reply.to_value().unwrap())
    }

    pub(super) async fn admin(&self, name: &str, input: Value) -> Result<Value, RpcError> {
        self.call(Some(ADMIN), name, input).await
    }

    /// A rollout by this plan.
    pub(super) async fn begin(&self, plan: &str) -> Value {
        let input = json!({"plan": plan, "reason": " try the new one "});
        self.admin("start", input).await.unwrap()
    }

    pub(super) async fn subscribe(
        &self,
        user: Option<i64>,
        input: Value,
    ) -> Result<BoxStream<'static, Result<StreamItem, RpcError>>, RpcError> {
        let target = self.registry.resolve("rollout.onChange");
        let context = Context::new(caller(user), now());
        let input = Input::Json(input);
        target.here().unwrap().subscribe(context, input).await
    }

    /// Serves both wires; the users are those of [`sessions`].
    pub(super) async fn listen(&self) -> SocketAddr {
        use modelramp::transport::{
            self,
            bounds::Bounds,
            jsonrpc::{self, JsonRpc},
            trpc,
        };
        let config = Config::load(&Sources {
            environment: [("DATABASE_URL".to_owned(), self.database.clone())].into(),
            working_dir: self.folder.path().to_owned(),
            config_file: None,
        })
        .unwrap();
        let gate = Arc::new(sessions::gate(Vec::new()));
        let bounds = Bounds::new(&config.server);
        let trpc = trpc::routes(Arc::new(trpc::Trpc {
            registry: self.registry.clone(),
            gate: gate.clone(),
            config: config.trpc.clone(),
            tasks: self.tasks.clone(),
            bounds: bounds.clone(),
        }));
        let jsonrpc = jsonrpc::routes(JsonRpc {
            registry: self.registry.clone(),
            gate: gate.clone(),
            config: config.jsonrpc,
            ping_interval: config.trpc.ping_interval,
            tasks: self.tasks.clone(),
            bounds: bounds.clone(),
            openrpc: Value::Null,
        })
        .unwrap();
        let router = transport::router(transport::Parts {
            metrics: axum::Router::new(),
            sign_in: axum::Router::new(),
            turns: bounds.turns.clone(),
            allowed_origins: Vec::new(),
            openapi: String::new(),
            page: String::new(),
            gateway: axum::Router::new(),
            gate,
            tasks: self.tasks.clone(),
            readiness: Arc::new(|| Box::pin(async { Vec::new() })),
            trpc,
            jsonrpc,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tasks, patience) = (self.tasks.clone(), config.server.shutdown_timeout);
        // Not on the server's own tasks, which it waits for.
        Tasks::default().spawn(async move {
            let stop = tasks.stopping();
            transport::serve(listener, router, &bounds, &tasks, stop, patience).await
        });
        address
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

#[expect(clippy::disallowed_methods, reason = "the controller's clock is real")]
pub(super) fn now() -> DateTime<Utc> {
    Utc::now()
}

fn caller(user: Option<i64>) -> Caller {
    let Some(id) = user else {
        return Caller::Anonymous;
    };
    Caller::User(Arc::new(User {
        id,
        open_id: format!("user-{id}"),
        name: None,
        email: None,
        login_method: None,
        role: if id == ADMIN { Role::Admin } else { Role::User },
        created_at: DateTime::UNIX_EPOCH,
        updated_at: DateTime::UNIX_EPOCH,
        last_signed_in: DateTime::UNIX_EPOCH,
    }))
}
