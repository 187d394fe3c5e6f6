//! Calls, notifications and batches over HTTP.

use serde_json::{Value, json};

use super::{
    stubs::MEETING,
    support::{Limits, TestServer, read},
};

#[tokio::test]
async fn params_are_by_name_or_one_element_or_absent() {
    let server = TestServer::start().await;
    let echoed = json!({ "text": "hi", "times": 1, "part": null });
    let by_name = server.call("stub.echo", json!({ "text": "hi" })).await;
    assert_eq!(
        by_name,
        json!({ "jsonrpc": "2.0", "id": 1, "result": echoed })
    );
    let by_position = server.call("stub.echo", json!([{ "text": "hi" }])).await;
    assert_eq!(by_position["result"], echoed);
    let list = server.call("stub.sum", json!([[1, 2, 3]])).await;
    assert_eq!(list["result"], 6);

    let absent = r#"{"jsonrpc":"2.0","id":"a","method":"stub.nothing"}"#;
    let (status, answer) = server.post(absent).await;
    let expected = json!({ "jsonrpc": "2.0", "id": "a", "result": "nothing" });
    assert_eq!((status, answer), (200, expected));
    assert_eq!(
        server.call("stub.nothing", json!([])).await["result"],
        "nothing"
    );
}

#[tokio::test]
async fn params_of_any_other_kind_are_invalid() {
    let server = TestServer::start().await;
    for params in [json!("text"), json!(7), json!([1, 2]), json!({ "text": 7 })] {
        let answer = server.call("stub.echo", params.clone()).await;
        assert_eq!(answer["error"]["code"], -32602, "{params}");
        assert_eq!(answer["error"]["data"]["code"], "BAD_REQUEST", "{params}");
        assert_eq!(answer["error"]["data"]["path"], "stub.echo", "{params}");
    }
    // Those who may not call are not told what is wrong.
    let answer = server.call("stub.secret", json!("text")).await;
    assert_eq!(answer["error"]["data"]["code"], "UNAUTHORIZED");
}

#[tokio::test]
async fn errors_have_this_wires_number_and_the_shared_data() {
    let server = TestServer::start().await;
    for (code, number, status) in [
        ("BAD_REQUEST", -32602, 400),
        ("UNAUTHORIZED", -32001, 401),
        ("NOT_FOUND", -32004, 404),
        ("CONFLICT", -32009, 409),
        ("TOO_MANY_REQUESTS", -32029, 429),
        ("BAD_GATEWAY", -32603, 502),
    ] {
        let answer = server.call("stub.fail", json!({ "code": code })).await;
        let error = &answer["error"];
        assert_eq!(error["code"], number, "{code}");
        assert_eq!(error["message"], "as asked for", "{code}");
        assert_eq!(error["data"]["code"], code);
        assert_eq!(error["data"]["httpStatus"], status, "{code}");
        assert_eq!(error["data"]["path"], "stub.fail", "{code}");
        assert!(error["data"]["requestId"].is_string(), "{code}");
    }
    let limited = json!({ "code": "", "rateLimited": true });
    let data = &server.call("stub.fail", limited).await["error"]["data"];
    assert_eq!(data["code"], "RATE_LIMIT_EXCEEDED");
    assert_eq!(data["retryAfter"], "1970-01-01T00:00:00.000Z");
}

#[tokio::test]
async fn an_unknown_method_is_named() {
    let server = TestServer::start().await;
    let answer = server.call("stub.nowhere", json!({})).await;
    assert_eq!(answer["error"]["code"], -32601);
    assert_eq!(
        answer["error"]["message"],
        "No procedure found on path \"stub.nowhere\""
    );
    assert_eq!(answer["error"]["data"]["code"], "NOT_FOUND");
    assert_eq!(answer["error"]["data"]["httpStatus"], 404);
    assert_eq!(answer["error"]["data"]["path"], "stub.nowhere");
}

#[tokio::test]
async fn access_is_the_registrys() {
    let server = TestServer::start().await;
    let call = |method: &str, caller: &str| {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method }).to_string();
        read(server.request(body).bearer_auth(TestServer::token(caller)))
    };
    let anonymous = server.call("stub.whoAmI", Value::Null).await;
    assert_eq!(anonymous["error"]["code"], -32001);
    assert_eq!(anonymous["error"]["message"], "Please login (10001)");
    assert_eq!(call("stub.whoAmI", "bo").await.1["result"], "bo user");
    let (status, refused) = call("stub.secret", "bo").await;
    assert_eq!((status, &refused["error"]["code"]), (200, &json!(-32003)));
    assert_eq!(
        refused["error"]["message"],
        "You do not have required permission (10002)"
    );
    assert_eq!(call("stub.secret", "ann").await.1["result"], "nothing");
    let cookie = server
        .request(r#"{"jsonrpc":"2.0","id":1,"method":"stub.whoAmI"}"#)
        .header("cookie", TestServer::cookie("ann"));
    assert_eq!(read(cookie).await.1["result"], "ann admin");
}

