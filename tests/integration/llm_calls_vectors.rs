//! What the original sent to its providers, what it made of their answers, and how it fell back.

mod recorded;
mod wish;

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use futures::StreamExt;
use modelramp::{
    _core::errors::RpcError,
    model_router::{Call, RouteError},
    providers::{
        ChatRequest,
        connection::Http,
        fault::{Fault, FaultKind},
        openai_compatible::{OpenAiCompatible, endpoint, http_client},
        openrouter,
    },
    recording::Outcome,
};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use self::{
    recorded::{first_of, is_native, is_set, lacks_its_key, requests_of, sent, start},
    wish::{Wish, WishError},
};
use crate::{
    model_router::{call, router},
    model_router_vectors::{catalog, flags_of, subject},
    support::{
        scripted_upstream::Upstream,
        vectors::{self, Case, Rules, plain, thrown},
    },
};

/// How a call ended, as far as both sides can tell.
enum Ending {
    Answer(Value),
    Refused(WishError),
    Failed(Fault),
}

#[tokio::test]
async fn llm_calls_vectors() {
    let Some(cases) = vectors::load("llm_calls.json") else {
        return;
    };
    let mut rules = Rules::new("llm_calls.json");
    for case in &cases {
        match case.function.as_str() {
            "invokeLLM" => invoke(&mut rules, case).await,
            "streamResponse" => stream(&mut rules, case).await,
            "invokeLLMWithRouting" => routed(&mut rules, case).await,
            other => rules.fail(case, "fn", format_args!("`{other}` is not known")),
        }
    }
    rules.finish();
}

/// A client as the catalog would make it for the provider that the recorded call went to.
fn client(case: &Case, base_url: &str) -> OpenAiCompatible {
    let key = |name: &str| {
        case.env
            .get(name)
            .map(|key| SecretString::from(key.as_str()))
    };
    let is_openrouter = is_set(case, "OPENROUTER_API_KEY");
    let key = match is_openrouter {
        true => key("OPENROUTER_API_KEY"),
        false if is_set(case, "OPENAI_API_KEY") => key("OPENAI_API_KEY"),
        false => None,
    };
    let attribution = [
        ("HTTP-Referer", "http://localhost:3000"),
        ("X-Title", "modelramp"),
    ];
    let headers = attribution.into_iter().filter(|_| is_openrouter);
    // Loading the root certificates takes longer than a call.
    static HTTP: LazyLock<Http> = LazyLock::new(|| http_client().unwrap());
    OpenAiCompatible::new(HTTP.clone(), base_url, key, headers).unwrap()
}

fn model_id(case: &Case, wanted: &Value) -> String {
    let catalog = catalog(openrouter::BASE_URL);
    if let Some(model) = wanted.as_str().and_then(|name| catalog.model(name)) {
        return model.id.clone();
    }
    let recorded = requests_of(case).first();
    let recorded = recorded.and_then(|request| request["body"]["model"].as_str());
    recorded.unwrap_or("z-ai/glm-4.5-air:free").to_owned()
}

async fn invoke(rules: &mut Rules, case: &Case) {
    let upstream = start(case).await;
    let input = plain(&case.input);
    let wish: Wish = serde_json::from_value(input.clone()).unwrap();
    let end = match wish.into_request(model_id(case, &input["model"])) {
        Err(error) => Ending::Refused(error),
        Ok(request) => {
            let deadline = Instant::now() + Duration::from_secs(5);
            match client(case, &upstream.base_url)
                .complete(&request, deadline)
                .await
            {
                Ok(completion) => Ending::Answer(serde_json::from_str(&completion.raw).unwrap()),
                Err(fault) => Ending::Failed(fault),
            }
        }
    };
    compare_requests(rules, case, &upstream);
    let recorded = &case.output;
    let (native, keyless) = (is_native(case), lacks_its_key(case));
    match (thrown(recorded), end) {
        (None, Ending::Answer(answer)) => {
            let excuses = [("C24", native)];
            rules.compare_fields(case, &answer, &recorded["value"], |_| excuses.to_vec());
        }
        (Some(text), Ending::Refused(error)) => {
            rules.compare(case, "throws", &json!(error.to_string()), &json!(text), &[]);
        }
        (Some(_), _) if keyless => rules.excuse("C26", "throws"),
        (Some(text), Ending::Failed(fault)) => compare_failure(rules, case, text, &fault),
        (None, Ending::Failed(_)) => {
            let body = &first_of(case)["body"];
            let choice = &body["choices"][0];
            // Neither a text nor the call of a tool that was offered.
            let said = choice["message"]["content"].as_str().unwrap_or("").trim();
            let offered = input["tools"]
                .as_array()
                .is_some_and(|tools| !tools.is_empty());
            let has_call = choice["message"].get("tool_calls").is_some();
            let is_empty = said.is_empty() && !(offered && has_call);
            let hides_error = body.get("error").is_some() || choice.is_null() || is_empty;
            let excuses = [("C24", native || hides_error)];
            rules.compare(case, "output", &json!("a fault"), recorded, &excuses);
        }
        (None, Ending::Refused(error)) => {
            let told = json!(error.to_string());
            rules.compare(case, "output", &told, recorded, &[("C24", native)]);
        }
        (Some(text), Ending::Answer(_)) => {
            rules.compare(
                case,
                "throws",
                &Value::Null,
                &json!(text),
                &[("C24", native)],
            );
        }
    }
}

