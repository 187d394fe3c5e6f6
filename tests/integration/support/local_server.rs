//! The whole application with its sandbox on a free port, set up as a person would on a laptop.

use std::{collections::BTreeMap, path::Path};

use modelramp::{
    _core::caller::Role,
    app::{self, App},
    config::{Config, Sources},
    providers::openai_compatible::http_client,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// A running application; stops with the test.
pub(crate) struct LocalServer {
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// What it was started with, for commands beside it.
    pub(crate) sources: Sources,
    /// Where the sandbox's `/control` is.
    sandbox: String,
    admin: String,
    http: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    _server: JoinHandle<()>,
    folder: tempfile::TempDir,
}

impl LocalServer {
    /// Starts with these settings above those of tests.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_with(settings, &[]).await
    }

    /// The same, with these files (name and text) in its folder.
    pub(crate) async fn start_with(settings: &[(&str, &str)], files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let mut environment: BTreeMap<String, String> = [
            ("APP_ENV", "test"),
            ("PORT", "0"),
            ("CHAT_RATE_LIMIT", "100000"),
            ("LOG_LEVEL", "warn"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let database = format!("sqlite://{}", folder.path().join("test.db").display());
        environment.insert("DATABASE_URL".into(), database);
        let given = settings.iter();
        environment.extend(given.map(|(name, value)| ((*name).into(), (*value).into())));
        let sources = Sources {
            environment,
            working_dir: folder.path().to_owned(),
            config_file: None,
        };
        let config = Config::load(&sources).unwrap();
        let admin = app::issue_token(&config, 1, Role::Admin, None, chrono::Utc::now());
        let admin = admin.await.unwrap();
        let app = App::build(config).await.unwrap();
        let sandbox = app.sandbox_url.clone().unwrap_or_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(app.serve(listener, async {
            let _ = stopped.await;
        }));
        let sandbox = sandbox.trim_end_matches("/v1").to_owned();
        Self {
            url,
            sources,
            sandbox,
            admin,
            http: http_client().unwrap(),
            stop: Some(stop),
            _server: server,
            folder,
        }
    }

    /// Its folder, with the database.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A session token of an admin.
    pub(crate) fn admin_token(&self) -> &str {
        &self.admin
    }

    /// Calls a procedure as an admin, over JSON-RPC.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Result<Value, Value> {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let request = self.http.post(format!("{}/rpc", self.url));
        let response = request.bearer_auth(&self.admin).json(&call).send().await;
        let mut reply: Value = response.unwrap().json().await.unwrap();
        match reply.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(reply["error"].take()),
        }
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
        let url = format!("{}/control/stats", self.sandbox);
        let stats: Value = self
            .http
            .get(url)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        stats["models"][model]["requests"].as_u64().unwrap_or(0)
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}
