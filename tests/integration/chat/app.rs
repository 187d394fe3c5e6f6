//! A chat over a real database file and a scripted source of answers.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};
use modelramp::{
    _core::{
        assignment::{Algorithm, Subject},
        caller::{Caller, Role, User},
        context::Context,
        errors::RpcError,
        feature_flags::{FeatureFlags, LiveRollout},
        procedure::{Input, Runner},
        registry::Registry,
        tasks::Tasks,
        units::Percent,
    },
    chat::{Answerer, Chat},
    config::ChatConfig,
    model_router::{Answer, AnswerStream, Call, Route, RouteError, catalog::Catalog},
    providers::{Completion, Delta, fault::FaultKind},
    recording::Log,
    routers::chat_router,
    storage::{self, Storage},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::model_router::flags;

/// Answers in turn what it was given (else `answer`), keeps what it was asked, and waits to be let through.
pub(crate) struct Scripted {
    pub(crate) answers: Mutex<VecDeque<Result<&'static str, RouteError>>>,
    pub(crate) calls: Mutex<Vec<(Route, Call)>>,
    pub(crate) asked: Semaphore,
    pub(crate) gate: Semaphore,
    pub(crate) context_tokens: u32,
}

impl Scripted {
    pub(crate) fn new() -> Self {
        Self {
            answers: Mutex::default(),
            calls: Mutex::default(),
            asked: Semaphore::new(0),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            context_tokens: 1_000_000,
        }
    }

    /// Roles and contents of one call, without the instructions.
    pub(crate) fn conversation(&self, call: usize) -> Vec<(String, String)> {
        let calls = self.calls.lock();
        let (_, call) = &calls[call];
        let messages = call.request.messages.iter();
        messages
            .filter(|message| message.role != "system")
            .map(|m| (m.role.clone(), m.content.as_str().unwrap().to_owned()))
            .collect()
    }

    /// Until a call has arrived that nobody waited for yet.
    pub(crate) async fn until_asked(&self) {
        self.asked.acquire().await.unwrap().forget();
    }
}

#[async_trait]
impl Answerer for Scripted {
    fn select(
        &self,
        task: &str,
        subject: &Subject,
        model: Option<&str>,
    ) -> Result<Route, RouteError> {
        let flags = FeatureFlags::new(flags());
        flags.publish(&[Arc::new(half())]);
        let catalog = catalog(self.context_tokens);
        let none = HashSet::new();
        Route::select(&catalog, &flags, &none, task, Some(subject), model, 2)
    }

    async fn complete(&self, route: &Route, call: Call) -> Result<Answer, RouteError> {
        self.calls.lock().push((route.clone(), call));
        self.asked.add_permits(1);
        let _pass = self.gate.acquire().await.unwrap();
        let answer = self.answers.lock().pop_front().unwrap_or(Ok("answer"));
        answer.map(|content| Answer {
            completion: Completion {
                content: content.into(),
                model: "upstream".into(),
                finish_reason: None,
                usage: None,
                ..Completion::default()
            },
            model: "glm-4.5-air-free".into(),
            position: 0,
        })
    }

    async fn stream(&self, route: &Route, call: Call) -> Result<AnswerStream, RouteError> {
        let answer = self.complete(route, call).await?;
        let delta = Delta {
            content: answer.completion.content,
            ..Delta::default()
        };
        Ok(AnswerStream {
            model: answer.model,
            position: answer.position,
            deltas: stream::iter([Ok(delta)]).boxed(),
        })
    }
}

/// Two models, one for each arm, and a third that a user may ask for.
fn catalog(context: u32) -> Catalog {
    let mut text = "[providers.p]\nbase_url = \"http://127.0.0.1:9/v1\"\n".to_owned();
    for name in ["old", "new", "gpt-4o-mini"] {
        text +=
            &format!("[models.{name}]\nprovider = \"p\"\nid = \"{name}\"\ncontext = {context}\n");
    }
    text += "[tasks.chat]\ncandidate = [\"new\"]\ncontrol = [\"old\"]\n";
    Catalog::parse(&text).unwrap()
}

/// A rollout at 50 % that counts every first attempt.
fn half() -> LiveRollout {
    LiveRollout {
        id: "rollout-1".into(),
        is_open: true,
        tasks: vec!["chat".into()],
        algorithm: Algorithm::Murmur3,
        salt: "test".into(),
        share: Percent::new(50.0).unwrap(),
        forced_on: HashSet::new(),
        forced_off: HashSet::new(),
        candidate: None,
        control: None,
        began: Vec::new(),
        judged_share: Percent::ZERO,
        plan: "plan".into(),
        ended: None,
        is_released: false,
    }
}

pub(crate) struct App {
    pub(crate) log: Arc<Log>,
    pub(crate) storage: Storage,
    pub(crate) answerer: Arc<Scripted>,
    pub(crate) registry: Registry,
    pub(crate) tasks: Tasks,
    folder: TempDir,
}

pub(crate) fn at(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_762_637_400_000 + ms).unwrap()
}

