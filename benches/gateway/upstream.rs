//! A model's server that answers the same bytes to everybody: whole, or as a stream of twenty words.
//!
//! Usage: `gateway_upstream PORT`. The model `wait-MS` answers after so many milliseconds, `pace-MS` leaves as many between two
//! words, and `down` answers 503.

use std::{convert::Infallible, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use tokio::time::sleep;

const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1764500000,"model":"mock","choices":[{"index":0,"message":{"role":"assistant","content":"Twenty words are enough for anybody who only wants to know how long it takes to pass an answer on here.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":25,"completion_tokens":20,"total_tokens":45},"service_tier":"default","system_fingerprint":"fp_1"}"#;
const WORDS: usize = 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Some(port) = std::env::args().nth(1) else {
        anyhow::bail!("usage: gateway_upstream PORT");
    };
    let models = r#"{"object":"list","data":[{"id":"mock","object":"model","created":1,"owned_by":"bench"}]}"#;
    let json = |text: &'static str| ([(CONTENT_TYPE, "application/json")], text);
    let app = Router::new()
        .route("/v1/chat/completions", post(answer))
        .route("/v1/models", get(move || async move { json(models) }))
        .route("/health", get(|| async { "ok" }));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    let listener = listener.tap_io(|socket| {
        let _ = socket.set_nodelay(true);
    });
    axum::serve(listener, app).await?;
    Ok(())
}

async fn answer(body: Bytes) -> Response {
    let has = |words: &[u8]| body.windows(words.len()).any(|it| it == words);
    if has(b"\"down\"") {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if let Some(pause) = span_in(&body, b"\"wait-") {
        sleep(pause).await;
    }
    let pace = span_in(&body, b"\"pace-");
    if !has(br#""stream":true"#) {
        return ([(CONTENT_TYPE, "application/json")], ANSWER).into_response();
    }
    let chunk = |delta: &str, finish: &str| {
        Bytes::from(format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1764500000,\
             \"model\":\"mock\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
        ))
    };
    let mut chunks = vec![chunk(r#"{"content":" word"}"#, "null"); WORDS];
    chunks[0] = chunk(r#"{"role":"assistant","content":"word"}"#, "null");
    chunks.push(chunk("{}", "\"stop\""));
    if has(br#""include_usage":true"#) {
        chunks.push(Bytes::from_static(
            b"data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1764500000,\"model\":\"mock\",\
              \"choices\":[],\"usage\":{\"prompt_tokens\":25,\"completion_tokens\":20,\"total_tokens\":45}}\n\n",
        ));
    }
    chunks.push(Bytes::from_static(b"data: [DONE]\n\n"));
    let stream = async_stream::stream! {
        for chunk in chunks {
            yield Ok::<_, Infallible>(chunk);
            // Each is a write of its own, as from a model.
            match pace {
                Some(pause) => sleep(pause).await,
                None => tokio::task::yield_now().await,
            }
        }
    };
    let body = Body::from_stream(stream);
    ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// The milliseconds in the name of a model that begins so.
fn span_in(body: &[u8], begin: &[u8]) -> Option<Duration> {
    let place = body.windows(begin.len()).position(|it| it == begin)?;
    let digits = body[place + begin.len()..].iter();
    let digits = digits.take_while(|byte| byte.is_ascii_digit());
    let digits: Vec<u8> = digits.copied().collect();
    let ms = std::str::from_utf8(&digits).ok()?.parse().ok()?;
    Some(Duration::from_millis(ms))
}
