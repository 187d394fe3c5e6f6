//! The application as a test wants it: [`TestApp::builder`] sets it up; then it is built without a port,
//! started on one, or spawned as a process of its own.
#![expect(
    clippy::disallowed_methods,
    reason = "a test is an edge: it has a clock and starts tasks"
)]

use std::{
    collections::BTreeMap, ops::RangeInclusive, path::Path, process::Stdio, sync::Arc,
    time::Duration,
};

use modelramp::{
    _core::{caller::Role, registry::Registry},
    ai_metrics::AiMetrics,
    app::{self, App},
    config::{Config, Sources},
    live_flags::LiveFlags,
    storage::Storage,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    process::Command,
    sync::{OnceCell, oneshot},
    task::JoinHandle,
};

use super::{
    calls,
    process::TestProcess,
    wait::{eventually, until},
};

/// How long a session of a test lasts.
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// How an application is set up. All that is made of one builder, or of its clones, works in one folder
/// with one database, so an application can be started again.
#[derive(Clone)]
pub(crate) struct TestAppBuilder {
    folder: Arc<TempDir>,
    settings: BTreeMap<String, String>,
    procedures: Arc<dyn Fn(&mut Registry) + Send + Sync>,
    /// A session of user 1, who is admin.
    admin: Arc<OnceCell<String>>,
}

impl TestAppBuilder {
    /// An environment variable of the application, in place of the default or of an earlier one.
    pub(crate) fn with_setting(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.insert(name.to_owned(), value.into());
        self
    }

    /// Several of them.
    pub(crate) fn with_settings<N: Into<String>, V: Into<String>>(
        mut self,
        settings: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let settings = settings.into_iter();
        self.settings
            .extend(settings.map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// A file in the application's folder.
    pub(crate) fn with_file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.folder.path().join(name), text).unwrap();
        self
    }

    /// These models and tasks.
    pub(crate) fn with_catalog(self, text: &str) -> Self {
        self.with_file("catalog.toml", text)
            .with_setting("MODEL_CATALOGUE", "catalog.toml")
    }

    /// How the simulated models behave.
    pub(crate) fn with_sandbox(self, text: &str) -> Self {
        self.with_file("sandbox.toml", text)
            .with_setting("SANDBOX_CONFIG", "sandbox.toml")
    }

    /// Users who chat as often as they like.
    pub(crate) fn with_busy_users(self) -> Self {
        self.with_setting("CHAT_RATE_LIMIT", "100000")
    }

    /// Procedures beside those of the application; not in a process of its own.
    pub(crate) fn with_procedures(
        mut self,
        procedures: impl Fn(&mut Registry) + Send + Sync + 'static,
    ) -> Self {
        self.procedures = Arc::new(procedures);
        self
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The URL of its database.
    pub(crate) fn database(&self) -> &str {
        &self.settings["DATABASE_URL"]
    }

    /// The database, once more.
    pub(crate) async fn storage(&self) -> Storage {
        Storage::open(self.database()).await.unwrap()
    }

    /// Its settings, or why they are refused.
    pub(crate) fn try_config(&self) -> anyhow::Result<Config> {
        Ok(Config::load(&Sources {
            environment: self.settings.clone(),
            working_dir: self.folder().to_owned(),
            config_file: None,
        })?)
    }

    pub(crate) fn config(&self) -> Config {
        self.try_config().unwrap()
    }

    /// A session of a user, who has this role from now on.
    pub(crate) async fn token(&self, user: i64, role: Role) -> String {
        let config = self.config();
        let token = app::issue_token(&config, user, role, Some(DAY), chrono::Utc::now());
        token.await.unwrap()
    }

    /// A session of each of these users.
    pub(crate) async fn tokens(&self, users: RangeInclusive<i64>) -> Vec<SecretString> {
        let config = self.config();
        let tokens = app::issue_tokens(&config, users, DAY, chrono::Utc::now());
        tokens.await.unwrap()
    }

    /// A session of user 1, an admin.
    pub(crate) async fn admin(&self) -> &str {
        let token = self.admin.get_or_init(|| self.token(1, Role::Admin));
        token.await
    }

    /// The program with these arguments and the application's settings, in its folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_modelramp"), arguments)
    }

