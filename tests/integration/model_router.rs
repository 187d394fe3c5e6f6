//! Calls through the router against upstreams that misbehave in every known way.

mod breaker;
mod explain;
mod keys;
mod quality;
mod quota;
mod repeats;
mod streams;

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::StreamExt;
use modelramp::{
    _core::{
        assignment::{Algorithm, Subject, Variant},
        caller::{Caller, Role, User},
        context::Context,
        environment::Environment,
        errors::{ErrorCode, RpcError},
        feature_flags::{FeatureFlags, FlagsConfig, LiveRollout},
        procedure::Input,
        registry::Registry,
        tasks::Tasks,
        units::{Microdollars, Percent},
    },
    config::{ModelsConfig, ProvidersConfig},
    model_router::{
        Answer, Call, Clients, ModelRouter, Recorder, Route, RouteError, Trail, Urgency,
        catalog::{Access, Catalog},
    },
    providers::{
        ChatRequest, Message,
        fault::FaultKind,
        quality::{Checks, Language, Quality, Schema},
        sandbox::Sandbox,
    },
    recording::{Event, Outcome},
    routers::models_router,
};
use parking_lot::Mutex;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::support::scripted_upstream::{End, Reply, Upstream, token};

/// Keeps the events, in order.
#[derive(Default)]
pub(crate) struct Events(Mutex<Vec<Event>>);

impl Recorder for Events {
    fn record(&self, event: Event) {
        self.0.lock().push(event);
    }
}

impl Events {
    pub(crate) fn all(&self) -> Vec<Event> {
        self.0.lock().clone()
    }

    fn outcomes(&self) -> Vec<(String, Outcome)> {
        let events = self.all();
        let pairs = events.iter().map(|e| (e.model.to_string(), e.outcome));
        pairs.collect()
    }
}

/// Flags with nothing set: everybody is control.
pub(crate) fn flags() -> FlagsConfig {
    FlagsConfig {
        percentage: Percent::ZERO,
        force_openrouter: false,
        force_server_side_chat: false,
        force_streaming: false,
        force_model_routing: false,
        force_utcp: false,
        model_routing: true,
        algorithm: Algorithm::LegacyModulo,
        salt: "test".into(),
        forced_on: vec![],
        forced_off: vec![],
    }
}

/// Everybody gets the candidate, by a rollout that judges.
fn in_rollout(candidate: &[&str], control: &[&str]) -> Arc<FeatureFlags> {
    let names = |models: &[&str]| models.iter().map(|name| (*name).to_owned()).collect();
    let flags = Arc::new(FeatureFlags::new(flags()));
    flags.publish(&[Arc::new(LiveRollout {
        id: "r".into(),
        is_open: true,
        tasks: vec!["chat".into()],
        algorithm: Algorithm::Murmur3,
        salt: "test".into(),
        share: Percent::new(100.0).unwrap(),
        forced_on: HashSet::new(),
        forced_off: HashSet::new(),
        candidate: Some(names(candidate)),
        control: Some(names(control)),
        began: Vec::new(),
        plan: "plan".into(),
        ended: None,
        is_released: false,
    })]);
    flags
}

pub(crate) fn candidates() -> FlagsConfig {
    FlagsConfig {
        force_openrouter: true,
        ..flags()
    }
}

/// A router over a catalog, with its events.
pub(crate) fn router(catalog: Catalog, flags: FlagsConfig) -> (ModelRouter, Arc<Events>) {
    let events = Arc::new(Events::default());
    let clients = Clients::connect(&catalog, None).unwrap();
    let router = ModelRouter::new(
        catalog,
        clients,
        Arc::new(FeatureFlags::new(flags)),
        events.clone(),
        Duration::from_secs(5),
    );
    (router, events)
}

