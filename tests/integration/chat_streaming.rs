//! `chatStreaming.*` through the whole server: what is told of an answer, and what is stored of it.

use std::time::Duration;

use futures::StreamExt;
use modelramp::_core::caller::Role;
use reqwest::{Response, Url};
use serde_json::{Value, json};
use sqlx::SqlitePool;
use tokio_util::sync::CancellationToken;

use crate::support::{
    app::{TestApp, TestAppBuilder},
    conformance,
    wait::{PATIENCE, eventually},
};

const CATALOG: &str = r#"
[providers.test]
base_url = "http://127.0.0.1:9/v1"
api_key_env = "STREAMING_TEST_API_KEY"
[models.trusty]
provider = "test"
id = "trusty"
context = 32000
timeouts = { first_token = "500ms", idle = "500ms" }
[models.shiny]
provider = "test"
id = "shiny"
context = 32000
timeouts = { first_token = "500ms", idle = "500ms" }
[tasks.chat]
control = ["trusty", "shiny"]
candidate = ["shiny", "trusty"]
"#;

fn setup() -> TestAppBuilder {
    let setup = TestApp::builder().with_catalog(CATALOG);
    let setup = setup.with_sandbox("[default]\nlatency_ms = 1\nword_ms = 1\n");
    setup.with_settings([
        ("FORCE_STREAMING", "true"),
        ("FORCE_SERVER_SIDE_CHAT", "true"),
    ])
}

/// A user of the application.
struct User<'a> {
    app: &'a TestApp,
    token: String,
}

