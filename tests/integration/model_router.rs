//! Calls through the router against upstreams that misbehave in every known way.

mod answers;
mod breaker;
mod explain;
mod fallbacks;
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
        catalog::{Catalog, ProviderAccess},
    },
    providers::{
        ChatMessage, ChatRequest,
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

use crate::support::{
    scripted_upstream::{End, Reply, Upstream, token},
    wait::until,
};

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
        judged_share: Percent::ZERO,
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
        request: ChatRequest::new(vec![ChatMessage::text("user", "hej")]),
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
        let messages = vec![
            ChatMessage::text("user", "one"),
            ChatMessage::text("user", "two"),
        ];
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
