//! What leaves: under which terms, and with which placeholders.

use super::*;

/// Tasks at OpenRouter and at a provider of the house, each with what it demands.
async fn guarded(
    demands: &str,
    script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
) -> Gateway {
    let upstream = Upstream::with(script).await;
    let text = format!(
        "[providers.openrouter]\nbase_url = \"{0}\"\n\
         [providers.house]\nbase_url = \"{0}\"\nzdr = true\nregion = \"dk\"\n\
         [models.a]\nprovider = \"openrouter\"\nid = \"a\"\ncontext = 8192\n\
         [models.b]\nprovider = \"openrouter\"\nid = \"b\"\ncontext = 8192\n\
         [models.c]\nprovider = \"house\"\nid = \"c\"\ncontext = 8192\n\
         [tasks.chat]\ncandidate = [\"a\", \"b\", \"c\"]\ncontrol = [\"a\", \"b\", \"c\"]\n\
         [tasks.chat.privacy]\n{demands}\n",
        upstream.base_url
    );
    let app = TestApp::builder().with_catalog(&text).start().await;
    Gateway {
        token: app.setup.admin().await.to_owned(),
        app,
        upstream,
    }
}

#[tokio::test]
async fn what_a_task_demands_goes_with_every_attempt_and_no_caller_loosens_it() {
    let demands = "data_collection = \"deny\"\nzdr = true\nhosts = [\"mistral\"]";
    let gateway = guarded(demands, |_, request| match request.body["model"].as_str() {
        Some("c") => Reply::ok("hej"),
        _ => Reply::status(500),
    })
    .await;
    let mut body = asking("task/chat");
    body["provider"] = json!({"data_collection": "allow", "zdr": false, "only": ["other"]});
    body["plugins"] = json!([{"id": "web"}]);
    body["store"] = true.into();
    for streams in [false, true] {
        body["stream"] = streams.into();
        let answer = gateway.chat(&body).await;
        assert_eq!(answer.header("x-modelramp-model"), "c", "{}", answer.text);
    }
    let requests = gateway.upstream.requests();
    assert_eq!(gateway.upstream.models(), ["a", "b", "c", "a", "b", "c"]);
    let demanded = json!({"data_collection": "deny", "zdr": true, "only": ["mistral"]});
    for request in requests {
        assert_eq!(request.body["store"], false);
        if request.body["model"] != "c" {
            assert_eq!(request.body["provider"], demanded);
            assert!(request.body.get("plugins").is_none());
        }
    }
}

#[tokio::test]
async fn what_is_masked_never_leaves_and_comes_back_whole_and_streamed() {
    let gateway = guarded("mask = [\"email\", \"cpr\"]", |_, request| {
        let messages = request.body["messages"].as_array().unwrap();
        let last = messages.last().unwrap()["content"].as_str().unwrap();
        let echo = format!("Til {last}!");
        if request.body["stream"] == true {
            let letters: Vec<_> = echo.chars().map(String::from).collect();
            let letters: Vec<_> = letters.iter().map(String::as_str).collect();
            let mut pieces = words(&letters);
            pieces.push(chunk(&json!({}), Some("stop")));
            pieces.push(DONE.to_owned());
            return Reply::events(pieces, End::Clean);
        }
        Reply::ok(&echo)
    })
    .await;
    let said = "anna@firma.dk, 010170-1234";
    let mut body = asking("task/chat");
    body["messages"][0]["content"] = said.into();
    let whole = gateway.chat(&body).await.json();
    let content = &whole["choices"][0]["message"]["content"];
    assert_eq!(*content, format!("Til {said}!"));
    body["stream"] = true.into();
    let streamed = gateway.chat(&body).await;
    let text: String = streamed
        .events()
        .iter()
        .filter_map(|event| serde_json::from_str::<Value>(event).ok())
        .filter_map(|event| {
            let content = event["choices"][0]["delta"]["content"].as_str();
            content.map(str::to_owned)
        })
        .collect();
    assert_eq!(text, format!("Til {said}!"));
    assert_eq!(streamed.events().last(), Some(&"[DONE]"));
    let anthropic = json!({"model": "task/chat", "max_tokens": 50, "messages": body["messages"]});
    let anthropic = gateway.post("/v1/messages", anthropic.to_string()).await;
    let content = &anthropic.json()["content"][0]["text"];
    assert_eq!(*content, format!("Til {said}!"));
    for request in gateway.upstream.requests() {
        let sent = request.body.to_string();
        assert!(!sent.contains("anna") && !sent.contains("010170"), "{sent}");
    }
}

