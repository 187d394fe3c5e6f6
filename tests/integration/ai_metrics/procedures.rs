//! The procedures through the registry.

use super::*;
use crate::support::calls;

struct Server {
    registry: Registry,
    metrics: Arc<AiMetrics>,
}

fn server() -> Server {
    let metrics = Arc::new(AiMetrics::new());
    let flags = Arc::new(FeatureFlags::new(FlagsConfig {
        percentage: Percent::new(10.0).unwrap(),
        force_openrouter: false,
        force_server_side_chat: false,
        force_streaming: false,
        force_model_routing: false,
        force_utcp: false,
        model_routing: true,
        algorithm: Algorithm::Murmur3,
        salt: "salt".into(),
        forced_on: Vec::new(),
        forced_off: Vec::new(),
    }));
    let mut registry = Registry::new(Tasks::default());
    let state = State::new(metrics.clone(), flags, Duration::from_secs(1));
    ai_metrics_router::register(&mut registry, state, None);
    Server { registry, metrics }
}

fn context(role: Option<Role>) -> Context {
    let caller = role.map_or(Caller::Anonymous, |role| calls::user(7, role));
    Context::new(caller, time(NOW))
}

impl Server {
    async fn call(&self, path: &str, role: Option<Role>, input: Input) -> Result<Value, ErrorCode> {
        let answer = calls::call(&self.registry, context(role), path, input).await;
        answer.map_err(|error| error.code)
    }

    async fn summary_of(&self, input: Input) -> Result<Value, ErrorCode> {
        self.call("aiMetrics.getSummary", Some(Role::User), input)
            .await
    }
}

#[tokio::test]
async fn the_window_is_an_hour_where_nothing_is_said() {
    let server = server();
    server.metrics.record(event(NOW - 30 * MINUTE, 10.0));
    for input in [
        Input::Absent,
        Input::Json(json!({})),
        Input::Json(json!({"lastMinutes": 30})),
    ] {
        assert_eq!(server.summary_of(input).await.unwrap()["totalRequests"], 1);
    }
    let shorter = Input::Json(json!({"lastMinutes": 29.99}));
    assert_eq!(
        server.summary_of(shorter).await.unwrap()["totalRequests"],
        0
    );
}

#[tokio::test]
async fn a_window_out_of_range_or_no_number_is_refused() {
    let server = server();
    for input in [
        json!(null),
        json!({"lastMinutes": null}),
        json!({"lastMinutes": "60"}),
        json!({"lastMinutes": 0.5}),
        json!({"lastMinutes": 10_080.5}),
        json!({"lastMinutes": -1}),
    ] {
        let refused = server.summary_of(Input::Json(input.clone())).await;
        assert_eq!(refused, Err(ErrorCode::BadRequest), "{input}");
    }
}

#[tokio::test]
async fn the_summary_carries_its_health() {
    let health = server().summary_of(Input::Absent).await.unwrap()["health"].clone();
    assert_eq!(
        health,
        json!({"healthy": true, "status": "no-data", "warnings": [], "critical": []})
    );
}

#[tokio::test]
async fn a_breakdown_has_the_time_of_the_call() {
    let server = server();
    let path = "aiMetrics.getModelBreakdown";
    let reply = server
        .call(path, Some(Role::User), Input::Absent)
        .await
        .unwrap();
    assert_eq!(reply["timestamp"], json!(time(NOW)));
    assert_eq!(reply["models"], json!({}));
    assert_eq!(reply["variants"]["control"]["requests"], 0);
}

#[tokio::test]
async fn health_judges_the_last_hour_at_the_live_share() {
    let server = server();
    for i in 0..20 {
        let mut event = event(NOW, 100.0);
        if i < 3 {
            event.outcome = Outcome::Fault(FaultKind::Upstream);
        }
        server.metrics.record(event);
    }
    let path = "aiMetrics.checkRolloutHealth";
    let reply = server
        .call(path, Some(Role::User), Input::Absent)
        .await
        .unwrap();
    assert_eq!(
        reply,
        json!({
            "healthy": false, "status": "critical", "warnings": [],
            "critical": ["Error rate too high: 15.0% (threshold: 5%)"],
            "canProceed": false,
            "recommendation": "Critical issues detected: Error rate too high: 15.0% (threshold: 5%). Recommend rollback.",
            "metrics": {"totalRequests": 20, "errorRate": 15.0, "avgResponseTime": 100, "p95ResponseTime": 100},
        })
    );
}

#[tokio::test]
async fn the_log_is_for_admins_and_the_rest_for_users() {
    let server = server();
    let log = "aiMetrics.logSummary";
    assert_eq!(
        server.call(log, Some(Role::Admin), Input::Absent).await,
        Ok(json!({"success": true}))
    );
    assert_eq!(
        server.call(log, Some(Role::User), Input::Absent).await,
        Err(ErrorCode::Forbidden)
    );
    for procedure in server.registry.iter().map(|p| p.path) {
        let anonymous = server.call(procedure, None, Input::Absent).await;
        assert_eq!(anonymous, Err(ErrorCode::Unauthorized), "{procedure}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_sends_at_once_and_then_every_interval() {
    let server = server();
    let target = server.registry.resolve("aiMetrics.onSummary");
    let context = context(Some(Role::User));
    let events = target.here().unwrap().subscribe(context, Input::Absent);
    let mut events = events.await.unwrap();
    for expected in 0..3 {
        let event = events.next().await.unwrap().unwrap();
        let summary = event.data.to_value().unwrap();
        assert_eq!(summary["totalRequests"], expected);
        assert!(events.next().now_or_never().is_none());
        server.metrics.record(super::event(NOW, 10.0));
    }
}
