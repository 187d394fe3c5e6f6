//! What keys may have: requests a minute, and tokens and money a day, on every wire.

use std::sync::Arc;

use chrono::{NaiveTime, TimeDelta, Utc};
use futures::future::join_all;
use modelramp::{
    _core::tasks::Tasks,
    keys::{ApiKeyStore, KeyLimits, Secret, Spending},
};
use secrecy::ExposeSecret;

use super::{
    keys::{BY, key},
    *,
};
use crate::support::{
    scripted_upstream::token,
    wait::{PATIENCE, eventually, until},
};

impl Gateway {
    async fn key(&self, limits: KeyLimits) -> Secret {
        let secret = Secret::new();
        let key = modelramp::keys::ApiKey {
            limits,
            ..key("limited", &secret, None)
        };
        let keys = self.app.setup.storage().await;
        assert!(keys.add_key(&key, &secret.hash, BY).await.unwrap());
        keys.close().await;
        secret
    }

    async fn with(&self, secret: &Secret, path: &str, body: &Value) -> Answer {
        let url = format!("{}{path}", self.app.url);
        let request = self.app.http.post(url).body(body.to_string());
        let key = secret.whole.expose_secret();
        self.send(request.header("x-api-key", key)).await
    }

    /// Waits until the database says that the key has spent so many tokens.
    async fn has_spent(&self, tokens: i64) {
        let storage = self.app.setup.storage().await;
        eventually(PATIENCE, async || {
            let spent = storage.spent("limited", Utc::now().date_naive()).await;
            let spent = spent.unwrap().tokens;
            if spent == tokens { Ok(()) } else { Err(spent) }
        })
        .await;
        storage.close().await;
    }
}

fn tokens(tokens_per_day: u64) -> KeyLimits {
    KeyLimits {
        tokens_per_day: Some(tokens_per_day),
        ..KeyLimits::default()
    }
}

/// A call that needs 20 tokens at most, and uses the 5 that the upstream tells.
fn small() -> Value {
    let mut body = asking("a");
    body["max_tokens"] = 10.into();
    body
}

/// A rate knows no days, although budgets do.
#[tokio::test]
async fn midnight_gives_no_second_minute() {
    let setup = TestApp::builder();
    let spending = Spending::new(Arc::new(setup.storage().await), Tasks::default());
    let secret = Secret::new();
    let mut limited = key("limited", &secret, None);
    limited.limits.requests_per_minute = Some(2);
    let midnight = Utc::now().date_naive().and_time(NaiveTime::MIN).and_utc();
    let before = midnight - TimeDelta::milliseconds(1);
    assert!(spending.request(&limited, before).is_ok());
    assert!(spending.request(&limited, before).is_ok());
    assert!(spending.request(&limited, midnight).is_err());
}