    /// The same with another program.
    pub(crate) fn command_of(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .args(arguments)
            .env_clear()
            .envs(&self.settings)
            .current_dir(self.folder())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// The application without a port, whose controller ticks when it is told to. The folder goes with
    /// the last builder that shares it, so a builder must outlive what it builds.
    pub(crate) async fn build(&self) -> App {
        let app = App::build_with(self.config(), |registry| (self.procedures)(registry));
        app.await.unwrap()
    }

    /// The application on a free port, in this process.
    pub(crate) async fn start(self) -> TestApp {
        let app = self.build().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let sandbox = app.areas.sandbox_url().unwrap_or_default();
        let (stop, stopped) = oneshot::channel();
        TestApp {
            url,
            http: super::http_client(),
            sandbox: sandbox.trim_end_matches("/v1").to_owned(),
            registry: app.registry.clone(),
            metrics: app.areas.metrics.clone(),
            live: app.areas.live.clone(),
            setup: self,
            stop: Some(stop),
            server: tokio::spawn(app.serve(listener, async {
                let _ = stopped.await;
            })),
        }
    }

    /// The application as a process of its own, which can be killed.
    pub(crate) async fn spawn(&self) -> TestProcess {
        self.spawn_by(self.command(&["serve"])).await
    }

    /// The same; a file that may not grow is an error to it, as on a full disk, and not a signal that
    /// would end it.
    pub(crate) async fn spawn_beside_full_disks(&self) -> TestProcess {
        let program = env!("CARGO_BIN_EXE_modelramp");
        let arguments = ["-c", r#"trap "" XFSZ; exec "$0" serve"#, program];
        self.spawn_by(self.command_of("sh", &arguments)).await
    }

    /// The same by another command.
    pub(crate) async fn spawn_by(&self, serve: Command) -> TestProcess {
        let admin = self.admin().await.to_owned();
        TestProcess::start(serve, self.folder(), admin).await
    }
}

/// A running application; stops with the test.
pub(crate) struct TestApp {
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// Follows no redirects and keeps no cookies.
    pub(crate) http: reqwest::Client,
    /// What it was started from: its folder, its database, sessions of its users.
    pub(crate) setup: TestAppBuilder,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Arc<AiMetrics>,
    pub(crate) live: Arc<LiveFlags>,
    /// Where the sandbox's `/control` is.
    sandbox: String,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

impl TestApp {
    /// An application with a database of its own in a folder of its own.
    pub(crate) fn builder() -> TestAppBuilder {
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite://{}", folder.path().join("test.db").display());
        let builder = TestAppBuilder {
            folder: Arc::new(folder),
            settings: BTreeMap::new(),
            procedures: Arc::new(|_| {}),
            admin: Arc::default(),
        };
        builder.with_settings([
            ("APP_ENV", "test"),
            ("PORT", "0"),
            ("LOG_LEVEL", "warn"),
            ("DATABASE_URL", &database),
        ])
    }

    /// One as it is without any setting.
    pub(crate) async fn start() -> Self {
        Self::builder().start().await
    }

    /// Stops it as SIGTERM would, and waits until it has stopped.
    pub(crate) async fn stop(mut self) {
        let _ = self.stop.take().unwrap().send(());
        (&mut self.server).await.unwrap();
    }

    /// Calls a procedure as an admin, over JSON-RPC.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Result<Value, Value> {
        let admin = self.setup.admin().await;
        let answer = calls::rpc(&self.http, &self.url, admin, method, params);
        answer.await.expect("the application answers")
    }

    /// Begins a rollout and gives its id.
    pub(crate) async fn begin_rollout(&self, plan: &str) -> String {
        let params = json!({"plan": plan, "reason": "a test"});
        let started = self.call("rollout.start", params).await.unwrap();
        started["id"].as_str().unwrap().to_owned()
    }

    /// Waits for a state of a rollout and gives the rollout in it.
    pub(crate) async fn reach(&self, rollout: &str, state: &str, within: Duration) -> Value {
        eventually(within, async || {
            let rollout = self.call("rollout.get", json!({"id": rollout})).await;
            let rollout = rollout.unwrap();
            if rollout["state"]["name"] == state {
                Ok(rollout)
            } else {
                Err(rollout)
            }
        })
        .await
    }

    /// Says how a model of the sandbox behaves from now on.
    pub(crate) async fn set_model(&self, model: &str, behaviour: Value) {
        let url = format!("{}/control/models/{model}", self.sandbox);
        let response = self.http.put(url).json(&behaviour).send().await.unwrap();
        assert!(
            response.status().is_success(),
            "{:?}",
            response.text().await
        );
    }

    /// How often a model of the sandbox was asked so far.
    pub(crate) async fn requests_to(&self, model: &str) -> u64 {
        let request = self.http.get(format!("{}/control/stats", self.sandbox));
        let stats: Value = request.send().await.unwrap().json().await.unwrap();
        stats["models"][model]["requests"].as_u64().unwrap_or(0)
    }

    /// Waits until a model of the sandbox was asked so often.
    pub(crate) async fn until_asked(&self, model: &str, times: u64) {
        until("the model is asked", async || {
            self.requests_to(model).await >= times
        })
        .await;
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}
