//! Uploads go through as they come: how large they are makes no difference to the memory.

use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::Value;

use super::old_server::NodeServer;
use crate::support::app::TestApp;

const UPLOADS: usize = 16;
const PARTS: usize = 512;
const PART_BYTES: usize = 64 * 1024;
const MOST_MIB: u64 = 256;

#[tokio::test(flavor = "multi_thread")]
async fn uploads_at_once_take_no_more_memory_than_is_on_its_way() {
    let old = NodeServer::start().await;
    let builder = TestApp::builder()
        .with_setting("LEGACY_TRPC_URL", format!("{}/api/trpc", old.url))
        .with_setting("LEGACY_PATHS", "/api/files");
    let process = builder.spawn().await;
    let uploads = (0..UPLOADS).map(|_| {
        let parts = stream::repeat(Bytes::from(vec![b'x'; PART_BYTES])).take(PARTS);
        let body = reqwest::Body::wrap_stream(parts.map(Ok::<_, std::io::Error>));
        let request = process
            .http
            .post(format!("{}/api/files/upload", process.url));
        request.body(body).send()
    });
    for answer in futures::future::join_all(uploads).await {
        let answer: Value = answer.unwrap().json().await.unwrap();
        assert_eq!(answer["bytes"], PARTS * PART_BYTES);
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()));
    if let Ok(status) = status {
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|line| line.split_whitespace().next());
        let peak_mib = peak.unwrap().parse::<u64>().unwrap() / 1024;
        assert!(peak_mib < MOST_MIB, "{peak_mib} MiB");
    }
}

#[tokio::test]
async fn an_upload_that_is_too_large_is_refused_before_it_is_sent() {
    let old = NodeServer::start().await;
    let app = TestApp::builder()
        .with_setting("LEGACY_TRPC_URL", format!("{}/api/trpc", old.url))
        .with_setting("LEGACY_PATHS", "/api/files")
        .with_setting("LEGACY_MAX_UPLOAD_BYTES", "100000")
        .start()
        .await;
    let upload = |path: &str, bytes| {
        let request = app.http.post(format!("{}{path}", app.url));
        request
            .header("content-type", "application/octet-stream")
            .body(vec![b'x'; bytes])
            .send()
    };
    let right = upload("/api/trpc/old.bytes", 100_000).await.unwrap();
    assert_eq!(right.status(), 200);
    for path in ["/api/trpc/old.bytes", "/api/files/upload"] {
        let wrong = upload(path, 100_001).await.unwrap();
        assert_eq!(wrong.status(), 413, "{path}");
        let text = wrong.text().await.unwrap();
        assert!(text.contains("LEGACY_MAX_UPLOAD_BYTES"), "{text}");
    }
}