#[tokio::test]
async fn a_key_sends_as_many_requests_a_minute_as_it_may() {
    let gateway = Gateway::answering(Reply::ok("hej")).await;
    let secret = gateway
        .key(KeyLimits {
            requests_per_minute: Some(2),
            ..KeyLimits::default()
        })
        .await;
    let first = gateway
        .with(&secret, "/v1/chat/completions", &asking("a"))
        .await;
    assert_eq!(first.status, 200);
    assert_eq!(first.header("x-ratelimit-limit-requests"), "2");
    assert_eq!(first.header("x-ratelimit-remaining-requests"), "1");
    assert_eq!(first.header("x-ratelimit-reset-requests"), "30s");
    // What no model is asked for is free.
    gateway
        .with(&secret, "/v1/messages/count_tokens", &asking("a"))
        .await;
    let second = gateway.with(&secret, "/v1/messages", &small()).await;
    assert_eq!(second.status, 200, "{}", second.text);
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let refused = gateway.with(&secret, path, &small()).await;
        assert_eq!(refused.status, 429);
        assert_eq!(refused.header("x-ratelimit-remaining-requests"), "0");
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((25..=30).contains(&wait), "{wait}");
        assert_eq!(refused.header("x-should-retry"), "");
        assert!(
            refused
                .text
                .contains("Key `limited`: it may send 2 requests a minute.")
        );
    }
    assert_eq!(gateway.upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_budget_is_kept_by_two_hundred_calls_at_once() {
    let gateway = Gateway::answering(Reply::ok("hej")).await;
    let secret = gateway.key(tokens(200)).await;
    let (path, body) = ("/v1/chat/completions", small());
    let calls = (0..200).map(|_| gateway.with(&secret, path, &body));
    let answers = join_all(calls).await;
    let answered = answers.iter().filter(|it| it.status == 200).count();
    let refused: Vec<_> = answers.iter().filter(|it| it.status == 402).collect();
    assert_eq!(answered + refused.len(), 200);
    assert!((10..=40).contains(&answered), "{answered}");
    let told = refused[0].json()["error"].clone();
    assert_eq!(told["code"], "budget_exceeded");
    assert_eq!(told["type"], "insufficient_quota");
    let message = told["message"].as_str().unwrap();
    assert!(
        message.starts_with("Key `limited`: the budget of 200 tokens a day is used up (")
            && message.contains("20 needed). It opens again at ")
            && message.ends_with("T00:00:00Z."),
        "{message}"
    );
    assert_eq!(refused[0].header("x-should-retry"), "false");
    assert!(refused[0].header("retry-after").parse::<u64>().unwrap() <= 86_400);
    // What calls reserved and did not use is there for others.
    while gateway.with(&secret, path, &body).await.status == 200 {}
    let used = 5 * gateway.upstream.requests().len() as i64;
    assert!((181..=200).contains(&used), "{used}");
    gateway.has_spent(used).await;

    let refused = gateway.with(&secret, "/v1/messages", &body).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["type"]),
        (StatusCode::PAYMENT_REQUIRED, &json!("billing_error"))
    );
    let refused = gateway
        .with(
            &secret,
            "/v1/responses",
            &json!({"model": "a", "input": "hej", "max_output_tokens": 10}),
        )
        .await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("x-should-retry"), "false");
    let told = refused.json()["error"].clone();
    assert_eq!(
        (&told["type"], &told["code"]),
        (&json!("usage_limit_reached"), &json!("insufficient_quota"))
    );
    let opens_in = told["resets_at"].as_i64().unwrap() - Utc::now().timestamp();
    assert!((0..=86_400).contains(&opens_in), "{opens_in}");
    let refused = gateway
        .with(
            &secret,
            "/v1/embeddings",
            &json!({"model": "a", "input": "hej ".repeat(30)}),
        )
        .await;
    assert_eq!(refused.status, 402, "{}", refused.text);
}

#[tokio::test]
async fn callers_that_leave_pay_for_what_came_and_leave_nothing_reserved() {
    let part = format!("data: {}\n\n", token(&"hej ".repeat(9)));
    let gateway = Gateway::answering(Reply::events([part], End::Hang)).await;
    let secret = gateway.key(tokens(10_000)).await;
    let mut body = streaming("a");
    body["max_tokens"] = 1_000.into();
    let url = format!("{}/v1/chat/completions", gateway.app.url);
    for _ in 0..30 {
        let request = gateway.app.http.post(&url).body(body.to_string());
        let mut response = request
            .bearer_auth(secret.whole.expose_secret())
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200, "{:?}", response.text().await);
        response.chunk().await.unwrap();
    }
    // Ten tokens of the prompt and ten of the answer, of each.
    gateway.has_spent(600).await;
}