/// The recorded text is `LLM … failed: <status> <words> – <body>`: status and kind must agree, the
/// words and the body are not repeated (C24).
fn compare_failure(rules: &mut Rules, case: &Case, text: &str, fault: &Fault) {
    let status = text
        .split(": ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let status = status.and_then(|status| status.parse::<u16>().ok());
    if first_of(case).get("networkError").is_some() {
        rules.compare(
            case,
            "kind",
            &json!(fault.kind),
            &json!(FaultKind::Connection),
            &[],
        );
    } else {
        rules.compare(case, "status", &json!(fault.status), &json!(status), &[]);
    }
    rules.excuse("C24", "throws");
    let error = RouteError::AllFailed {
        attempts: 1,
        model: "m".into(),
        kind: fault.kind,
    };
    let told = RpcError::from(error).message;
    let body = first_of(case)["body"].as_str().unwrap_or("");
    if body.len() > 3 && told.contains(body) {
        rules.fail(
            case,
            "throws",
            "the client's text holds the upstream's body",
        );
    }
}

fn compare_requests(rules: &mut Rules, case: &Case, upstream: &Upstream) {
    let (ours, recorded) = (upstream.requests(), requests_of(case));
    let (native, keyless) = (is_native(case), lacks_its_key(case));
    let streams = case.function == "streamResponse";
    let counts = (json!(ours.len()), json!(recorded.len()));
    rules.compare(
        case,
        "requests",
        &counts.0,
        &counts.1,
        &[("C26", keyless), ("C24", streams || native)],
    );
    for (ours, recorded) in ours.iter().zip(recorded) {
        let base_url = if recorded["url"]
            .as_str()
            .unwrap_or("")
            .contains("api.openai.com")
        {
            "https://api.openai.com/v1"
        } else {
            openrouter::BASE_URL
        };
        let url = endpoint(base_url).map(|url| url.to_string());
        rules.compare(
            case,
            "url",
            &json!(url),
            &recorded["url"],
            &[("C24", native)],
        );
        for (name, value) in recorded["headers"].as_object().into_iter().flatten() {
            let header = ours.headers.get(name).and_then(|value| value.to_str().ok());
            let is_attribution =
                ["http-referer", "x-title"].contains(&name.to_lowercase().as_str());
            let excuses = [
                ("C27", is_attribution && header.is_some()),
                ("C26", keyless && name == "authorization"),
            ];
            rules.compare(
                case,
                &format!("header {name}"),
                &json!(header),
                value,
                &excuses,
            );
        }
        let none = Map::new();
        let body = ours.body.as_object().unwrap_or(&none);
        let was = recorded["body"].as_object().unwrap_or(&none);
        for field in was
            .keys()
            .chain(body.keys().filter(|name| !was.contains_key(*name)))
        {
            let value = |body: &Map<String, Value>| body.get(field).cloned().unwrap_or_default();
            let shaped = ["tools", "tool_choice", "response_format", "max_tokens"];
            let excuses = [
                ("C24", native),
                ("C14", field == "model"),
                ("C24", field == "max_tokens"),
                ("C24", streams && shaped.contains(&field.as_str())),
                ("C13", streams && field == "stream_options"),
            ];
            rules.compare(
                case,
                &format!("body {field}"),
                &value(body),
                &value(was),
                &excuses,
            );
        }
        if recorded["hasAbortSignal"] == false {
            rules.excuse("C28", "no time limit");
        }
    }
}

async fn stream(rules: &mut Rules, case: &Case) {
    let upstream = start(case).await;
    let mut input = plain(&case.input[1]);
    if !input.is_object() {
        input = json!({});
    }
    input["messages"] = plain(&case.input[0]);
    let wish: Wish = serde_json::from_value(input.clone()).unwrap();
    let (mut texts, mut end) = (Vec::new(), None);
    match wish.into_request(model_id(case, &input["model"])) {
        Err(error) => end = Some(Ending::Refused(error)),
        Ok(request) => {
            let idle = Duration::from_secs(5);
            let deadline = Instant::now() + idle;
            let client = client(case, &upstream.base_url);
            match client.stream(&request, deadline, idle).await {
                Err(fault) => end = Some(Ending::Failed(fault)),
                Ok(mut deltas) => {
                    while let Some(delta) = deltas.next().await {
                        match delta {
                            Ok(delta) if delta.content.is_empty() => {}
                            Ok(delta) => texts.push(delta.content),
                            Err(fault) => end = Some(Ending::Failed(fault)),
                        }
                    }
                }
            }
        }
    }
    compare_requests(rules, case, &upstream);
    let sent = sent(case);
    let pieces = first_of(case)["chunks"].as_array();
    let is_split = pieces.is_some_and(|pieces| {
        let before = pieces.split_last().map_or(&[][..], |(_, before)| before);
        before
            .iter()
            .any(|piece| piece.as_str().is_some_and(|text| !text.ends_with("\n\n")))
    });
    let is_gemini = sent.contains("\"candidates\"") && !sent.contains("\"choices\"");
    let is_refused = matches!(end, Some(Ending::Refused(_)));
    rules.compare(
        case,
        "chunks",
        &json!(texts),
        &case.output["chunks"],
        &[
            (
                "C24",
                is_split && texts.len() >= case.output["chunks"].as_array().map_or(0, Vec::len),
            ),
            ("C24", sent.contains("data:{")),
            ("C24", is_gemini || is_native(case) || is_refused),
        ],
    );
    match (thrown(&case.output), end) {
        (None, None) => {}
        (Some(text), Some(Ending::Failed(fault))) => compare_failure(rules, case, text, &fault),
        (None, Some(_)) => {
            let excuses = [
                ("C24", is_refused),
                (
                    "C24",
                    !sent.contains("\"choices\"") || sent.contains("\"error\""),
                ),
                // Broken off: nothing says that the answer is whole.
                (
                    "C24",
                    !sent.contains("[DONE]") && !sent.contains("finish_reason"),
                ),
                // An answer without text, refusal or call of an offered tool.
                ("C24", texts.iter().all(|text| text.trim().is_empty())),
            ];
            rules.compare(case, "throws", &json!("a fault"), &Value::Null, &excuses);
        }
        (Some(text), _) => {
            let is_engines = text == "Response body is null";
            let excuses = [("C24", is_engines || is_refused)];
            rules.compare(case, "throws", &Value::Null, &json!(text), &excuses);
        }
    }
}

async fn routed(rules: &mut Rules, case: &Case) {
    let upstream = start(case).await;
    let catalog = catalog(&upstream.base_url);
    let input = plain(&case.input);
    let (task, options) = (input[0].as_str().unwrap_or(""), &input[2]);
    let (mut router, events) = router(catalog.clone(), flags_of(case));
    let retries = &options["maxRetries"];
    if let Some(retries) = retries.as_u64() {
        router = router.with_max_fallbacks(usize::try_from(retries).unwrap());
    }
    let request = ChatRequest::new(serde_json::from_value(input[1].clone()).unwrap());
    let call = Call { request, ..call() };
    let subject = subject(&options["userId"]);
    let route = router.select(task, subject.as_ref(), options["forceModel"].as_str());
    let is_stream = options["stream"] == true;
    let (mut texts, mut failed, mut value) = (Vec::new(), None, Value::Null);
    match route {
        Err(error) => failed = Some(error),
        Ok(route) if is_stream => match router.stream(&route, call).await {
            Err(error) => failed = Some(error),
            Ok(mut answer) => {
                while let Some(delta) = answer.deltas.next().await {
                    match delta {
                        Ok(delta) => texts.push(delta.content),
                        Err(error) => failed = Some(error),
                    }
                }
            }
        },
        Ok(route) => match router.complete(&route, call).await {
            Ok(answer) => value = serde_json::from_str(&answer.completion.raw).unwrap(),
            Err(error) => failed = Some(error),
        },
    }

    let (requests, recorded) = (upstream.requests(), requests_of(case));
    let events = events.all();
    // C14: what is sent is what was chosen, attempt by attempt.
    for (position, (request, event)) in requests.iter().zip(&events).enumerate() {
        let id = catalog.model(&event.model).map(|model| json!(model.id));
        if Some(&request.body["model"]) != id.as_ref() {
            rules.fail(
                case,
                "model",
                "the model that was sent is not the one that was chosen",
            );
        }
        let Some(recorded) = recorded.get(position) else {
            continue;
        };
        rules.compare(
            case,
            "model",
            &request.body["model"],
            &recorded["model"],
            &[("C14", true)],
        );
        let roles = |body: &Value| {
            let messages = body["messages"].as_array().cloned().unwrap_or_default();
            messages
                .iter()
                .map(|message| message["role"].clone())
                .collect::<Value>()
        };
        rules.compare(case, "roles", &roles(&request.body), &roles(recorded), &[]);
    }

    let metrics = &case.rest["metrics"];
    let repeats = metrics["requestsByModel"].as_object().into_iter().flatten();
    let repeats = repeats
        .into_iter()
        .any(|(_, count)| count.as_u64() > Some(1));
    let first = first_of(case)["status"].as_u64();
    let incurable = matches!(first, Some(400..=403 | 412 | 413 | 422));
    let forced = options["forceModel"]
        .as_str()
        .filter(|name| !name.is_empty());
    let excuses = [
        ("C11", catalog.task(task).is_none()),
        (
            "C11",
            forced.is_some_and(|name| catalog.model(name).is_none()),
        ),
        (
            "C10",
            forced.is_some_and(|name| metrics["requestsByModel"].get(name).is_none()),
        ),
        ("C24", incurable),
        ("C24", repeats),
        ("C13", is_stream),
        ("C29", retries.as_i64().is_some_and(|retries| retries < 0)),
    ];
    let (mut by_model, mut failures) = (BTreeMap::<&str, u32>::new(), BTreeMap::<&str, u32>::new());
    for event in &events {
        *by_model.entry(&event.model).or_default() += 1;
        let failed = u32::from(event.outcome != Outcome::Success);
        *failures.entry(&event.model).or_default() += failed;
    }
    let rate = |(model, failed): (&&str, &u32)| {
        (
            (*model).to_owned(),
            json!(f64::from(*failed) / f64::from(by_model[model]) * 100.0),
        )
    };
    let ours = json!({
        "totalRequests": events.len(),
        "failedRequests": failures.values().sum::<u32>(),
        "requestsByModel": by_model,
        "errorRateByModel": failures.iter().map(rate).collect::<Map<_, _>>(),
    });
    rules.compare_fields(case, &ours, metrics, |_| excuses.to_vec());

    let output = &case.output;
    let recorded_failure = thrown(output).or_else(|| thrown(&output["stream"]));
    let classes = (json!(failed.is_some()), json!(recorded_failure.is_some()));
    rules.compare(case, "failed", &classes.0, &classes.1, &excuses);
    if recorded_failure.is_some() {
        rules.excuse("C24", "throws");
    }
    if let (Some(recorded), None) = (output.get("value"), &failed) {
        rules.compare_fields(case, &value, recorded, |_| Vec::new());
    }
    if is_stream {
        rules.compare(
            case,
            "chunks",
            &json!(texts),
            &output["stream"]["chunks"],
            &[],
        );
        rules.excuse("C13", "metricsWhenReturned");
    }
    rules.excuse("C28", "log");
}
