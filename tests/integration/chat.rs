//! Chat through the registry, over a real database file and a scripted source of answers.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use modelramp::{
    _core::{
        assignment::{Subject, Variant},
        auth::Role,
        config::ChatConfig,
        context::{Caller, Context},
        errors::RpcError,
        procedure::Input,
        registry::Registry,
        tasks::Tasks,
    },
    chat::{Answerer, Chat},
    model_router::{Answer, Call, RouteError},
    providers::{Completion, fault::FaultKind},
    routers::chat_router,
    storage::Storage,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;

/// Answers in turn what it was given (else `answer`), keeps what it was asked, and waits to be let through.
struct Scripted {
    answers: Mutex<VecDeque<Result<&'static str, RouteError>>>,
    calls: Mutex<Vec<Call>>,
    asked: Semaphore,
    gate: Semaphore,
    context_tokens: Option<u32>,
}

impl Scripted {
    fn new() -> Self {
        Self {
            answers: Mutex::default(),
            calls: Mutex::default(),
            asked: Semaphore::new(0),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            context_tokens: None,
        }
    }

    /// Roles and contents of one call, without the instructions.
    fn conversation(&self, call: usize) -> Vec<(String, String)> {
        self.calls.lock()[call]
            .messages
            .iter()
            .filter(|message| message.role != "system")
            .map(|m| (m.role.clone(), m.content.as_str().unwrap().to_owned()))
            .collect()
    }

    /// Until a call has arrived that nobody waited for yet.
    async fn until_asked(&self) {
        self.asked.acquire().await.unwrap().forget();
    }
}

#[async_trait]
impl Answerer for Scripted {
    fn check_model(&self, model: &str) -> Result<(), RouteError> {
        match model {
            "gpt-4o-mini" => Ok(()),
            model => Err(RouteError::UnknownModel {
                model: model.into(),
                known: "gpt-4o-mini".into(),
            }),
        }
    }

    fn context_tokens(&self, task: &str, _: &Subject, _: Option<&str>) -> Option<u32> {
        assert_eq!(task, "chat");
        self.context_tokens
    }

    async fn complete(&self, call: Call) -> Result<Answer, RouteError> {
        self.calls.lock().push(call);
        self.asked.add_permits(1);
        let _pass = self.gate.acquire().await.unwrap();
        let answer = self.answers.lock().pop_front().unwrap_or(Ok("answer"));
        answer.map(|content| Answer {
            completion: Completion {
                content: content.into(),
                model: "upstream".into(),
                finish_reason: None,
                usage: None,
                raw: Value::Null,
            },
            model: "glm-4.5-air-free".into(),
            variant: Variant::Control,
            position: 0,
        })
    }
}

struct App {
    storage: Storage,
    answerer: Arc<Scripted>,
    registry: Registry,
    tasks: Tasks,
    _folder: TempDir,
}

fn at(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_762_637_400_000 + ms).unwrap()
}

async fn app() -> App {
    app_with(Scripted::new(), 8_000).await
}

async fn app_with(answerer: Scripted, history_tokens: usize) -> App {
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
    let chat = Chat::new(Arc::new(storage.clone()), answerer.clone(), config);
    let tasks = Tasks::default();
    let mut registry = Registry::new(tasks.clone());
    chat_router::register(&mut registry, Arc::new(chat));
    App {
        storage,
        answerer,
        registry,
        tasks,
        _folder: folder,
    }
}

impl App {
    async fn call_at(
        &self,
        ms: i64,
        user_id: i64,
        name: &str,
        input: Value,
    ) -> Result<Value, RpcError> {
        let user = self.storage.find_user(user_id).await.unwrap().unwrap();
        let context = Context::new(Caller::User(Arc::new(user)), at(ms));
        let procedure = self.registry.find(&format!("chat.{name}")).unwrap();
        let reply = self
            .registry
            .call(procedure, context, Input::Json(input))
            .await?;
        Ok(reply.to_value().unwrap())
    }

    /// As user 1.
    async fn call(&self, name: &str, input: Value) -> Result<Value, RpcError> {
        self.call_at(0, 1, name, input).await
    }

