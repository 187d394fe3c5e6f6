//! The process, with traffic through it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{calls::rpc, process::TestProcess};

/// Between two messages of one user.
const PAUSE: Duration = Duration::from_millis(150);
/// Whoever has not noticed by then that the process is gone never will: once in some hundred kills the
/// HTTP client waits for ever, without a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// A message whose answer was acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Acknowledged {
    pub(super) message_id: i64,
    pub(super) content: String,
    /// When the acknowledgement arrived, in milliseconds since 1970.
    pub(super) at_ms: i64,
}

/// One process: since when it served, until when, and what it acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) from_ms: i64,
    pub(super) to_ms: Option<i64>,
    pub(super) acknowledged: Vec<Acknowledged>,
}

pub(super) type Lives = Arc<Mutex<Vec<Life>>>;

/// The running process and the users who chat through it.
pub(super) struct Server {
    process: TestProcess,
    users: Vec<JoinHandle<()>>,
    lives: Lives,
}

pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_millis()).unwrap()
}

impl Server {
    /// The users begin.
    pub(super) fn start(process: TestProcess, users: &[String], lives: &Lives) -> Self {
        let life = lives.lock().len();
        lives.lock().push(Life {
            from_ms: now_ms(),
            to_ms: None,
            acknowledged: Vec::new(),
        });
        let users = users.iter().map(|token| {
            let (http, url) = (process.http.clone(), process.url.clone());
            tokio::spawn(chat(http, url, token.clone(), lives.clone(), life))
        });
        Self {
            users: users.collect(),
            process,
            lives: lives.clone(),
        }
    }

    /// Calls a procedure as an admin; `None` where the process is gone.
    pub(super) async fn call(&self, method: &str, params: Value) -> Option<Result<Value, Value>> {
        self.process.call(method, params).await
    }

    /// Messages that were acknowledged so far.
    pub(super) fn answers(&self) -> usize {
        let lives = self.lives.lock();
        lives.last().map_or(0, |life| life.acknowledged.len())
    }

    /// SIGKILL.
    pub(super) async fn kill(mut self) {
        self.end(now_ms());
        self.process.kill().await;
        self.leave().await;
    }

    /// SIGTERM, and waits until it has stopped.
    pub(super) async fn terminate(mut self) {
        self.process.terminate().await;
        self.end(now_ms());
        self.leave().await;
    }

    fn end(&self, at_ms: i64) {
        if let Some(life) = self.lives.lock().last_mut() {
            life.to_ms = Some(at_ms);
        }
    }

    /// The users notice that it is gone.
    async fn leave(self) {
        for mut user in self.users {
            match tokio::time::timeout(PATIENCE, &mut user).await {
                Ok(left) => left.unwrap(),
                Err(_) => user.abort(),
            }
        }
    }
}

/// One user, until the process is gone.
async fn chat(http: reqwest::Client, url: String, token: String, lives: Lives, life: usize) {
    let call = async |method: &str, params: Value| rpc(&http, &url, &token, method, params).await;
    let Some(Ok(conversation)) = call("chat.createConversation", json!({})).await else {
        return;
    };
    for n in 0.. {
        let content = format!("{n} in life {life}");
        let params = json!({"conversationId": conversation["id"], "content": content});
        match call("chat.sendMessage", params).await {
            None => return,
            // While it stops, what is new is refused.
            Some(Err(_)) => {}
            Some(Ok(message)) => lives.lock()[life].acknowledged.push(Acknowledged {
                message_id: message["id"].as_i64().unwrap(),
                content,
                at_ms: now_ms(),
            }),
        }
        // The pace of the traffic.
        tokio::time::sleep(PAUSE).await;
    }
}