/// Models `a`, `b` and `c` at one upstream, `d` at another.
fn catalog(one: &Upstream, other: &Upstream) -> Catalog {
    let mut text = format!(
        "[providers.one]\nbase_url = \"{}\"\n[providers.other]\nbase_url = \"{}\"\n",
        one.base_url, other.base_url
    );
    for (name, provider, context) in [
        ("a", "one", 8000),
        ("b", "one", 8000),
        ("c", "one", 32000),
        ("d", "other", 8000),
    ] {
        text += &format!(
            "[models.{name}]\nprovider = \"{provider}\"\nid = \"id-{name}\"\ncontext = {context}\n\
             prices = {{ prompt = 10, completion = 100.0 }}\n"
        );
    }
    text += "[tasks.chat]\ncandidate = [\"a\", \"b\", \"c\"]\ncontrol = [\"a\", \"b\"]\n\
             [tasks.mixed]\ncandidate = [\"a\", \"b\", \"d\"]\ncontrol = [\"a\"]\n";
    Catalog::parse(&text).unwrap()
}

/// The route of user 5 for a task.
pub(crate) fn route(router: &ModelRouter, task: &str) -> Route {
    router.select(task, Some(&Subject::User(5)), None).unwrap()
}

pub(crate) fn call() -> Call {
    Call {
        request_id: "r1".into(),
        request: ChatRequest::new(vec![Message::text("user", "hej")]),
        deadline: Instant::now() + Duration::from_secs(20),
        stream_deadline: None,
        urgency: Urgency::default(),
        trail: Trail::default(),
    }
}

/// The answer to user 5 for a task.
async fn complete(router: &ModelRouter, task: &str) -> Result<Answer, RouteError> {
    complete_call(router, task, call()).await
}

async fn complete_call(router: &ModelRouter, task: &str, call: Call) -> Result<Answer, RouteError> {
    let route = router.select(task, Some(&Subject::User(5)), None)?;
    router.complete(&route, call).await
}

fn kind(kind: FaultKind) -> Outcome {
    Outcome::Fault(kind)
}

/// One call to the candidates of `chat`: who was asked, what was recorded, how it ended.
async fn run(
    replies: Vec<Reply>,
) -> (
    Vec<String>,
    Vec<(String, Outcome)>,
    Result<String, RouteError>,
) {
    let upstream = Upstream::start(replies).await;
    let (router, events) = router(catalog(&upstream, &upstream), candidates());
    let result = complete(&router, "chat").await;
    let text = result.map(|answer| answer.completion.content);
    (upstream.models(), events.outcomes(), text)
}

#[tokio::test]
async fn the_chosen_model_is_sent_and_its_event_is_complete() {
    let upstream = Upstream::start(vec![Reply::ok("hej")]).await;
    let (router, events) = router(catalog(&upstream, &upstream), candidates());
    let answer = complete(&router, "chat").await.unwrap();
    assert_eq!(answer.completion.content, "hej");
    assert_eq!((&*answer.model, answer.position), ("a", 0));
    assert_eq!(
        upstream.requests()[0].body,
        json!({"model": "id-a", "messages": [{"role": "user", "content": "hej"}]})
    );
    assert_eq!(upstream.requests()[0].path, "/api/v1/chat/completions");
    let [event] = &events.all()[..] else { panic!() };
    assert_eq!(
        (&*event.model, &*event.task, event.user_id),
        ("a", "chat", Some(5))
    );
    assert_eq!((event.prompt_tokens, event.completion_tokens), (3, 2));
    assert_eq!(event.cost, Microdollars(3 * 10 + 2 * 100));
    assert_eq!(
        (event.outcome, event.first_token_ms),
        (Outcome::Success, None)
    );
    assert!(event.latency_ms > 0.0 && event.at_ms > 1_700_000_000_000);
}

#[tokio::test]
async fn a_call_has_one_catalog_from_its_beginning_to_its_end() {
    let old = Upstream::with(|_, request| match request.body["model"] == "id-a" {
        true => Reply::status(500),
        false => Reply::ok("old"),
    });
    let (old, new) = (old.await, Upstream::start(vec![Reply::ok("new")]).await);
    let (router, _) = router(catalog(&old, &old), candidates());
    let route = route(&router, "chat");
    let next = catalog(&new, &new);
    let clients = router.clients_of(&next, None).unwrap();
    router.adopt(next, clients).await;
    let answer = router.complete(&route, call()).await.unwrap();
    assert_eq!((&*answer.completion.content, answer.position), ("old", 1));
    assert!(new.models().is_empty());
    let answer = complete(&router, "chat").await.unwrap();
    assert_eq!((&*answer.completion.content, answer.position), ("new", 0));
}