#[tokio::test]
async fn an_answer_ends_where_the_budget_does() {
    let gateway = Gateway::start(|_, request| match request.body["stream"] == true {
        true => Reply::tokens(&["hej med dig "; 2_000]),
        false => Reply::ok("hej"),
    })
    .await;
    let secret = gateway.key(tokens(6_000)).await;
    let mut body = streaming("a");
    body["max_tokens"] = 100.into();
    // The model writes more than it was asked for; so do some.
    let answer = gateway.with(&secret, "/v1/chat/completions", &body).await;
    let last = *answer.events().last().unwrap();
    assert!(last.contains("budget_exceeded"), "{last}");
    assert!(answer.events().len() > 1_000);
    let secret = {
        let keys = gateway.app.setup.storage().await;
        let limited = keys
            .limit_key("limited", &tokens(7_000), BY, Utc::now())
            .await;
        keys.close().await;
        assert!(limited.unwrap());
        secret
    };
    // What is left is less than an answer may have, so this one may have what is left.
    let mut body = asking("a");
    // Some servers take that for "as long as it may be".
    body["max_completion_tokens"] = json!(-1);
    let asked = gateway.with(&secret, "/v1/chat/completions", &body).await;
    assert_eq!(asked.status, 200, "{}", asked.text);
    let limit: u64 = asked.header("x-modelramp-max-tokens").parse().unwrap();
    assert!((64..2_000).contains(&limit), "{limit}");
    let sent = &gateway.upstream.requests();
    let sent = &sent.last().unwrap().body;
    assert_eq!(sent["max_tokens"], limit);
    assert_eq!(sent.get("max_completion_tokens"), None, "it says otherwise");
    // What it was granted and did not use is there for the next one, at once.
    let next = gateway.with(&secret, "/v1/chat/completions", &body).await;
    assert_eq!(next.status, 200, "{}", next.text);
}

#[tokio::test]
async fn what_a_stream_writes_counts_as_a_whole_and_tool_calls_with_it() {
    let tool = |n: usize| {
        let name = (n == 0).then_some("write");
        let call = json!({"index": 0, "function": {"name": name, "arguments": "hej med dig "}});
        let delta = json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]});
        format!("data: {delta}\n\n")
    };
    let done = || "data: [DONE]\n\n".to_owned();
    let gateway = Gateway::start(
        move |_, request| match request.body["max_tokens"].as_u64() {
            Some(100) => Reply::events((0..2_000).map(tool).chain([done()]), End::Clean),
            _ => Reply::tokens(&["hej "; 150]),
        },
    )
    .await;
    let secret = gateway.key(tokens(1_000)).await;
    let path = "/v1/chat/completions";
    // 600 bytes are 167 tokens, however they are cut up, and that is less than 900.
    let mut body = streaming("a");
    body["max_tokens"] = 900.into();
    let whole = gateway.with(&secret, path, &body).await;
    assert_eq!(*whole.events().last().unwrap(), "[DONE]", "{}", whole.text);
    gateway.has_spent(167 + 10).await;
    body["max_tokens"] = 100.into();
    let cut = gateway.with(&secret, path, &body).await;
    let last = *cut.events().last().unwrap();
    assert!(last.contains("budget_exceeded"), "{last}");
}

#[tokio::test]
async fn a_picture_counts_also_where_a_stream_is_answered_as_a_whole() {
    let message =
        json!({"role": "assistant", "content": "", "images": [{"image_url": {"url": "data:,"}}]});
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
    let gateway = Gateway::answering(Reply::json(&json!({ "choices": [choice] }))).await;
    let secret = gateway.key(tokens(10_000)).await;
    let answer = gateway
        .with(&secret, "/v1/chat/completions", &streaming("a"))
        .await;
    assert_eq!(
        *answer.events().last().unwrap(),
        "[DONE]",
        "{}",
        answer.text
    );
    gateway.has_spent(1_600 + 10).await;
}

#[tokio::test]
async fn every_answer_of_several_is_reserved() {
    let gateway = Gateway::answering(Reply::ok("hej")).await;
    let secret = gateway.key(tokens(10_000)).await;
    let mut body = asking("a");
    body["n"] = 5.into();
    let asked = gateway.with(&secret, "/v1/chat/completions", &body).await;
    assert_eq!(asked.status, 200, "{}", asked.text);
    let limit: u64 = asked.header("x-modelramp-max-tokens").parse().unwrap();
    assert!((1_900..2_000).contains(&limit), "{limit}");
    // A server may know only one of the fields, and numbers may have a point.
    body["max_completion_tokens"] = 10.into();
    body["max_tokens"] = json!(2_500.0);
    let asked = gateway.with(&secret, "/v1/chat/completions", &body).await;
    assert_eq!(asked.status, 402, "{}", asked.text);
}