impl<'a> User<'a> {
    async fn new(app: &'a TestApp, id: i64) -> Self {
        let token = app.setup.token(id, Role::User).await;
        Self { app, token }
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value, Value> {
        let (http, url) = (&self.app.http, &self.app.url);
        let answer = crate::support::calls::rpc(http, url, &self.token, method, params);
        answer.await.expect("the application answers")
    }

    async fn conversation(&self) -> i64 {
        let conversation = self.call("chat.createConversation", json!({})).await;
        conversation.unwrap()["id"].as_i64().unwrap()
    }

    /// Roles and contents of what is stored.
    async fn stored(&self, conversation: i64) -> Vec<(String, String)> {
        let page = self
            .call("chat.getMessages", json!({"conversationId": conversation}))
            .await
            .unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let messages = page["messages"].as_array().unwrap().iter();
        messages
            .map(|it| (text(&it["role"]), text(&it["content"])))
            .collect()
    }

    async fn open(&self, conversation: i64, content: &str) -> Response {
        let input = json!({"json": {"conversationId": conversation, "content": content}});
        let url = format!("{}/api/trpc/chatStreaming.sendMessageStream", self.app.url);
        let url = Url::parse_with_params(&url, [("input", input.to_string())]).unwrap();
        let request = self.app.http.get(url);
        request.bearer_auth(&self.token).send().await.unwrap()
    }

    /// All that is told of the answer; an error of the call is the last.
    async fn stream(&self, conversation: i64, content: &str) -> Vec<Value> {
        let text = self.open(conversation, content).await.text().await.unwrap();
        told(&text)
    }
}

/// What the events say; those of the wire itself say nothing.
fn told(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter_map(|data| serde_json::from_str::<Value>(data).ok())
        .filter_map(|mut data| Some(data.get_mut("json")?.take()))
        .collect()
}

fn types(told: &[Value]) -> String {
    let mut types: Vec<_> = told.iter().map(|it| it["type"].as_str().unwrap()).collect();
    types.dedup();
    types.join(" ")
}

fn text(told: &[Value]) -> String {
    let pieces = told.iter().filter_map(|it| it["data"]["content"].as_str());
    pieces.collect()
}

/// How the attempts ended, in their order, once so many are stored.
async fn outcomes(app: &TestApp, attempts: usize) -> Vec<(String, String)> {
    let pool = SqlitePool::connect(app.setup.database()).await.unwrap();
    let stored = eventually(PATIENCE, async || {
        let stored = sqlx::query_as(
            "SELECT model, outcome FROM events JOIN event_order USING (writer, batch) ORDER BY first_seq, place",
        );
        let stored: Vec<(String, String)> = stored.fetch_all(&pool).await.unwrap();
        match stored.len() >= attempts {
            true => Ok(stored),
            false => Err(stored),
        }
    });
    let stored = stored.await;
    pool.close().await;
    stored
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_clients_stream_over_every_wire() {
    let app = setup().with_busy_users().start().await;
    let url = format!("{}/api/trpc", app.url);
    let token = app.setup.admin().await.to_owned();
    let checks = tokio::task::spawn_blocking(move || {
        let environment = [
            ("AUTH_HEADER", format!("Authorization: Bearer {token}")),
            ("WS_URL", url.replace("http:", "ws:")),
            ("STREAMING", "1".to_owned()),
            ("V10_STREAM", "1".to_owned()),
            ("ONLY", "^chatStreaming ".to_owned()),
        ];
        let environment = environment
            .each_ref()
            .map(|(name, value)| (*name, &**value));
        conformance::run(&url, &environment);
    });
    if let Err(failed) = checks.await {
        std::panic::resume_unwind(failed.into_panic());
    }
}

#[tokio::test]
async fn an_answer_that_was_cut_says_by_what() {
    let app = setup().start().await;
    let user = User::new(&app, 5).await;
    let conversation = user.conversation().await;
    let whole = user.stream(conversation, "hej").await;
    assert!(
        whole.last().unwrap()["data"].get("cutBy").is_none(),
        "{whole:?}"
    );
    for fault in ["length", "content-filter"] {
        app.set_model("trusty", json!({"error_rate": 1, "fault": fault}))
            .await;
        let told = user.stream(conversation, fault).await;
        assert_eq!(types(&told), "start chunk complete", "{told:?}");
        assert_eq!(told.last().unwrap()["data"]["cutBy"], fault, "{told:?}");
    }
}

#[tokio::test]
async fn before_the_first_word_another_model_answers() {
    let app = setup().start().await;
    let user = User::new(&app, 5).await;
    let conversation = user.conversation().await;
    for (fault, kind) in [
        ("503", "upstream"),
        ("end-first", "connection"),
        ("stall-first", "timeout"),
        ("error-in-200", "upstream"),
        ("empty-reasoning", "empty-reply"),
    ] {
        let failing = json!({"error_rate": 1, "fault": fault});
        app.set_model("trusty", failing).await;
        let told = user.stream(conversation, fault).await;
        assert_eq!(types(&told), "start chunk complete", "{fault}: {told:?}");
        assert!(text(&told).starts_with("[sandbox/shiny]"), "{told:?}");
        assert_eq!(told.last().unwrap()["data"]["model"], "shiny");
        let last = user.stored(conversation).await.pop().unwrap();
        assert_eq!(last, ("assistant".to_owned(), text(&told)));
        let outcomes = outcomes(&app, user.stored(conversation).await.len()).await;
        let of_trusty = outcomes.iter().rfind(|(model, _)| model == "trusty");
        assert_eq!(of_trusty.unwrap().1, kind);
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_told_and_not_stored_and_can_be_tried_again() {
    let app = setup().start().await;
    let user = User::new(&app, 5).await;
    let conversation = user.conversation().await;
    for (fault, kind) in [
        ("cut", "connection"),
        ("cut-chunk", "connection"),
        ("end-early", "connection"),
        ("mid-stream", "upstream"),
        ("stall", "timeout"),
    ] {
        let failing = json!({"error_rate": 1, "fault": fault});
        app.set_model("trusty", failing).await;
        let told = user.stream(conversation, fault).await;
        assert_eq!(types(&told), "start chunk error", "{fault}: {told:?}");
        let message = &told[0]["data"]["messageId"];
        let failed = &told.last().unwrap()["data"];
        assert_eq!(
            failed["error"],
            "The answer broke off. The message was saved; please try again."
        );
        let details = json!({"kind": kind, "retryable": true, "messageId": message});
        assert_eq!(failed["details"], details);
        let last = user.stored(conversation).await.pop().unwrap();
        assert_eq!(last, ("user".to_owned(), fault.to_owned()));

        app.set_model("trusty", json!({})).await;
        let again = user.call("chat.retry", json!({"messageId": message})).await;
        assert_eq!(&again.unwrap()["id"], message);
        let last = user.stored(conversation).await.pop().unwrap();
        assert!(last.1.ends_with(&format!("You asked: {fault}")), "{last:?}");
    }
}

#[tokio::test]
async fn where_no_model_answers_that_is_told_by_both() {
    let app = setup().start().await;
    let user = User::new(&app, 5).await;
    let conversation = user.conversation().await;
    for model in ["trusty", "shiny"] {
        app.set_model(model, json!({"error_rate": 1, "fault": "too-long"}))
            .await;
    }
    let told = user.stream(conversation, "lang").await;
    assert_eq!(types(&told), "start error", "{told:?}");
    let failed = &told[1]["data"];
    assert_eq!(failed["details"]["kind"], "context-length");
    assert_eq!(failed["details"]["retryable"], false);
    let input = json!({"conversationId": conversation, "content": "kort"});
    let error = user
        .call("chatStreaming.sendMessageStreaming", input)
        .await
        .unwrap_err();
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with("Failed to process message: "),
        "{error}"
    );
    assert_eq!(error["data"]["httpStatus"], 500, "{error}");
    assert_eq!(user.stored(conversation).await.len(), 2);
}

#[tokio::test]
async fn whoever_leaves_cancels_the_request_to_the_model() {
    let app = setup().start().await;
    let user = User::new(&app, 5).await;
    let conversation = user.conversation().await;
    let endless = json!({"error_rate": 1, "fault": "slow-stream", "slow_word_ms": 300});
    app.set_model("trusty", endless).await;
    let response = user.open(conversation, "farvel").await;
    let mut bytes = response.bytes_stream();
    let mut heard = String::new();
    while !heard.contains("chunk") {
        heard += &String::from_utf8_lossy(&bytes.next().await.unwrap().unwrap());
    }
    drop(bytes);
    let left = ("trusty".to_owned(), "cancelled".to_owned());
    assert_eq!(outcomes(&app, 1).await, [left]);
    let asked = ("user".to_owned(), "farvel".to_owned());
    assert_eq!(user.stored(conversation).await, [asked]);
}

#[tokio::test]
async fn whoever_reconnects_sends_the_same_message_until_it_is_answered() {
    let app = setup().start().await;
    let user = User::new(&app, 5).await;
    let conversation = user.conversation().await;
    let slow = json!({"error_rate": 1, "fault": "slow-stream", "slow_word_ms": 300});
    app.set_model("trusty", slow).await;
    let mut bytes = user.open(conversation, "farvel").await.bytes_stream();
    let mut heard = String::new();
    while !heard.contains("chunk") {
        heard += &String::from_utf8_lossy(&bytes.next().await.unwrap().unwrap());
    }
    drop(bytes);
    outcomes(&app, 1).await;
    app.set_model("trusty", json!({"error_rate": 0})).await;
    let again = user.stream(conversation, "farvel").await;
    assert_eq!(types(&again), "start chunk complete");
    assert_eq!(told(&heard)[0], again[0]);
    assert_eq!(user.stored(conversation).await.len(), 2);
    // It has its answer: now it is said twice.
    let twice = user.stream(conversation, "farvel").await;
    assert_ne!(again[0], twice[0]);
    assert_eq!(user.stored(conversation).await.len(), 4);
}

#[tokio::test]
async fn a_damaged_event_is_told_as_an_answer_that_broke_off() {
    let app = setup().start().await;
    let user = User::new(&app, 5).await;
    let conversation = user.conversation().await;
    let damaged = json!({"error_rate": 1, "fault": "malformed-chunk"});
    app.set_model("trusty", damaged).await;
    let told = user.stream(conversation, "hej").await;
    assert_eq!(types(&told), "start chunk error", "{told:?}");
    assert_eq!(told.last().unwrap()["data"]["details"]["retryable"], true);
    assert_eq!(user.stored(conversation).await.len(), 1);
}

#[tokio::test]
async fn a_server_that_stops_finishes_its_answers() {
    let setup = setup().with_sandbox("[default]\nlatency_ms = 1\nword_ms = 100\n");
    let app = setup.start().await;
    let user = User::new(&app, 5).await;
    let conversation = user.conversation().await;
    let mut bytes = user.open(conversation, "farvel").await.bytes_stream();
    let mut heard = String::new();
    while !heard.contains("chunk") {
        heard += &String::from_utf8_lossy(&bytes.next().await.unwrap().unwrap());
    }
    let reading = async {
        while let Some(piece) = bytes.next().await {
            heard += &String::from_utf8_lossy(&piece.unwrap());
        }
    };
    tokio::join!(app.stop(), reading);
    assert_eq!(types(&told(&heard)), "start chunk complete");
    assert!(heard.contains("event: return"), "{heard}");
}

#[tokio::test]
async fn the_same_message_twice_at_once_is_one_message_with_one_answer() {
    let app = setup().start().await;
    let user = User::new(&app, 5).await;
    let conversation = user.conversation().await;
    let (one, two) = tokio::join!(
        user.stream(conversation, "ja"),
        user.stream(conversation, "ja")
    );
    assert_eq!(one[0], two[0]);
    assert_eq!(text(&one), text(&two));
    assert_eq!(types(&two), "start chunk complete");
    assert_eq!(user.stored(conversation).await.len(), 2);
    assert_eq!(app.requests_to("trusty").await, 1);
}

#[tokio::test]
async fn flags_owners_and_limits_are_kept() {
    let app = setup().start().await;
    let (user, other) = (User::new(&app, 5).await, User::new(&app, 6).await);
    let conversation = user.conversation().await;
    for n in 0..10 {
        let told = user.stream(conversation, &format!("nr {n}")).await;
        assert_eq!(types(&told), "start chunk complete");
    }
    let refused = user.stream(conversation, "nr 10").await;
    assert_eq!(
        refused[0]["data"]["code"], "RATE_LIMIT_EXCEEDED",
        "{refused:?}"
    );
    let input = json!({"conversationId": conversation, "content": "nr 10"});
    let error = user.call("chatStreaming.sendMessageStreaming", input).await;
    assert_eq!(error.unwrap_err()["data"]["code"], "RATE_LIMIT_EXCEEDED");
    let theirs = other.stream(conversation, "x").await;
    assert_eq!(theirs[0]["data"]["code"], "NOT_FOUND", "{theirs:?}");
    assert_eq!(user.stored(conversation).await.len(), 20);

    let off = TestApp::builder().with_catalog(CATALOG).start().await;
    let user = User::new(&off, 5).await;
    let conversation = user.conversation().await;
    let refused = user.stream(conversation, "x").await;
    let text = "Streaming is not enabled for this user";
    assert_eq!(refused[0]["message"], text);
    let input = json!({"conversationId": conversation, "content": "x"});
    let error = user.call("chatStreaming.sendMessageStreaming", input).await;
    let text = "Server-side chat is not enabled for this user";
    assert_eq!(error.unwrap_err()["message"], text);
    assert!(user.stored(conversation).await.is_empty());
}

#[tokio::test]
async fn a_candidate_that_cuts_its_streams_is_taken_back() {
    let app = setup().with_busy_users().start().await;
    let mut users = Vec::new();
    for id in 10..50 {
        let user = User::new(&app, id).await;
        let conversation = user.conversation().await;
        users.push((user, conversation));
    }
    let over = CancellationToken::new();
    let story = async {
        let plan = "name = \"slow\"\ntasks = [\"chat\"]\ndeadline = \"30days\"\n\
             [evidence]\noutage_period = \"0s\"\n\
             [[stages]]\nshare = 50\nsoak = \"1h\"\nmin_requests = 10\nmin_users = 2\nmin_time = \"1s\"\n\
             [[stages]]\nshare = 100\nsoak = \"1h\"\n";
        let id = app.begin_rollout(plan).await;
        app.reach(&id, "running", Duration::from_secs(10)).await;
        app.until_asked("shiny", 40).await;
        app.set_model("shiny", json!({"error_rate": 1, "fault": "cut"}))
            .await;
        app.reach(&id, "rolled-back", Duration::from_secs(30)).await;
        over.cancel();
    };
    let traffic = async {
        for number in 0.. {
            let four = (0..4).map(|more| {
                let (user, conversation) = &users[(number * 4 + more) % users.len()];
                user.stream(*conversation, "hej")
            });
            tokio::select! {
                told = futures::future::join_all(four) => for told in told {
                    let ends = ["start chunk complete", "start chunk error"];
                    assert!(ends.contains(&&*types(&told)), "{told:?}");
                },
                () = over.cancelled() => return,
            }
        }
    };
    tokio::join!(story, traffic);
}