    /// A new conversation of user 1.
    async fn conversation(&self) -> i64 {
        let conversation = self.call("createConversation", json!({})).await.unwrap();
        conversation["id"].as_i64().unwrap()
    }

    async fn send(&self, conversation: i64, content: &str) -> Result<Value, RpcError> {
        let input = json!({"conversationId": conversation, "content": content});
        self.call("sendMessage", input).await
    }

    /// Roles and contents of what is stored.
    async fn stored(&self, conversation: i64) -> Vec<(String, String)> {
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

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(role, content)| ((*role).into(), (*content).into()))
        .collect()
}

fn all_failed() -> RouteError {
    RouteError::AllFailed {
        attempts: 3,
        model: "gemma-3-27b-free".into(),
        kind: FaultKind::Upstream,
    }
}

#[tokio::test]
async fn rows_have_the_recorded_form() {
    let app = app().await;
    assert_eq!(
        app.call("getConversations", json!({})).await.unwrap(),
        json!([])
    );
    let titled = app
        .call_at(5, 1, "createConversation", json!({"title": "Første"}))
        .await
        .unwrap();
    let row = json!({
        "id": 1, "userId": 1, "title": "Første",
        "createdAt": "2025-11-08T21:30:00.005Z", "updatedAt": "2025-11-08T21:30:00.005Z",
    });
    assert_eq!(titled, row);
    let untitled = app.call("createConversation", json!({})).await.unwrap();
    assert_eq!(untitled["title"], Value::Null);

    let sent = app.send(1, "Hvad kan du?").await.unwrap();
    let message = json!({
        "id": 1, "conversationId": 1, "role": "user", "content": "Hvad kan du?",
        "createdAt": "2025-11-08T21:30:00.000Z",
    });
    assert_eq!(sent, message);
    let deleted = app
        .call("deleteConversation", json!({"conversationId": 1}))
        .await;
    assert_eq!(deleted.unwrap(), json!({"success": true}));
}

#[tokio::test]
async fn the_latest_conversation_is_first_and_sending_does_not_reorder() {
    let app = app().await;
    for ms in [0, 10, 10] {
        app.call_at(ms, 1, "createConversation", json!({}))
            .await
            .unwrap();
    }
    app.call_at(20, 2, "createConversation", json!({}))
        .await
        .unwrap();
    let long = "æ".repeat(39) + "øå";
    let input = json!({"conversationId": 1, "content": "x"});
    *app.answerer.answers.lock() = VecDeque::from([Ok("")]);
    app.call_at(30, 1, "sendMessage", input).await.unwrap();
    *app.answerer.answers.lock() = VecDeque::from([Err(all_failed())]);
    app.send(1, &long).await.unwrap_err();
    let list = app.call("getConversations", json!({})).await.unwrap();
    let rows: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["id"].as_i64().unwrap(), row["lastMessage"].clone()))
        .collect();
    let beginning = json!("æ".repeat(39) + "ø");
    assert_eq!(rows, [(3, Value::Null), (2, Value::Null), (1, beginning)]);
    assert_eq!(list[2]["updatedAt"], "2025-11-08T21:30:00.000Z");
}