#[tokio::test]
async fn money_counts_by_what_the_provider_says() {
    let mut reply: Value = json!({
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hej"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cost": 0.4},
    });
    reply["model"] = "a".into();
    let gateway = Gateway::answering(Reply::json(&reply)).await;
    let secret = gateway
        .key(KeyLimits {
            dollars_per_day: Some(1.0),
            ..KeyLimits::default()
        })
        .await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let answer = gateway
            .with(&secret, "/v1/chat/completions", &asking("a"))
            .await;
        statuses.push(answer.status.as_u16());
        if answer.status == 402 {
            assert!(
                answer
                    .text
                    .contains("the budget of 1.00 USD a day is used up ("),
                "{}",
                answer.text
            );
        }
    }
    // The catalog says that it costs nothing, so nothing is reserved, and the third is over.
    assert_eq!(statuses, [200, 200, 200, 402]);
}

#[tokio::test]
async fn admins_make_limit_and_end_keys_by_procedures() {
    let gateway = Gateway::answering(Reply::ok("hej")).await;
    let call = |method: &'static str, params: Value| gateway.app.call(method, params);
    let wrong = json!({"name": "crm", "models": ["task/chat", "c"]});
    let wrong = call("keys.create", wrong).await.unwrap_err();
    assert!(
        wrong["message"]
            .as_str()
            .unwrap()
            .contains("`models` has `c`; expected"),
        "{wrong}"
    );
    let wrong = call("keys.create", json!({"name": "c r m"}))
        .await
        .unwrap_err();
    assert!(
        wrong["message"]
            .as_str()
            .unwrap()
            .contains("`name` is `c r m`"),
        "{wrong}"
    );
    let limits = json!({"requestsPerMinute": 100, "dollarsPerDay": 2.5});
    let made =
        json!({"name": "crm", "models": ["task/chat", "a"], "limits": limits, "ttlSeconds": 60});
    let made = call("keys.create", made).await.unwrap();
    let again = call("keys.create", json!({"name": "crm"}))
        .await
        .unwrap_err();
    assert_eq!(again["data"]["code"], "CONFLICT");
    let send = async |key: &Value, body: Value| {
        let url = format!("{}/v1/chat/completions", gateway.app.url);
        let request = gateway
            .app
            .http
            .post(url)
            .bearer_auth(key.as_str().unwrap());
        gateway.send(request.body(body.to_string())).await
    };
    assert_eq!(send(&made["key"], asking("task/chat")).await.status, 200);
    assert_eq!(send(&made["key"], asking("b")).await.status, 404);

    let rotated = call("keys.rotate", json!({"name": "crm"})).await.unwrap();
    assert_eq!(send(&rotated["key"], asking("a")).await.status, 200);
    assert_eq!(send(&made["key"], asking("a")).await.status, 200);
    let limits = json!({"tokensPerDay": 1});
    call("keys.limit", json!({"name": "crm", "limits": limits}))
        .await
        .unwrap();
    until("the new limit counts", async || {
        send(&rotated["key"], asking("a")).await.status == 402
    })
    .await;
    let listed = call("keys.list", json!({})).await.unwrap();
    assert_eq!(
        listed[0]["limits"],
        json!({"requestsPerMinute": null, "tokensPerDay": 1, "dollarsPerDay": null, "priority": null})
    );
    assert_eq!(
        (&listed[0]["holds"], &listed[0]["name"]),
        (&json!(true), &json!("crm"))
    );
    assert!(
        !listed
            .to_string()
            .contains(rotated["key"].as_str().unwrap())
    );

    call("keys.revoke", json!({"name": "crm"})).await.unwrap();
    for (method, params) in [
        ("keys.revoke", json!({"name": "crm"})),
        ("keys.rotate", json!({"name": "crm"})),
        ("keys.limit", json!({"name": "nobody", "limits": {}})),
    ] {
        let error = call(method, params).await.unwrap_err();
        assert_eq!(error["data"]["code"], "NOT_FOUND", "{method}");
    }
}
