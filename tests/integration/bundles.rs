//! Bundles: a rollout moves users to another prompt as it does to another model.

use serde_json::{Value, json};
use sqlx::SqlitePool;

use modelramp::_core::caller::Role;

use crate::support::{
    app::{TestApp, TestAppBuilder},
    scripted_upstream::{Reply, Upstream},
    wait::{PATIENCE, eventually, until},
};

const PLAN: &str = "name = \"prompts\"\ntasks = [\"chat\"]\ndeadline = \"30days\"\n\
                    control = [\"plain\"]\ncandidate = [\"brief\"]\n[[stages]]\nshare = 100\nsoak = \"1h\"\n";

fn setup(upstream: &Upstream, extra: &str) -> TestAppBuilder {
    let catalog = format!(
        r#"
        [providers.up]
        base_url = "{}"
        [models.m]
        provider = "up"
        id = "m"
        context = 32000
        [bundles.brief]
        model = "m"
        prompt_file = "brief.md"
        parameters = {{ temperature = 0.2, stop = ["END"], seed = 7 }}
        max_tokens = 50
        [bundles.plain]
        model = "m"
        [tasks.chat]
        control = ["m"]
        candidate = ["m"]
        {extra}
        "#,
        upstream.base_url
    );
    let setup = TestApp::builder().with_catalog(&catalog);
    let setup = setup.with_file("brief.md", "\nBe brief.\n");
    setup.with_setting("CATALOGUE_POLL", "50ms")
}

/// The first message of the last request, and the rest of its body.
fn last(upstream: &Upstream) -> (String, Value) {
    let body = upstream.requests().pop().unwrap().body;
    let first = body["messages"][0]["content"].as_str();
    (first.unwrap().to_owned(), body)
}

impl TestApp {
    async fn ask(&self, body: Value) -> (u16, String) {
        let token = self.setup.token(7, Role::User).await;
        let ask = self.http.post(format!("{}/v1/chat/completions", self.url));
        let ask = ask.bearer_auth(token).body(body.to_string());
        let answer = ask.send().await.unwrap();
        let model = &answer.headers()["x-modelramp-model"];
        (answer.status().as_u16(), model.to_str().unwrap().to_owned())
    }
}

#[tokio::test]
async fn a_rollout_moves_users_to_another_prompt_and_a_changed_one_pauses_it() {
    let upstream = Upstream::start(vec![Reply::ok("hej")]).await;
    let app = setup(&upstream, "").with_busy_users().start().await;
    let chat = json!({"model": "task/chat", "messages": [{"role": "user", "content": "hej"}]});
    let (_, model) = app.ask(chat.clone()).await;
    assert_eq!((model.as_str(), last(&upstream).0.as_str()), ("m", "hej"));

    let id = app.begin_rollout(PLAN).await;
    let explain = async || {
        let params = json!({"task": "chat", "userId": 7});
        app.call("models.explain", params).await.unwrap()
    };
    until("the candidate is served", async || {
        explain().await["model"]
            .as_str()
            .unwrap()
            .starts_with("brief@")
    })
    .await;
    let (status, brief) = app.ask(chat.clone()).await;
    let (first, body) = last(&upstream);
    assert_eq!((status, first.as_str()), (200, "Be brief."));
    assert_eq!(body["messages"][1]["content"], "hej");
    assert_eq!(body["model"], "m", "the provider knows no bundles");
    assert_eq!(
        (
            &body["temperature"],
            &body["stop"],
            &body["max_tokens"],
            &body["seed"]
        ),
        (&json!(0.2), &json!(["END"]), &json!(50), &json!(7))
    );
    // Which prompt answered is in its events, its rollout and its history.
    let rollout = app.call("rollout.get", json!({"id": id})).await.unwrap();
    assert_eq!(
        rollout["models"][0]["candidate"],
        json!([brief]),
        "{rollout}"
    );
    let control = rollout["models"][0]["control"][0].as_str().unwrap();
    assert!(control.starts_with("plain@"), "{control}");
    let pool = SqlitePool::connect(app.setup.database()).await.unwrap();
    let counted: bool = eventually(PATIENCE, async || {
        let event = sqlx::query_scalar("SELECT counted FROM events WHERE model = $1");
        let event = event.bind(&brief).fetch_optional(&pool).await;
        event.unwrap().ok_or("no event")
    })
    .await;
    assert!(counted, "two prompts for one model can be compared");
    pool.close().await;

    // Chat's own instructions give way, and what the user looks at stays.
    let sent = app
        .call("chat.createConversation", json!({}))
        .await
        .unwrap();
    let message = json!({"conversationId": sent["id"], "content": "What now?"});
    app.call("chat.sendMessage", message).await.unwrap();
    let (first, _) = last(&upstream);
    assert!(first.starts_with("Be brief.\n\nIt is "), "{first}");

    std::fs::write(app.setup.folder().join("brief.md"), "Be very brief.").unwrap();
    let paused = app.reach(&id, "paused", PATIENCE).await;
    let reason = paused["reason"].as_str().unwrap();
    assert!(
        reason.contains(&format!("`{brief}` of `chat` is gone")),
        "{reason}"
    );
    let (_, model) = app.ask(chat).await;
    assert!(
        model.starts_with("plain@"),
        "{model}: nobody gets the new text unasked"
    );
}

#[tokio::test]
async fn a_caller_may_ask_for_a_bundle_and_what_it_says_itself_stays() {
    let upstream = Upstream::start(vec![Reply::ok("hej")]).await;
    let app = setup(&upstream, "prompt = \"Of the task.\"").start().await;
    let messages =
        json!([{"role": "system", "content": "Mine."}, {"role": "user", "content": "hej"}]);
    let own = json!({"model": "brief", "messages": messages, "temperature": 1, "max_completion_tokens": 9});
    let (status, model) = app.ask(own).await;
    assert_eq!(status, 200);
    let (first, body) = last(&upstream);
    assert_eq!(first, "Be brief.\n\nMine.");
    assert_eq!(
        (&body["temperature"], &body["max_completion_tokens"]),
        (&json!(1), &json!(9))
    );
    assert!(body.get("max_tokens").is_none(), "{body}");
    let by_version = json!({"model": model, "messages": [{"role": "user", "content": "hej"}]});
    assert_eq!(app.ask(by_version).await, (200, model));

    // A prompt of the task is for all of its models, but for those that have one.
    let chat = json!({"model": "task/chat", "messages": messages});
    app.ask(chat).await;
    assert_eq!(last(&upstream).0, "Of the task.\n\nMine.");
}