#[tokio::test]
async fn the_providers_own_figure_of_the_cost_wins() {
    let reply = json!({"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.0042}});
    let upstream = Upstream::start(vec![Reply::json(&reply)]).await;
    let (router, events) = router(catalog(&upstream, &upstream), candidates());
    complete(&router, "chat").await.unwrap();
    assert_eq!(events.all()[0].cost, Microdollars(4200));
}

#[tokio::test]
async fn faults_that_another_model_may_not_have_fall_back() {
    let error = |error: Value| Reply::json(&json!({ "error": error }));
    let choice = |choice: Value| Reply::json(&json!({ "choices": [choice] }));
    for (reply, fault) in [
        (Reply::status(404), FaultKind::NotFound),
        (Reply::status(408), FaultKind::Timeout),
        (Reply::status(429), FaultKind::ProviderRateLimited),
        (Reply::status(500), FaultKind::Upstream),
        (Reply::status(502), FaultKind::Upstream),
        (Reply::status(529), FaultKind::Upstream),
        (Reply::status(302), FaultKind::InvalidReply),
        (Reply::Cut, FaultKind::Connection),
        (
            Reply::Http(200, vec![], "<html>".into()),
            FaultKind::InvalidReply,
        ),
        (
            Reply::Http(200, vec![], String::new()),
            FaultKind::InvalidReply,
        ),
        (
            Reply::Http(200, vec![], "{\"choices\":[{".into()),
            FaultKind::InvalidReply,
        ),
        (
            Reply::Http(200, vec![], "x".repeat(9_000_000)),
            FaultKind::InvalidReply,
        ),
        (
            error(json!({"code": 429, "message": "x"})),
            FaultKind::ProviderRateLimited,
        ),
        (error(json!({"code": "server_error"})), FaultKind::Upstream),
        (choice(json!({"error": {"code": 502}})), FaultKind::Upstream),
        (
            choice(json!({"finish_reason": "error", "message": {"content": ""}})),
            FaultKind::Upstream,
        ),
        (
            Reply::json(&json!({"choices": []})),
            FaultKind::InvalidReply,
        ),
    ] {
        let label = format!("{reply:?}").chars().take(80).collect::<String>();
        let (asked, events, result) = run(vec![reply, Reply::ok("from b")]).await;
        assert_eq!(asked, ["id-a", "id-b"], "{label}");
        let expected = [("a".into(), kind(fault)), ("b".into(), Outcome::Success)];
        assert_eq!(events, expected, "{label}");
        assert_eq!(result.unwrap(), "from b", "{label}");
    }
}

/// A reply that says nothing, in this shape of its first choice.
fn empty(message: &Value, reason: &Value) -> Reply {
    let choice = json!({"message": message, "finish_reason": reason});
    Reply::json(&json!({ "choices": [choice] }))
}

#[tokio::test]
async fn an_answer_that_says_nothing_falls_back_and_counts() {
    let call = json!([{"id": "c", "function": {"name": "f", "arguments": "{}"}}]);
    for (message, reason) in [
        (json!({"content": ""}), json!("stop")),
        (json!({"content": ""}), Value::Null),
        (json!({"content": null, "reasoning": "hm"}), json!("length")),
        (json!({"content": " \u{200b}\n"}), json!("stop")),
        (json!({"content": []}), json!("stop")),
        (json!({"content": ""}), json!("content_filter")),
        (
            json!({"content": null, "tool_calls": call}),
            json!("tool_calls"),
        ),
        (Value::Null, json!("stop")),
    ] {
        let (asked, events, result) = run(vec![empty(&message, &reason), Reply::ok("b")]).await;
        assert_eq!(asked, ["id-a", "id-b"], "{message}");
        assert_eq!(events[0].1, kind(FaultKind::EmptyReply), "{message}");
        assert_eq!(result.unwrap(), "b");
    }
}

#[tokio::test]
async fn a_refusals_words_are_an_answer_with_an_outcome_of_its_own() {
    let refusal = empty(
        &json!({"content": null, "refusal": "I cannot."}),
        &json!("stop"),
    );
    let (asked, events, result) = run(vec![refusal]).await;
    assert_eq!(asked, ["id-a"]);
    assert_eq!(events, [("a".into(), Outcome::Refused)]);
    assert_eq!(result.unwrap(), "I cannot.");
}

#[tokio::test]
async fn the_event_of_an_answer_says_what_is_wrong_with_it() {
    let cut = empty(&json!({"content": "æh"}), &json!("length"));
    let refusal = empty(&json!({"refusal": "I cannot."}), &json!("stop"));
    let stream = Reply::tokens(&["no ", "JSON"]);
    let replies = vec![Reply::ok("7"), Reply::ok("seven"), cut, refusal, stream];
    let upstream = Upstream::start(replies).await;
    let mut catalog = catalog(&upstream, &upstream);
    catalog.tasks[0].checks = Arc::new(Checks {
        schema: Some(Schema::parse(r#"{"type": "number"}"#).unwrap()),
        language: Language::Any,
    });
    let (router, events) = router(catalog, candidates());
    for _ in 0..4 {
        complete(&router, "chat").await.unwrap();
    }
    let streamed = router.stream(&route(&router, "chat"), call()).await;
    let deltas: Vec<_> = streamed.unwrap().deltas.collect().await;
    assert!(deltas.iter().all(Result::is_ok));
    let seen = events.all();
    let seen: Vec<_> = seen
        .iter()
        .map(|it| (it.quality, it.answer_chars))
        .collect();
    let expected = [
        (Quality::Good, 1),
        (Quality::SchemaInvalid, 5),
        (Quality::Truncated, 2),
        (Quality::Refused, 9),
        (Quality::SchemaInvalid, 7),
    ];
    assert_eq!(seen, expected.map(|(it, chars)| (Some(it), Some(chars))));
}

#[tokio::test]
async fn a_refused_request_is_put_to_one_other_model_which_shows_whose_fault_it_was() {
    for status in [400, 403, 405, 409, 412, 415, 422, 451] {
        let refused = Reply::status(status);
        let fault = match status {
            403 => FaultKind::Refused,
            _ => FaultKind::BadRequest,
        };
        let (asked, events, result) = run(vec![refused.clone(), Reply::ok("from b")]).await;
        assert_eq!(asked, ["id-a", "id-b"], "{status}");
        let rejected = ("a".into(), kind(FaultKind::Rejected));
        assert_eq!(events, [rejected, ("b".into(), Outcome::Success)]);
        assert_eq!(result.unwrap(), "from b");

        // A second model that refuses, or fails for a reason of its own, shows nothing against the first.
        for (second, other) in [
            (refused.clone(), fault),
            (Reply::status(503), FaultKind::Upstream),
        ] {
            let replies = vec![refused.clone(), second, Reply::ok("from c")];
            let (asked, events, result) = run(replies).await;
            assert_eq!(asked, ["id-a", "id-b"], "{status}");
            assert_eq!(
                events,
                [("a".into(), kind(fault)), ("b".into(), kind(other))]
            );
            let error = RpcError::from(result.unwrap_err());
            let all = format!("{error} {:?}", error.cause());
            assert!(!all.contains("upstream words"), "{all}");
        }
    }
}

#[tokio::test]
async fn a_refused_stream_is_judged_by_the_model_that_streams() {
    let (result, events) = streams::streamed(vec![Reply::status(422), Reply::tokens(&["b"])]).await;
    assert_eq!(result.unwrap().0, "b");
    let outcomes: Vec<_> = events.iter().map(|event| event.outcome).collect();
    assert_eq!(outcomes, [kind(FaultKind::Rejected), Outcome::Success]);
}

#[tokio::test]
async fn models_with_strict_roles_get_runs_of_messages_joined() {
    let upstream = Upstream::start(vec![Reply::ok("x")]).await;
    let text = format!(
        "[providers.one]\nbase_url = \"{}\"\n[models.a]\nprovider = \"one\"\nid = \"a\"\ncontext = 9\n\
         strict_roles = true\n[models.b]\nprovider = \"one\"\nid = \"b\"\ncontext = 9\n\
         [tasks.strict]\ncandidate = [\"a\"]\ncontrol = [\"a\"]\n[tasks.chat]\ncandidate = [\"b\"]\ncontrol = [\"b\"]\n",
        upstream.base_url
    );
    let (router, _) = router(Catalog::parse(&text).unwrap(), candidates());
    for task in ["strict", "chat"] {
        let messages = vec![Message::text("user", "one"), Message::text("user", "two")];
        let request = ChatRequest::new(messages);
        let call = Call { request, ..call() };
        complete_call(&router, task, call).await.unwrap();
    }
    let sent: Vec<_> = upstream
        .requests()
        .iter()
        .map(|request| request.body["messages"].as_array().unwrap().len())
        .collect();
    assert_eq!(sent, [1, 2]);
}

#[tokio::test]
async fn a_reply_is_read_in_whatever_success_and_dress_it_comes() {
    let body = json!({"choices": [{"message": {"content": "hej"}, "finish_reason": "stop"}]});
    let stream = format!("data: {}\n\ndata: [DONE]\n\n", token("hej"));
    let json = vec![("content-type", "application/json")];
    for reply in [
        Reply::Http(201, json.clone(), body.to_string()),
        Reply::Http(200, json.clone(), format!("\u{feff}{body}")),
        Reply::Http(
            200,
            json,
            body.to_string()
                .replace("\"stop\"", "\"stop\", \"score\": NaN"),
        ),
        Reply::events(vec![stream], End::Clean),
    ] {
        let label = format!("{reply:?}");
        let (asked, events, result) = run(vec![reply]).await;
        assert_eq!(asked.len(), 1, "{label}");
        assert_eq!(events, [("a".into(), Outcome::Success)], "{label}");
        assert_eq!(result.unwrap(), "hej", "{label}");
    }
}

#[tokio::test]
async fn an_accounts_fault_is_cured_by_another_provider_only() {
    let limit = vec![("x-ratelimit-limit", "20"), ("x-ratelimit-remaining", "0")];
    let key_limit =
        json!({"error": {"code": 403, "message": "Key limit exceeded (monthly limit)"}});
    for reply in [
        Reply::status(401),
        Reply::status(402),
        Reply::Http(403, vec![], key_limit.to_string()),
        Reply::Http(429, limit, String::new()),
    ] {
        let one = Upstream::start(vec![reply]).await;
        let other = Upstream::start(vec![Reply::ok("from d")]).await;
        let (router, events) = router(catalog(&one, &other), candidates());
        let answer = complete(&router, "mixed").await.unwrap();
        assert_eq!((&*answer.model, answer.position), ("d", 2));
        assert_eq!(one.models(), ["id-a"]);
        assert_eq!(
            events.all().iter().map(|e| e.position).collect::<Vec<_>>(),
            [0, 2]
        );
        assert!(complete(&router, "chat").await.is_err());
        assert_eq!(one.models().len(), 2);
    }
}

#[tokio::test]
async fn a_context_that_is_too_small_goes_to_a_larger_one() {
    let too_long = json!({"error": {"code": 400, "message": "x", "metadata": {"error_type": "context_length_exceeded"}}});
    let too_long = Reply::Http(400, vec![], too_long.to_string());
    let (asked, events, _) = run(vec![too_long, Reply::ok("x")]).await;
    assert_eq!(asked, ["id-a", "id-c"]);
    assert_eq!(events[0].1, kind(FaultKind::ContextLength));
}

#[tokio::test]
async fn when_all_fail_each_distinct_model_was_asked_once() {
    let (asked, events, result) = run(vec![Reply::status(500)]).await;
    assert_eq!(asked, ["id-a", "id-b", "id-c"]);
    assert_eq!(events.len(), 3);
    let RouteError::AllFailed {
        attempts,
        model,
        kind,
    } = result.unwrap_err()
    else {
        panic!()
    };
    assert_eq!((attempts, &*model, kind), (3, "c", FaultKind::Upstream));
}

#[tokio::test]
async fn a_refused_connection_falls_back() {
    let gone = Upstream::start(vec![Reply::Hang]).await;
    let alive = Upstream::start(vec![Reply::ok("from d")]).await;
    let catalog = catalog(&gone, &alive);
    drop(gone);
    let (router, events) = router(catalog, candidates());
    let answer = complete(&router, "mixed").await.unwrap();
    assert_eq!(&*answer.model, "d");
    assert_eq!(events.outcomes()[0].1, kind(FaultKind::Connection));
}

#[tokio::test]
async fn a_model_that_hangs_is_left_for_the_next() {
    let upstream = Upstream::start(vec![Reply::Hang, Reply::ok("from b")]).await;
    let catalog = catalog(&upstream, &upstream);
    let clients = Clients::connect(&catalog, None).unwrap();
    let events = Arc::new(Events::default());
    let flags = Arc::new(FeatureFlags::new(candidates()));
    let patience = Duration::from_millis(200);
    let router = ModelRouter::new(catalog, clients, flags, events.clone(), patience);
    assert_eq!(complete(&router, "chat").await.unwrap().position, 1);
    let first = &events.all()[0];
    assert_eq!(first.outcome, kind(FaultKind::Timeout));
    assert!(
        (200.0..2000.0).contains(&first.latency_ms),
        "{}",
        first.latency_ms
    );
}

#[tokio::test]
async fn the_deadline_ends_the_call_whatever_is_left_to_try() {
    let upstream = Upstream::start(vec![Reply::Hang]).await;
    let (router, events) = router(catalog(&upstream, &upstream), candidates());
    let deadline = Instant::now() + Duration::from_millis(150);
    let late = || Call { deadline, ..call() };
    let result = complete_call(&router, "chat", late()).await;
    assert!(matches!(
        result,
        Err(RouteError::AllFailed {
            attempts: 1,
            kind: FaultKind::Timeout,
            ..
        })
    ));
    assert_eq!(events.all().len(), 1);
    let result = complete_call(&router, "chat", late()).await;
    assert!(matches!(
        result,
        Err(RouteError::AllFailed { attempts: 0, .. })
    ));
    assert_eq!(upstream.models().len(), 1);
}

#[tokio::test]
async fn a_call_that_is_dropped_is_recorded_as_cancelled() {
    let upstream = Upstream::start(vec![Reply::Hang]).await;
    let (router, events) = router(catalog(&upstream, &upstream), candidates());
    let waiting = complete(&router, "chat");
    assert!(timeout(Duration::from_millis(100), waiting).await.is_err());
    assert_eq!(events.outcomes(), [("a".into(), Outcome::Cancelled)]);
}

#[tokio::test]
async fn users_are_split_by_their_bucket() {
    let upstream = Upstream::start(vec![Reply::ok("x")]).await;
    let text = format!(
        "[providers.p]\nbase_url = \"{}\"\n\
         [models.new]\nprovider = \"p\"\nid = \"new\"\ncontext = 1\n\
         [models.old]\nprovider = \"p\"\nid = \"old\"\ncontext = 1\n\
         [tasks.chat]\ncandidate = [\"new\"]\ncontrol = [\"old\"]\n",
        upstream.base_url
    );
    let share = FlagsConfig {
        percentage: Percent::new(10.0).unwrap(),
        ..flags()
    };
    let (router, events) = router(Catalog::parse(&text).unwrap(), share);
    for id in 1..=100 {
        let subject = Subject::User(id);
        let route = router.select("chat", Some(&subject), None).unwrap();
        router.complete(&route, call()).await.unwrap();
    }
    let asked = upstream.models();
    assert_eq!(asked.iter().filter(|model| *model == "new").count(), 10);
    for (id, event) in (1..=100).zip(events.all()) {
        let is_candidate = event.variant == Variant::Candidate;
        assert_eq!(is_candidate, id % 100 < 10, "user {id}");
        assert_eq!(&*event.model, if is_candidate { "new" } else { "old" });
    }
}

#[tokio::test]
async fn a_forced_model_is_checked_and_then_tried_first() {
    let upstream = Upstream::start(vec![Reply::status(500), Reply::ok("x")]).await;
    let (router, _) = router(catalog(&upstream, &upstream), flags());
    let forced = |model| router.select("chat", Some(&Subject::User(5)), Some(model));
    router
        .complete(&forced("c").unwrap(), call())
        .await
        .unwrap();
    assert_eq!(upstream.models(), ["id-c", "id-b"]);
    let error = RpcError::from(forced("nope").unwrap_err());
    assert_eq!(error.code, ErrorCode::BadRequest);
    assert_eq!(error.message, "unknown model `nope`; known are a, b, c, d");
    let error = RpcError::from(complete(&router, "nope").await.unwrap_err());
    assert_eq!(error.message, "unknown task `nope`; known are chat, mixed");
    router.complete(&forced("").unwrap(), call()).await.unwrap();
    assert_eq!(upstream.models().last().unwrap(), "id-a");
}