#[tokio::test]
async fn faults_of_the_envelope_have_the_numbers_of_the_specification() {
    let server = TestServer::start().await;
    for (body, number) in [
        ("", -32700),
        ("   ", -32700),
        ("{", -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"#, -32700),
        (r#"[{"jsonrpc":"2.0"},"#, -32700),
        ("nonsense", -32700),
        ("\u{feff}{}", -32700),
        ("7", -32600),
        ("\"text\"", -32600),
        ("null", -32600),
        ("[]", -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
        // JSON, and no request: its id cannot be told.
        ("{}", -32600),
        ("  { } ", -32600),
        (r#"{"jsonrpc":"2.0"}"#, -32600),
        (r#"{"method":7}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":-1,"method":7}"#, -32600),
        (r#"{"jsonrpc":"2.0","params":{"#, -32700),
        (
            r#"{"jsonrpc":"1.0","id":1,"method":"stub.nothing"}"#,
            -32600,
        ),
        (r#"{"id":1,"method":"stub.nothing"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, -32600),
    ] {
        let (status, answer) = server.post(body).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(answer["error"]["code"], number, "{body}: {answer}");
        assert_eq!(answer["jsonrpc"], "2.0", "{body}");
    }
    let invalid = json!({"code": -32600, "message": "Invalid request"});
    let expected = json!({"jsonrpc": "2.0", "id": null, "error": invalid});
    assert_eq!(server.post("{}").await.1, expected);
    assert_eq!(server.post("[{}, {}]").await.1, json!([expected, expected]));
    let (_, answers) = server.post("[1,2]").await;
    assert_eq!(answers[0]["error"]["code"], -32600);
    assert_eq!(answers[1]["error"]["code"], -32600);
    assert_eq!(answers[1]["id"], Value::Null);
}

#[tokio::test]
async fn white_space_before_a_request_does_not_matter() {
    let server = TestServer::start().await;
    let body = " \n".repeat(200) + r#"{"jsonrpc":"2.0","id":1,"method":"stub.nothing"}"#;
    assert_eq!(server.post(body).await.1["result"], "nothing");
}

#[tokio::test]
async fn ids_come_back_as_they_were() {
    let server = TestServer::start().await;
    for id in ["1", "0", "18446744073709551615", "\"text\"", "\"\"", "null"] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"stub.nothing"}}"#);
        let (_, answer) = server.post(body).await;
        assert_eq!(answer["id"].to_string(), id);
        assert_eq!(answer["result"], "nothing", "{id}");
    }
}

#[tokio::test]
async fn an_id_that_cannot_be_held_is_refused_and_nothing_runs() {
    let server = TestServer::start().await;
    let call = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"stub.count"}}"#);
    for id in ["-1", "1.5", "true", "{}", "[1]", "1e3", "1,\"id\":2"] {
        let (status, answer) = server.post(call(id)).await;
        assert_eq!(status, 200, "{id}");
        assert_eq!(answer["error"]["code"], -32600, "{id}: {answer}");
        let (_, answers) = server.post(format!("[{}]", call(id))).await;
        assert_eq!(answers[0]["error"]["code"], -32600, "{id}: {answers}");
    }
    assert_eq!(server.call("stub.count", Value::Null).await["result"], 1);
}

#[tokio::test]
async fn a_notification_runs_and_is_answered_with_nothing() {
    let server = TestServer::start().await;
    let counted = r#"{"jsonrpc":"2.0","method":"stub.count"}"#;
    assert_eq!(server.post(counted).await, (204, Value::Null));
    let batch = format!("[{counted},{counted}]");
    assert_eq!(server.post(batch).await, (204, Value::Null));
    for nowhere in ["stub.nowhere", "stub.panics", "stub.secret", "stub.onTick"] {
        let body = json!({ "jsonrpc": "2.0", "method": nowhere }).to_string();
        assert_eq!(server.post(body).await, (204, Value::Null), "{nowhere}");
    }
    assert_eq!(server.call("stub.count", Value::Null).await["result"], 4);
}

#[tokio::test]
async fn a_notification_within_a_batch_has_no_answer() {
    let server = TestServer::start().await;
    let batch = r#"[{"jsonrpc":"2.0","method":"stub.count"},
        {"jsonrpc":"2.0","id":1,"method":"stub.nothing"}]"#;
    let (status, answers) = server.post(batch).await;
    let expected = json!([{ "jsonrpc": "2.0", "id": 1, "result": "nothing" }]);
    assert_eq!((status, answers), (200, expected));
    server.stubs.until(|seen| seen.counted == 1).await;
}

#[tokio::test]
async fn a_batch_runs_concurrently_and_keeps_its_order() {
    let server = TestServer::start().await;
    // Each waits for all others, so one after another they would never end.
    let calls: Vec<Value> = (0..MEETING)
        .map(|n| {
            let params = json!({ "text": n.to_string() });
            json!({ "jsonrpc": "2.0", "id": n, "method": "stub.meet", "params": params })
        })
        .collect();
    let (_, answers) = server.post(json!(calls).to_string()).await;
    for n in 0..MEETING {
        assert_eq!(answers[n]["id"], n);
        assert_eq!(answers[n]["result"], n.to_string());
    }
}

#[tokio::test]
async fn no_more_calls_of_a_batch_run_at_once_than_allowed() {
    let length = 2 * MEETING;
    let server = TestServer::with(Limits {
        max_batch: length,
        ..Limits::default()
    })
    .await;
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "stub.slowQuery" });
    let ((_, answers), ()) =
        tokio::join!(server.post(json!(vec![call; length]).to_string()), async {
            for finished in 0..length {
                let allowed = (finished + MEETING).min(length);
                let seen = server.stubs.until(|seen| seen.started >= allowed).await;
                assert_eq!((seen.started, seen.finished), (allowed, finished));
                server.stubs.release.add_permits(1);
                server.stubs.until(|seen| seen.finished > finished).await;
            }
        });
    assert_eq!(answers.as_array().unwrap().len(), length);
}

