mod wording;

use serde_json::json;

use super::*;

fn kind(status: u16, body: &Value) -> FaultKind {
    Fault::of_response(status, &HeaderMap::new(), body.to_string().as_bytes()).kind
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect()
}

#[test]
fn every_kind_has_the_owner_that_is_documented_and_its_serialised_name() {
    const OWNERS: [&str; 4] = ["the model", "our account", "the request", "open"];
    let rows = include_str!("../../../docs/upstreams.md").lines();
    let rows = rows.map(|row| row.split(" | ").collect::<Vec<_>>());
    let rows: Vec<_> = rows
        .filter(|row| row.get(1).is_some_and(|it| OWNERS.contains(it)))
        .collect();
    for kind in FaultKind::ALL {
        let row = rows.iter().find(|it| it[0].contains(&format!("`{kind}`")));
        let owner = match kind {
            // It is one of those that are open, once another model has answered.
            FaultKind::Rejected => "the model",
            _ => row.expect("a row")[1],
        };
        let is_of = [kind.is_models_fault(), kind.is_accounts()];
        let expected = ["the model", "our account"].map(|it| it == owner);
        assert_eq!(is_of, expected, "{kind}: {owner}");
        assert_eq!(serde_json::to_value(kind).unwrap(), json!(kind.name()));
    }
}

#[test]
fn all_kinds_are_listed_and_documented() {
    let schema = schemars::schema_for!(FaultKind);
    let variants = schema.get("oneOf").and_then(Value::as_array).unwrap();
    let serialised: Vec<_> = variants.iter().map(|variant| &variant["const"]).collect();
    assert_eq!(serialised, FaultKind::ALL.map(FaultKind::name));
    let docs = include_str!("../../../docs/upstreams.md");
    for kind in FaultKind::ALL {
        assert!(
            docs.contains(&format!("`{kind}`")),
            "docs/upstreams.md lacks `{kind}`"
        );
    }
}

#[test]
fn a_status_alone_is_judged() {
    for (status, expected) in [
        (302, FaultKind::InvalidReply),
        (400, FaultKind::BadRequest),
        (401, FaultKind::Authentication),
        (402, FaultKind::Payment),
        (403, FaultKind::Refused),
        (404, FaultKind::NotFound),
        (408, FaultKind::Timeout),
        (413, FaultKind::ContextLength),
        (422, FaultKind::BadRequest),
        (429, FaultKind::ProviderRateLimited),
        (500, FaultKind::Upstream),
        (503, FaultKind::Upstream),
        (504, FaultKind::Timeout),
        (529, FaultKind::Upstream),
    ] {
        let fault = Fault::of_response(status, &HeaderMap::new(), b"<html>oops</html>");
        assert_eq!((fault.kind, fault.status), (expected, Some(status)));
    }
}

#[test]
fn a_name_in_the_body_wins_over_the_status() {
    let typed = |name: &str| json!({"error": {"code": 400, "message": "x", "metadata": {"error_type": name}}});
    assert_eq!(
        kind(400, &typed("context_length_exceeded")),
        FaultKind::ContextLength
    );
    assert_eq!(
        kind(400, &typed("provider_unavailable")),
        FaultKind::Upstream
    );
    assert_eq!(kind(400, &typed("something_new")), FaultKind::BadRequest);
    let quota = json!({"error": {"code": "insufficient_quota", "message": "x"}});
    assert_eq!(kind(429, &quota), FaultKind::Payment);
    let llama = json!({"error": {"code": 400, "type": "exceed_context_size_error"}});
    assert_eq!(kind(400, &llama), FaultKind::ContextLength);
}

#[test]
fn words_tell_a_context_that_is_too_small_and_a_model_that_is_not_there() {
    let message = |text: &str| json!({"error": {"code": 400, "message": text}});
    assert_eq!(
        kind(
            400,
            &message("This endpoint's maximum context length is 8192 tokens")
        ),
        FaultKind::ContextLength
    );
    assert_eq!(
        kind(400, &message("nope/x is not a valid model ID")),
        FaultKind::NotFound
    );
}

