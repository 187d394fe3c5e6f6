//! The application as a process of its own, which can be killed.

use std::{path::Path, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::calls;

/// A process that does not listen, answer or stop by then is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server; killed with the test. A `TestAppBuilder` spawns it.
pub(crate) struct TestProcess {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// Follows no redirects and keeps no cookies.
    pub(crate) http: reqwest::Client,
    /// A session of user 1, who is admin.
    pub(crate) admin: String,
}

impl TestProcess {
    /// Runs the command, whose log goes to a file of this folder, and waits until it listens.
    pub(super) async fn start(mut serve: Command, folder: &Path, admin: String) -> Self {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("server.log"))
            .unwrap();
        let mut child = serve.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let Ok(Ok(Some(line))) = line else {
            let log = std::fs::read_to_string(folder.join("server.log"));
            panic!("the server does not start: {}", log.unwrap());
        };
        let url = line.split_whitespace().last().unwrap().to_owned();
        // Whatever else it says must not block it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let http = modelramp::_core::http_client::builder().timeout(PATIENCE);
        Self {
            child,
            url,
            http: http.build().unwrap(),
            admin,
        }
    }

    /// Its number; panics once it is gone.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Calls a procedure as an admin, over JSON-RPC; `None` where the process is gone.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Option<Result<Value, Value>> {
        calls::rpc(&self.http, &self.url, &self.admin, method, params).await
    }

    /// Sets how long its files may be, in bytes, or `unlimited`. Only the soft limit, which it may have
    /// raised again.
    pub(crate) async fn limit_files(&self, bytes: &str) {
        let mut command = Command::new("prlimit");
        command.args(["--pid", &self.id().to_string()]);
        let status = command.arg(format!("--fsize={bytes}:")).status().await;
        assert!(status.unwrap().success());
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM, and waits until it has stopped.
    pub(crate) async fn terminate(&mut self) {
        let id = self.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().await;
        assert!(sent.unwrap().success());
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        assert!(status.unwrap().unwrap().success());
    }
}