#[tokio::test]
async fn calls_of_a_batch_fail_one_by_one_under_ids_of_their_own() {
    let server = TestServer::start().await;
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"stub.secret"},7,
        {"jsonrpc":"2.0","id":2,"method":"stub.nowhere"}]"#;
    let (_, answers) = server.post(batch).await;
    assert_eq!(answers[0]["error"]["code"], -32001);
    assert_eq!(answers[1]["error"]["code"], -32600);
    assert_eq!(answers[2]["error"]["code"], -32601);
    let request_id = |n: usize| &answers[n]["error"]["data"]["requestId"];
    assert!(request_id(0).is_string() && request_id(2).is_string());
    assert_ne!(request_id(0), request_id(2));
}

#[tokio::test]
async fn a_panic_is_an_internal_error_and_the_server_lives_on() {
    let server = TestServer::start().await;
    let answer = server.call("stub.panics", Value::Null).await;
    assert_eq!(answer["error"]["code"], -32603);
    assert_eq!(answer["error"]["message"], "Internal server error");
    assert_eq!(answer["error"]["data"]["code"], "INTERNAL_SERVER_ERROR");
    assert_eq!(
        server.call("stub.nothing", Value::Null).await["result"],
        "nothing"
    );
}

#[tokio::test]
async fn cookies_and_the_request_id_are_headers_of_the_response() {
    let server = TestServer::start().await;
    let signed_in = server
        .request(r#"{"jsonrpc":"2.0","id":1,"method":"stub.signIn"}"#)
        .send()
        .await
        .unwrap();
    assert_eq!(
        signed_in.headers()["set-cookie"],
        "app_session_id=x; HttpOnly"
    );
    let failed = server
        .request(r#"{"jsonrpc":"2.0","id":1,"method":"stub.secret"}"#)
        .send()
        .await
        .unwrap();
    let request_id = failed.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let error: Value = failed.json().await.unwrap();
    assert_eq!(error["error"]["data"]["requestId"], request_id);
}

#[tokio::test]
async fn a_query_ends_with_its_client_and_a_mutation_does_not() {
    let server = TestServer::start().await;
    for method in ["stub.slowQuery", "stub.slowMutation"] {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method }).to_string();
        let before = server.stubs.until(|_| true).await.started;
        tokio::select! {
            _ = server.request(body).send() => panic!("{method} is not released yet"),
            _ = server.stubs.until(|seen| seen.started > before) => {}
        }
    }
    server.stubs.until(|seen| seen.dropped == 1).await;
    server.stubs.release.add_permits(1);
    let seen = server.stubs.until(|seen| seen.finished == 1).await;
    assert_eq!((seen.started, seen.dropped), (2, 1));
}

#[tokio::test]
async fn a_subscription_needs_a_socket_and_says_so() {
    let server = TestServer::start().await;
    for method in ["stub.onTick", "stub.onTick.unsubscribe"] {
        let answer = server.call(method, json!({})).await;
        assert_eq!(answer["error"]["code"], -32005, "{method}");
        assert_eq!(answer["error"]["data"]["code"], "METHOD_NOT_SUPPORTED");
    }
}