#[test]
fn an_error_inside_a_200_is_judged_by_its_own_code() {
    let of = |error: Value| Fault::of_error(&error).kind;
    assert_eq!(
        of(json!({"code": 429, "message": "slow"})),
        FaultKind::ProviderRateLimited
    );
    assert_eq!(of(json!({"code": "502"})), FaultKind::Upstream);
    assert_eq!(of(json!({"code": "server_error"})), FaultKind::Upstream);
    assert_eq!(of(json!({"code": 403})), FaultKind::Refused);
    assert_eq!(of(json!({"message": "?"})), FaultKind::Upstream);
    assert_eq!(of(json!("plain text")), FaultKind::Upstream);
    assert_eq!(of(json!({"code": 99999999})), FaultKind::Upstream);
}

#[test]
fn the_platforms_limit_differs_from_a_providers() {
    let platform = headers(&[("x-ratelimit-limit", "50"), ("x-ratelimit-remaining", "0")]);
    let plain = json!({"error": {"code": 429, "message": "Rate limit exceeded"}}).to_string();
    let of_provider =
        json!({"error": {"code": 429, "metadata": {"provider_code": "busy"}}}).to_string();
    let judge =
        |headers: &HeaderMap, body: &str| Fault::of_response(429, headers, body.as_bytes()).kind;
    assert_eq!(judge(&platform, &plain), FaultKind::RateLimited);
    assert_eq!(
        judge(&platform, &of_provider),
        FaultKind::ProviderRateLimited
    );
    assert_eq!(
        judge(&HeaderMap::new(), &plain),
        FaultKind::ProviderRateLimited
    );
    let inside = json!({"code": 429, "metadata": {"headers": {"X-RateLimit-Limit": "50"}, "provider_name": null}});
    assert_eq!(Fault::of_error(&inside).kind, FaultKind::RateLimited);
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let wait =
        |pairs: &[(&'static str, &'static str)]| Fault::of_response(429, &headers(pairs), b"");
    assert_eq!(
        wait(&[("retry-after", "2")]).retry_after,
        Some(Duration::from_secs(2))
    );
    let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    let later = ("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT");
    assert_eq!(
        wait(&[date, later]).retry_after,
        Some(Duration::from_secs(3))
    );
    for reset in ["784111782000", "784111782", "5"] {
        let wait = wait(&[date, ("x-ratelimit-reset", reset)]);
        assert_eq!(wait.retry_after, Some(Duration::from_secs(5)), "{reset}");
    }
    for nonsense in ["-1", "soon", "NaN", "1e300", "inf"] {
        let fault = Fault::of_response(429, &headers(&[("retry-after", nonsense)]), b"");
        assert_eq!(fault.retry_after, None, "{nonsense}");
    }
}

#[test]
fn the_text_of_a_fault_never_holds_the_body() {
    let fault = Fault::of_response(500, &HeaderMap::new(), b"secret upstream words");
    assert!(!fault.to_string().contains("secret"));
    assert_eq!(fault.detail(), "secret upstream words");
    assert_eq!(fault.without("upstream").detail(), "secret [key] words");
    let long = Fault::new(FaultKind::Upstream, "å".repeat(10_000));
    assert_eq!(long.detail().chars().count(), 300);
}

#[test]
fn a_secret_at_a_border_of_what_is_kept_is_replaced_whole() {
    let secret = "sk-0123456789abcdefghijklmnopqrstuvwxyz";
    let borders = [300, 1024, 4000].map(|border| border - 10);
    for start in [290, 299, 262].into_iter().chain(borders) {
        let text = format!("{}{secret} and more", "x".repeat(start));
        for body in [
            text.clone(),
            json!({"error": {"message": text}}).to_string(),
            // Each that is replaced draws what follows nearer.
            format!("{}{secret}", secret.repeat(start / secret.len())),
        ] {
            let fault = Fault::of_response(401, &HeaderMap::new(), body.as_bytes());
            let fault = fault.without(secret);
            assert!(fault.detail().chars().count() <= 300);
            assert!(!fault.detail().contains("sk-"), "{}", fault.detail());
            assert!(!format!("{fault:?}").contains(secret));
        }
    }
}

#[test]
fn a_gateways_status_gives_way_to_the_one_it_wraps() {
    let wrapped = json!({"error": {"message": "Provider returned error", "code": 502}});
    assert_eq!(kind(400, &wrapped), FaultKind::Upstream);
    let numbers = json!({"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-day",
        "metadata": {"headers": {"X-RateLimit-Limit": 50, "X-RateLimit-Remaining": 0}, "provider_name": null}}});
    assert_eq!(kind(429, &numbers), FaultKind::RateLimited);
}