pub(crate) async fn app() -> App {
    app_with(Scripted::new(), 8_000).await
}

pub(crate) async fn app_with(answerer: Scripted, history_tokens: usize) -> App {
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite://{}/modelramp.db", folder.path().display());
    let storage = Storage::open(&url).await.unwrap();
    for id in [1, 2] {
        storage
            .ensure_local_user(id, Role::User, at(0))
            .await
            .unwrap();
    }
    let answerer = Arc::new(answerer);
    let config = ChatConfig {
        deadline: Duration::from_secs(40),
        history_tokens,
        rate_limit: 10,
    };
    let log = Arc::new(Log::default());
    let store = Arc::new(storage.clone());
    let chat = Chat::new(store, answerer.clone(), config, log.clone());
    let tasks = Tasks::default();
    let mut registry = Registry::new(Runner {
        tasks: tasks.clone(),
        passes: Some(storage::passes),
        ..Runner::default()
    });
    chat_router::register(&mut registry, Arc::new(chat));
    App {
        storage,
        log,
        answerer,
        registry,
        tasks,
        folder,
    }
}

impl App {
    /// Runs a statement as another process would.
    pub(crate) async fn sql(&self, statement: &'static str) {
        let file = self.folder.path().join("modelramp.db");
        let url = format!("sqlite://{}", file.display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        sqlx::query(statement)
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }

    pub(crate) async fn call_at(
        &self,
        ms: i64,
        user_id: i64,
        name: &str,
        input: Value,
    ) -> Result<Value, RpcError> {
        let user = self.storage.find_user(user_id).await.unwrap().unwrap();
        self.call_as(user, ms, name, input).await
    }

    /// The same without a look at the database.
    pub(crate) async fn call_as(
        &self,
        user: User,
        ms: i64,
        name: &str,
        input: Value,
    ) -> Result<Value, RpcError> {
        let context = Context::new(Caller::User(Arc::new(user)), at(ms));
        let target = self.registry.resolve(&format!("chat.{name}"));
        let procedure = target.here().unwrap();
        let reply = procedure.call(context, Input::Json(input)).await?;
        Ok(reply.to_value().unwrap())
    }

    /// As user 1.
    pub(crate) async fn call(&self, name: &str, input: Value) -> Result<Value, RpcError> {
        self.call_at(0, 1, name, input).await
    }

    /// A new conversation of user 1.
    pub(crate) async fn conversation(&self) -> i64 {
        let conversation = self.call("createConversation", json!({})).await.unwrap();
        conversation["id"].as_i64().unwrap()
    }

    pub(crate) async fn send(&self, conversation: i64, content: &str) -> Result<Value, RpcError> {
        let input = json!({"conversationId": conversation, "content": content});
        self.call("sendMessage", input).await
    }

    /// Roles and contents of what is stored.
    pub(crate) async fn stored(&self, conversation: i64) -> Vec<(String, String)> {
        let input = json!({"conversationId": conversation, "limit": 50});
        let page = self.call("getMessages", input).await.unwrap();
        page["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| {
                let text = |field: &str| m[field].as_str().unwrap().to_owned();
                (text("role"), text("content"))
            })
            .collect()
    }
}

pub(crate) fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(role, content)| ((*role).into(), (*content).into()))
        .collect()
}

pub(crate) fn all_failed() -> RouteError {
    RouteError::AllFailed {
        attempts: 3,
        model: "gemma-3-27b-free".into(),
        kind: FaultKind::Upstream,
    }
}

/// A gate that nobody gets through until permits are added.
pub(crate) fn gated() -> Scripted {
    Scripted {
        gate: Semaphore::new(0),
        ..Scripted::new()
    }
}
