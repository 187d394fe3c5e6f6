//! Old servers: the real one, and those that fail in ways a real one will not.

use std::{process::Stdio, sync::Arc};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

use crate::support::packages;

/// `tests/legacy/server.mjs`; killed with the test.
pub(super) struct NodeServer {
    pub(super) url: String,
    pub(super) child: Child,
}

impl NodeServer {
    pub(super) async fn start() -> Self {
        let folder = tokio::task::spawn_blocking(|| packages::installed("legacy"));
        let mut child = Command::new("node")
            .arg("server.mjs")
            .current_dir(folder.await.unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.next_line().await.unwrap().expect("it says where");
        Self { url, child }
    }
}

/// A server that answers every request with these bytes, and then closes or keeps silent.
pub(super) struct Liar {
    pub(super) url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Liar {
    /// `answer` gets the head of each request.
    #[expect(clippy::disallowed_methods, reason = "a test starts tasks")]
    pub(super) async fn start(
        answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
        stays_open: bool,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let answer = answer.clone();
                tokio::spawn(async move { lie(stream, &*answer, stays_open).await });
            }
        });
        Self { url, task }
    }
}

async fn lie(
    mut stream: TcpStream,
    answer: &(dyn Fn(&str) -> Vec<u8> + Send + Sync),
    stays_open: bool,
) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut part = [0; 4096];
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return,
            Ok(count) => head.extend_from_slice(&part[..count]),
        }
    }
    let _ = stream
        .write_all(&answer(&String::from_utf8_lossy(&head)))
        .await;
    if stays_open {
        // Until the other side has had enough.
        let _ = stream.read_to_end(&mut head).await;
    }
}