#[tokio::test]
async fn vectors_of_a_task_are_masked_too() {
    let vector = |index: u8| json!({"index": index, "embedding": [0.5]});
    let vectors = json!({"data": [vector(0), vector(1)]});
    let gateway = guarded("mask = [\"email\"]", move |_, _| Reply::json(&vectors)).await;
    let body = json!({"model": "task/chat", "input": ["hej", "anna@firma.dk"]});
    let answer = gateway.post("/v1/embeddings", body.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let sent = gateway.upstream.requests()[0].body.to_string();
    assert!(sent.contains("hej") && !sent.contains("anna"), "{sent}");
}

#[tokio::test]
async fn on_responses_what_is_masked_never_leaves_and_comes_back_in_texts_and_arguments() {
    let gateway = guarded("mask = [\"email\", \"cpr\"]", |_, request| {
        let messages = request.body["messages"].as_array().unwrap();
        let last = messages.last().unwrap()["content"].as_str().unwrap().to_owned();
        if request.body["stream"] == true {
            let letters: Vec<_> = last.chars().map(String::from).collect();
            let letters: Vec<_> = letters.iter().map(String::as_str).collect();
            let mut pieces = words(&letters);
            pieces.push(chunk(&json!({}), Some("stop")));
            pieces.push(DONE.to_owned());
            return Reply::events(pieces, End::Clean);
        }
        let arguments = json!({ "to": last }).to_string();
        let call = json!({"id": "c1", "type": "function", "function": {"name": "send", "arguments": arguments}});
        Reply::json(&json!({"choices": [{
            "message": {"role": "assistant", "content": format!("Til {last}"), "tool_calls": [call]},
            "finish_reason": "tool_calls",
        }]}))
    })
    .await;
    let said = "anna@firma.dk, 010170-1234";
    let mut body = json!({
        "model": "task/chat",
        "instructions": "Skriv til anna@firma.dk",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Hvem er 010170-1234?"}]},
            {"type": "function_call", "call_id": "c0", "name": "send", "arguments": "{\"to\":\"anna@firma.dk\"}"},
            {"type": "function_call_output", "call_id": "c0", "output": "Sendt til anna@firma.dk"},
            {"role": "user", "content": said},
        ],
        "tools": [{"type": "function", "name": "send", "parameters": {"type": "object"}}],
    });
    let whole = gateway.post("/v1/responses", body.to_string()).await.json();
    let output = whole["output"].as_array().unwrap();
    let of = |kind: &str| output.iter().find(|it| it["type"] == kind).unwrap().clone();
    assert_eq!(of("message")["content"][0]["text"], format!("Til {said}"));
    let arguments: Value =
        serde_json::from_str(of("function_call")["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({ "to": said }));
    body["stream"] = true.into();
    let streamed = gateway.post("/v1/responses", body.to_string()).await;
    let events: Vec<Value> = streamed
        .events()
        .iter()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    let deltas = events
        .iter()
        .filter(|it| it["type"] == "response.output_text.delta");
    let text: String = deltas.map(|it| it["delta"].as_str().unwrap()).collect();
    assert_eq!(text, said);
    let done = events
        .iter()
        .find(|it| it["type"] == "response.completed")
        .unwrap();
    assert_eq!(done["response"]["output"][0]["content"][0]["text"], said);
    for request in gateway.upstream.requests() {
        let sent = request.body.to_string();
        assert!(
            !sent.contains("anna@") && !sent.contains("010170"),
            "{sent}"
        );
    }
}

#[tokio::test]
async fn a_plan_that_names_a_model_which_may_not_get_the_texts_is_refused() {
    let upstream = Upstream::with(|_, _| Reply::ok("hej")).await;
    let text = format!(
        "[providers.far]\nbase_url = \"{0}\"\n[providers.near]\nbase_url = \"{0}\"\nregion = \"eu\"\n\
         [models.far]\nprovider = \"far\"\nid = \"far\"\ncontext = 8192\n\
         [models.near]\nprovider = \"near\"\nid = \"near\"\ncontext = 8192\n\
         [tasks.chat]\ncandidate = [\"near\"]\ncontrol = [\"near\"]\nprivacy = {{ regions = [\"eu\"] }}\n\
         [tasks.open]\ncandidate = [\"near\"]\ncontrol = [\"near\"]\n",
        upstream.base_url
    );
    let app = TestApp::builder().with_catalog(&text).start().await;
    let start = async |tasks: &str| {
        let plan = format!(
            "name = \"p\"\n{tasks}candidate = [\"far\"]\n[[stages]]\nshare = 10\nsoak = \"1h\"\n"
        );
        app.call("rollout.start", json!({"plan": plan, "reason": "a test"}))
            .await
    };
    for tasks in ["tasks = [\"chat\"]\n", ""] {
        let error = start(tasks).await.unwrap_err().to_string();
        assert!(
            error.contains("model `far` may not get the texts of task `chat`"),
            "{error}"
        );
    }
    start("tasks = [\"open\"]\n").await.unwrap();
}