#[tokio::test]
async fn messages_come_oldest_first_a_page_at_a_time() {
    let app = app().await;
    let id = app.conversation().await;
    for n in 0..3 {
        app.send(id, &format!("nr {n}")).await.unwrap();
    }
    let mut cursor = None;
    let mut seen = Vec::new();
    for (page_length, next) in [(4, json!(4)), (2, Value::Null)] {
        let mut input = json!({"conversationId": id, "limit": 4});
        if let Some(cursor) = cursor {
            input["cursor"] = cursor;
        }
        let page = app.call("getMessages", input).await.unwrap();
        let messages = page["messages"].as_array().unwrap();
        assert_eq!(messages.len(), page_length);
        assert_eq!(page["hasMore"], json!(!next.is_null()));
        assert_eq!(page["nextCursor"], next);
        seen.extend(messages.iter().map(|m| m["id"].as_i64().unwrap()));
        cursor = Some(next);
    }
    assert_eq!(seen, [1, 2, 3, 4, 5, 6]);
    let whole = app
        .call("getMessages", json!({"conversationId": id}))
        .await
        .unwrap();
    assert_eq!(whole["messages"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn conversations_are_open_to_their_owner_only() {
    let app = app().await;
    let id = app.conversation().await;
    app.send(id, "mine").await.unwrap();
    for name in ["getMessages", "sendMessage", "deleteConversation"] {
        for (user, conversation, code, message) in [
            (
                2,
                id,
                "FORBIDDEN",
                format!("You don't have permission to access this conversation (ID: {id})"),
            ),
            (1, 999, "NOT_FOUND", "Conversation not found".into()),
            (1, -1, "NOT_FOUND", "Conversation not found".into()),
        ] {
            let input = json!({"conversationId": conversation, "content": "snig"});
            let error = app.call_at(0, user, name, input).await.unwrap_err();
            assert_eq!(
                (error.data_code(), &*error.message),
                (code, &*message),
                "{name}"
            );
        }
    }
    assert_eq!(
        app.stored(id).await,
        pairs(&[("user", "mine"), ("assistant", "answer")])
    );
    assert_eq!(app.answerer.calls.lock().len(), 1);
    for name in [
        "getConversations",
        "getMessages",
        "createConversation",
        "sendMessage",
        "deleteConversation",
    ] {
        let procedure = app.registry.find(&format!("chat.{name}")).unwrap();
        let anonymous = Context::new(Caller::Anonymous, at(0));
        let input = Input::Json(json!({"conversationId": id, "content": "x"}));
        let Err(error) = app.registry.call(procedure, anonymous, input).await else {
            panic!("{name} is open to everybody");
        };
        assert_eq!(error.message, "Please login (10001)", "{name}");
    }
}

#[tokio::test]
async fn the_eleventh_accepted_message_within_a_minute_is_refused() {
    let app = app().await;
    let id = app.conversation().await;
    let input = json!({"conversationId": id, "content": "x"});
    // What is refused for other reasons does not count.
    for input in [
        json!({"conversationId": 999, "content": "x"}),
        json!({"conversationId": id, "content": "x", "model": "nope"}),
    ] {
        for _ in 0..10 {
            app.call("sendMessage", input.clone()).await.unwrap_err();
        }
    }
    for ms in 0..10 {
        app.call_at(ms, 1, "sendMessage", input.clone())
            .await
            .unwrap();
    }
    for (ms, seconds) in [(10, 60), (1_000, 59), (59_999, 1), (60_000, 1)] {
        let error = app
            .call_at(ms, 1, "sendMessage", input.clone())
            .await
            .unwrap_err();
        assert_eq!(error.data_code(), "RATE_LIMIT_EXCEEDED");
        assert_eq!(error.code.http_status(), 429);
        assert_eq!(
            error.message,
            format!("Rate limit exceeded. Please wait {seconds}s before sending more messages.")
        );
        let data = serde_json::to_value(error.data(None, "r")).unwrap();
        assert_eq!(data["retryAfter"], "2025-11-08T21:31:00.001Z");
    }
    assert_eq!(app.stored(id).await.len(), 20);
    // Another user has an allowance of their own, and waiting as told is enough.
    let theirs = app
        .call_at(10, 2, "createConversation", json!({}))
        .await
        .unwrap();
    let to_theirs = json!({"conversationId": theirs["id"], "content": "x"});
    app.call_at(10, 2, "sendMessage", to_theirs).await.unwrap();
    app.call_at(60_001, 1, "sendMessage", input).await.unwrap();
}

#[tokio::test]
async fn a_model_is_checked_before_anything_is_stored_and_empty_is_absent() {
    let app = app().await;
    let id = app.conversation().await;
    let mut input = json!({"conversationId": id, "content": "x", "model": "nope"});
    let error = app.call("sendMessage", input.clone()).await.unwrap_err();
    assert_eq!(error.data_code(), "BAD_REQUEST");
    assert_eq!(error.message, "unknown model `nope`; known are gpt-4o-mini");
    assert!(app.stored(id).await.is_empty());

    for (model, asked) in [
        (json!(""), None),
        (json!("gpt-4o-mini"), Some("gpt-4o-mini")),
    ] {
        input["model"] = model;
        app.call("sendMessage", input.clone()).await.unwrap();
        let calls = app.answerer.calls.lock();
        assert_eq!(calls.last().unwrap().model.as_deref(), asked);
    }
}

#[tokio::test]
async fn a_model_is_asked_with_instructions_history_and_deadline() {
    let app = app().await;
    let id = app.conversation().await;
    app.send(id, "Hvad kan du?").await.unwrap();
    let input = json!({
        "conversationId": id, "content": "Og nu?",
        "context": {"page": "inbox", "selectedEmails": ["a"], "hasEmails": true, "unknown": 1},
    });
    app.call("sendMessage", input).await.unwrap();
    let calls = app.answerer.calls.lock();
    let call = &calls[1];
    let roles: Vec<_> = call.messages.iter().map(|m| m.role.as_str()).collect();
    assert_eq!(roles, ["system", "system", "user", "assistant", "user"]);
    let instructions = call.messages[0].content.as_str().unwrap();
    assert!(instructions.contains("- page: \"inbox\"\n- selected e-mails: 1 (\"a\")"));
    assert_eq!(call.messages[4].content, "Og nu?");
    assert_eq!(call.task, "chat");
    assert_eq!(call.subject, Some(Subject::User(1)));
    let patience = call.deadline - tokio::time::Instant::now();
    assert!(patience <= Duration::from_secs(40) && patience > Duration::from_secs(20));
}

#[tokio::test]
async fn a_message_stays_when_no_model_answers_and_the_error_says_nothing_of_the_upstream() {
    let app = app().await;
    let id = app.conversation().await;
    *app.answerer.answers.lock() = VecDeque::from([Err(all_failed())]);
    let error = app.send(id, "fejl").await.unwrap_err();
    assert_eq!(
        (error.data_code(), error.code.http_status()),
        ("INTERNAL_SERVER_ERROR", 500)
    );
    assert!(!error.message.contains("gemma") && !error.message.contains("Upstream"));
    let cause = format!("{:#}", error.cause().unwrap());
    assert!(cause.contains("gemma-3-27b-free"), "{cause}");
    assert_eq!(app.stored(id).await, pairs(&[("user", "fejl")]));
    app.send(id, "igen").await.unwrap();
    assert_eq!(
        app.answerer.conversation(1),
        pairs(&[("user", "fejl"), ("user", "igen")])
    );
}

#[tokio::test]
async fn old_messages_are_left_out_when_the_budget_is_used_up() {
    // Each message of 30 bytes is estimated at 14 tokens.
    let app = app_with(Scripted::new(), 3 * 14).await;
    let id = app.conversation().await;
    for n in 0..4 {
        *app.answerer.answers.lock() = VecDeque::from([Ok("thirty bytes of an answer, yes")]);
        app.send(id, &format!("a question of thirty bytes, {n:02}"))
            .await
            .unwrap();
    }
    assert_eq!(
        app.answerer.conversation(3),
        pairs(&[
            ("user", "a question of thirty bytes, 02"),
            ("assistant", "thirty bytes of an answer, yes"),
            ("user", "a question of thirty bytes, 03"),
        ])
    );
    // A message is sent even where it alone is too much.
    let long = "x".repeat(10_000);
    app.send(id, &long).await.unwrap();
    assert_eq!(app.answerer.conversation(4), pairs(&[("user", &long)]));
}

#[tokio::test]
async fn a_small_context_leaves_room_for_instructions_and_answer() {
    let answerer = Scripted {
        context_tokens: Some(1_000),
        ..Scripted::new()
    };
    let app = app_with(answerer, 1_000_000).await;
    let id = app.conversation().await;
    for n in 0..9 {
        app.send(id, &format!("{n}{}", "x".repeat(599)))
            .await
            .unwrap();
    }
    let calls = app.answerer.calls.lock();
    let bytes: usize = calls[8]
        .messages
        .iter()
        .map(|m| m.content.as_str().unwrap().len())
        .sum();
    assert!(bytes / 3 <= 750, "{bytes}");
    assert!(calls[8].messages.len() >= 4);
}

#[tokio::test]
async fn long_conversations_are_read_in_pages() {
    let app = app_with(Scripted::new(), 1_000_000).await;
    let id = app.conversation().await;
    for n in 0..70 {
        let input = json!({"conversationId": id, "content": format!("nr {n}")});
        app.call_at(n * 10_000, 1, "sendMessage", input)
            .await
            .unwrap();
    }
    let asked = app.answerer.conversation(69);
    assert_eq!(asked.len(), 139);
    let questions: Vec<_> = asked
        .iter()
        .step_by(2)
        .map(|(_, text)| text.clone())
        .collect();
    assert_eq!(
        questions,
        (0..70).map(|n| format!("nr {n}")).collect::<Vec<_>>()
    );
}

/// A gate that nobody gets through until permits are added.
fn gated() -> Scripted {
    Scripted {
        gate: Semaphore::new(0),
        ..Scripted::new()
    }
}

#[tokio::test]
async fn a_send_goes_on_when_its_client_leaves() {
    let app = app_with(gated(), 8_000).await;
    let id = app.conversation().await;
    tokio::select! {
        _ = app.send(id, "hej") => panic!("nobody has answered yet"),
        () = app.answerer.until_asked() => {}
    }
    app.answerer.gate.add_permits(1);
    assert!(app.tasks.shutdown(Duration::from_secs(10)).await);
    let messages = modelramp::chat::store::ConversationStore::messages(&app.storage, id, 0, 9);
    let contents: Vec<_> = messages
        .await
        .unwrap()
        .into_iter()
        .map(|m| m.content)
        .collect();
    assert_eq!(contents, ["hej", "answer"]);
}

#[tokio::test]
async fn a_conversation_deleted_during_a_send_stays_deleted() {
    let app = app_with(gated(), 8_000).await;
    let id = app.conversation().await;
    let delete = async {
        app.answerer.until_asked().await;
        let deleted = app
            .call("deleteConversation", json!({"conversationId": id}))
            .await;
        app.answerer.gate.add_permits(1);
        deleted
    };
    let (sent, deleted) = tokio::join!(app.send(id, "hej"), delete);
    assert_eq!(sent.unwrap()["content"], "hej");
    deleted.unwrap();
    let error = app
        .call("getMessages", json!({"conversationId": id}))
        .await
        .unwrap_err();
    assert_eq!(error.data_code(), "NOT_FOUND");
    assert_eq!(
        app.call("getConversations", json!({})).await.unwrap(),
        json!([])
    );
}

#[tokio::test]
async fn of_two_sends_at_once_each_asks_with_its_own_message_last() {
    let app = app_with(gated(), 8_000).await;
    let id = app.conversation().await;
    let release = async {
        app.answerer.until_asked().await;
        app.answerer.until_asked().await;
        app.answerer.gate.add_permits(2);
    };
    let (first, second, ()) = tokio::join!(app.send(id, "a"), app.send(id, "b"), release);
    let (first, second) = (first.unwrap(), second.unwrap());
    for call in 0..2 {
        let asked = app.answerer.conversation(call);
        // The earlier message is asked about alone, the later one after it.
        assert!(
            asked == pairs(&[("user", "a")])
                || asked == pairs(&[("user", "b")])
                || asked.len() == 2 && asked[0] != asked[1],
            "{asked:?}"
        );
    }
    assert_ne!(first["id"], second["id"]);
    let roles: Vec<_> = app
        .stored(id)
        .await
        .into_iter()
        .map(|(role, _)| role)
        .collect();
    assert_eq!(roles, ["user", "user", "assistant", "assistant"]);
}

#[tokio::test]
async fn an_answer_is_dated_after_its_question() {
    let app = app().await;
    let id = app.conversation().await;
    app.send(id, "hej").await.unwrap();
    let page = app
        .call("getMessages", json!({"conversationId": id}))
        .await
        .unwrap();
    let time = |n: usize| -> DateTime<Utc> {
        page["messages"][n]["createdAt"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    };
    assert_eq!(time(0), at(0));
    assert!(time(1) >= at(0) && time(1) < at(0) + TimeDelta::seconds(30));
}
