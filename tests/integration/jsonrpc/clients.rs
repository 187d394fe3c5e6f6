//! Clients that others wrote: jsonrpsee's own, and two from npm.

use futures::StreamExt;
use jsonrpsee::{
    core::{
        ClientError,
        client::{ClientT, Subscription, SubscriptionClientT},
        params::{BatchRequestBuilder, ObjectParams},
    },
    http_client::{HeaderMap, HttpClient},
    rpc_params,
    ws_client::WsClientBuilder,
};
use serde_json::Value;

use super::support::{TestServer, node};

fn bearer(caller: &str) -> HeaderMap {
    let value = format!("Bearer {}", TestServer::token(caller));
    HeaderMap::from_iter([(http::header::AUTHORIZATION, value.parse().unwrap())])
}

fn text(text: &str) -> ObjectParams {
    let mut params = ObjectParams::new();
    params.insert("text", text).unwrap();
    params
}

async fn calls(client: &impl ClientT) {
    let echoed: Value = client.request("stub.echo", text("hi")).await.unwrap();
    assert_eq!(echoed["text"], "hi");
    let sum: u32 = client
        .request("stub.sum", rpc_params![[1, 2]])
        .await
        .unwrap();
    assert_eq!(sum, 3);
    let who: String = client.request("stub.whoAmI", rpc_params![]).await.unwrap();
    assert_eq!(who, "bo user");

    let refused = client
        .request::<String, _>("stub.secret", rpc_params![])
        .await;
    let Err(ClientError::Call(error)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(error.code(), -32003);
    let data: Value = serde_json::from_str(error.data().unwrap().get()).unwrap();
    assert_eq!(data["code"], "FORBIDDEN");

    let mut batch = BatchRequestBuilder::new();
    batch.insert("stub.nothing", rpc_params![]).unwrap();
    batch.insert("stub.secret", rpc_params![]).unwrap();
    let answers = client.batch_request::<String>(batch).await.unwrap();
    assert_eq!(answers.num_successful_calls(), 1);
    assert_eq!(answers.num_failed_calls(), 1);

    client
        .notification("stub.count", rpc_params![])
        .await
        .unwrap();
}

#[tokio::test]
async fn jsonrpsees_http_client_works() {
    let server = TestServer::start().await;
    let client = HttpClient::builder()
        .set_headers(bearer("bo"))
        .build(server.url("/rpc"))
        .unwrap();
    calls(&client).await;
    server.stubs.until(|seen| seen.counted == 1).await;
}

#[tokio::test]
async fn jsonrpsees_socket_client_works() {
    let server = TestServer::start().await;
    let client = WsClientBuilder::default()
        .set_headers(bearer("bo"))
        .build(format!("ws://{}/rpc", server.address))
        .await
        .unwrap();
    calls(&client).await;
    server.stubs.until(|seen| seen.counted == 1).await;

    let mut params = ObjectParams::new();
    params.insert("count", 3).unwrap();
    let ticks: Subscription<u32> = client
        .subscribe("stub.onTick", params, "stub.onTick.unsubscribe")
        .await
        .unwrap();
    // Ends, because the server says so.
    let ticks: Vec<u32> = ticks.map(Result::unwrap).collect().await;
    assert_eq!(ticks, [0, 1, 2]);

    let mut live: Subscription<u32> = client
        .subscribe("stub.onLive", rpc_params![], "stub.onLive.unsubscribe")
        .await
        .unwrap();
    assert_eq!(live.next().await.unwrap().unwrap(), 0);
    live.unsubscribe().await.unwrap();
    server.stubs.until(|seen| seen.dropped == 1).await;
}

#[tokio::test]
async fn clients_from_npm_work() {
    let server = TestServer::start().await;
    let address = server.address.to_string();
    let arguments = [address.as_str(), &TestServer::token("bo")];
    let output = node("jsonrpc", "clients.mjs", &arguments).await;
    assert!(output.ends_with("ok\n"), "{output}");
    assert_eq!(
        server.stubs.until(|seen| seen.counted == 2).await.dropped,
        1
    );
}