#[test]
fn a_limit_of_the_account_may_be_one_of_each_model() {
    let groq = "Rate limit reached for model `x` in organization `org_1` on tokens per minute (TPM). Please try again in 5s.";
    let openai = "Rate limit reached for gpt-4o in organization org-1 on requests per min (RPM): Limit 3, Used 3.";
    let says = |text: &str| json!({"error": {"message": text}});
    let google = json!([{"error": {"code": 429, "message": "You exceeded your current quota.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [{"violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "31s"}]}}]);
    let free = json!({"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-min.",
        "metadata": {"headers": {"X-RateLimit-Limit": "20", "X-RateLimit-Reset": "60"}}}});
    let relayed = json!({"error": {"code": 429, "message": "Provider returned error",
        "metadata": {"raw": groq, "provider_name": "Groq"}}});
    let mistral = says("Requests rate limit exceeded");
    for (body, expected) in [
        (says(groq), (Cause::AccountLimit, LimitScope::Model)),
        (says(openai), (Cause::AccountLimit, LimitScope::Model)),
        (google, (Cause::AccountLimit, LimitScope::Model)),
        (free, (Cause::AccountLimit, LimitScope::Free)),
        (mistral, (Cause::AccountLimit, LimitScope::Account)),
        (relayed, (Cause::ProviderLimit, LimitScope::Account)),
    ] {
        let fault = Fault::of_response(429, &HeaderMap::new(), body.to_string().as_bytes());
        assert_eq!((fault.cause, fault.scope), expected, "{body}");
    }
}

/// The words of the makers, and what callers of the gateway see.
#[test]
fn a_cause_is_finer_than_its_kind() {
    let cause = |status: u16, body: &str| {
        Fault::of_response(status, &HeaderMap::new(), body.as_bytes()).cause
    };
    let says = |text: &str| json!({"error": {"message": text}}).to_string();
    for (status, text, expected) in [
        (503, "Loading model", Cause::Overloaded),
        (529, "Overloaded", Cause::Overloaded),
        (500, "The server is overloaded", Cause::Overloaded),
        (500, "Internal server error", Cause::UpstreamError),
        (
            503,
            "no provider meets your requirements",
            Cause::PolicyUnroutable,
        ),
        (
            404,
            "No endpoints found matching your data policy",
            Cause::PolicyUnroutable,
        ),
        (
            404,
            "No endpoints found for z-ai/glm-4.5-air:free.",
            Cause::ModelGone,
        ),
        (404, "Not Found", Cause::WrongUrl),
        (
            403,
            "Country, region, or territory not supported",
            Cause::PolicyRegion,
        ),
        (403, "Your input was flagged", Cause::Refused),
        (403, "You may not do this", Cause::BadRequest),
        (413, "Request Entity Too Large", Cause::TooLarge),
        (413, "The prompt is too long", Cause::ContextLength),
        (429, "The request queue is full", Cause::Overloaded),
        (429, "Requests rate limit exceeded", Cause::AccountLimit),
        (429, "slow down", Cause::ProviderLimit),
        (400, "Corrupted thought signature.", Cause::ReasoningState),
        (409, "conflict", Cause::UpstreamError),
        (410, "This model was retired", Cause::ModelGone),
        (
            400,
            "User location is not supported for the API use.",
            Cause::PolicyRegion,
        ),
        (
            503,
            "There is no available model provider that meets your routing requirements",
            Cause::PolicyUnroutable,
        ),
        (
            429,
            "Service tier capacity exceeded for this model.",
            Cause::Overloaded,
        ),
        (522, "", Cause::UpstreamError),
        (524, "", Cause::TimeoutUpstream),
    ] {
        assert_eq!(cause(status, &says(text)), expected, "{status} {text}");
    }
    assert_eq!(cause(404, "<html>nginx</html>"), Cause::WrongUrl);
    assert_eq!(cause(307, ""), Cause::WrongUrl);
    assert_eq!(cause(405, ""), Cause::WrongUrl);
    let named = json!({"error": {"code": "content_filter", "message": "x"}}).to_string();
    assert_eq!(cause(400, &named), Cause::Refused);
    let failed = json!({"error": {"code": "tool_use_failed", "message": "x"}}).to_string();
    let failed = Fault::of_response(400, &HeaderMap::new(), failed.as_bytes());
    assert_eq!(
        (failed.kind, failed.cause),
        (FaultKind::InvalidReply, Cause::BadGeneration)
    );
    for kind in FaultKind::ALL {
        assert_eq!(Fault::new(kind, "").cause, Cause::of_kind(kind));
    }
}
