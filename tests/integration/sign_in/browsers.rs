//! What browsers send, behind proxies and with tracing.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn browsers_behind_proxies_and_with_tracing_may_call() {
    let origin = "https://app.example";
    let rig = rig(&[
        ("CORS_ALLOWED_ORIGINS", origin),
        (
            "TRUSTED_PROXY_HEADERS",
            "x-forwarded-proto,x-forwarded-host",
        ),
    ])
    .await;
    for asked in [
        "x-trpc-source",
        "sentry-trace,baggage",
        "traceparent",
        "x-requested-with,x-anything",
    ] {
        let preflight = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", asked),
        ];
        let (status, headers, _) = rig
            .send("OPTIONS", "/api/trpc/auth.logout", &preflight, None)
            .await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(headers["access-control-allow-headers"], asked);
        assert_eq!(headers["access-control-allow-origin"], origin);
        assert_eq!(headers["access-control-max-age"], "7200");
    }
    let foreign = [
        ("origin", "https://evil.example"),
        ("access-control-request-method", "POST"),
    ];
    let (_, headers, _) = rig
        .send("OPTIONS", "/api/trpc/auth.logout", &foreign, None)
        .await;
    assert!(!headers.contains_key("access-control-allow-origin"));

    let token = rig.token(9, Role::User).await;
    let cookie = format!("navn=S; app_session_id={token}");
    let own = "https://own.example";
    for (more, expected) in [
        (("sec-fetch-site", "same-origin"), 200),
        (("x-forwarded-host", "own.example"), 200),
        (("x-forwarded-host", "other.example"), 403),
        (("sec-fetch-site", "same-site"), 403),
    ] {
        let headers = [("cookie", cookie.as_str()), ("origin", own), more];
        let body = Some(json!({ "json": {} }));
        let (status, _, body) = rig
            .send("POST", "/api/trpc/chat.createConversation", &headers, body)
            .await;
        assert_eq!(status.as_u16(), expected, "{more:?} {body}");
    }

    // Logging out from another site, over the link that answers in parts.
    let headers = [
        ("cookie", cookie.as_str()),
        ("origin", origin),
        ("sec-fetch-site", "cross-site"),
        ("x-forwarded-proto", "https"),
        ("trpc-accept", "application/jsonl"),
    ];
    let body = Some(json!({ "0": { "json": null } }));
    let (status, headers, _) = rig
        .send("POST", "/api/trpc/auth.logout?batch=1", &headers, body)
        .await;
    assert_eq!(status, StatusCode::OK);
    let cleared = headers["set-cookie"].to_str().unwrap();
    assert!(
        cleared.starts_with("app_session_id=;") && cleared.contains("; Secure; SameSite=None"),
        "{cleared}"
    );
    assert_eq!(
        rig.me(&token).await.1["result"]["data"]["json"],
        Value::Null
    );
}
