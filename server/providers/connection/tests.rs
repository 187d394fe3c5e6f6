use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use super::*;
use crate::providers::request_body::RequestBody;

/// What an HTTP/2 server does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reaction {
    Answers,
    /// Resets its stream with this code.
    Resets(u8),
    /// Goes away with this code, and says that it took up none of the requests still open.
    GoesAway(u8),
    /// Closes the connection after so many seconds.
    Closes(u64),
}

use Reaction::{Answers, Closes, GoesAway, Resets};

const NO_ERROR: u8 = 0;
const INTERNAL_ERROR: u8 = 2;
const REFUSED_STREAM: u8 = 7;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM_AND_HEADERS: u8 = 5;
/// `:status: 200`, as HPACK's table has it.
const STATUS_200: u8 = 0x88;

async fn write_frame(socket: &mut TcpStream, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    let _ = socket.write_all(&frame).await;
}

/// An HTTP/2 server, and what it still does with requests, whatever their connections.
struct Server {
    url: Url,
    script: Arc<Mutex<VecDeque<Reaction>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's server ends with the test"
)]
async fn server(script: impl IntoIterator<Item = Reaction>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let script = Arc::new(Mutex::new(script.into_iter().collect::<VecDeque<_>>()));
    let reactions = script.clone();
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            connections.spawn(serve(socket, reactions.clone()));
        }
    });
    Server {
        url: url.parse().unwrap(),
        script,
        task,
    }
}

async fn serve(mut socket: TcpStream, script: Arc<Mutex<VecDeque<Reaction>>>) {
    let mut preface = [0; 24];
    socket.read_exact(&mut preface).await.unwrap();
    write_frame(&mut socket, SETTINGS, 0, 0, &[]).await;
    let mut head = [0; 9];
    while socket.read_exact(&mut head).await.is_ok() {
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        if socket.read_exact(&mut payload).await.is_err() {
            return;
        }
        let stream = u32::from_be_bytes(stream);
        match kind {
            SETTINGS if flags & ACK == 0 => write_frame(&mut socket, SETTINGS, ACK, 0, &[]).await,
            HEADERS => {
                let reaction = script.lock().pop_front();
                let (kind, flags, stream, payload) = match reaction.expect("a request too many") {
                    Answers => (HEADERS, END_STREAM_AND_HEADERS, stream, vec![STATUS_200]),
                    Resets(code) => (RST_STREAM, 0, stream, vec![0, 0, 0, code]),
                    GoesAway(code) => (GOAWAY, 0, 0, vec![0, 0, 0, 0, 0, 0, 0, code]),
                    Closes(seconds) => return sleep(Duration::from_secs(seconds)).await,
                };
                write_frame(&mut socket, kind, flags, stream, &payload).await;
            }
            _ => {}
        }
    }
}

/// A client that speaks HTTP/2 without TLS.
fn http() -> Http {
    let builder = || builder(None).http2_prior_knowledge();
    let fresh = builder().pool_max_idle_per_host(0).build().unwrap();
    Http {
        pooled: builder().build().unwrap(),
        proxy: None,
        fresh: Arc::new(OnceLock::from(fresh)),
    }
}

#[tokio::test]
async fn a_request_that_its_server_did_not_begin_with_is_sent_once_more_however_long_it_is() {
    let short = RequestBody::of(vec![Bytes::from_static(b"{}")]);
    let long = RequestBody::of(vec![Bytes::from(vec![b'x'; 50_000]); 2]);
    for body in [&short, &long] {
        for (last, is_answered_when_new, is_answered_when_kept) in [
            (Resets(REFUSED_STREAM), true, true),
            (GoesAway(NO_ERROR), true, true),
            // Some connections end so, and their requests with them.
            (GoesAway(INTERNAL_ERROR), false, true),
            (Resets(INTERNAL_ERROR), false, false),
        ] {
            for (before, is_answered) in [
                (None, is_answered_when_new),
                (Some(Answers), is_answered_when_kept),
            ] {
                let script = before.into_iter().chain([last, Answers]);
                let server = server(script).await;
                let http = http();
                let send = || {
                    let request = || http.post(server.url.clone()).body(body.to_send());
                    http.send(move || request().build())
                };
                if before.is_some() {
                    send().await.unwrap();
                }
                let answer = send().await;
                assert_eq!(
                    answer.is_ok(),
                    is_answered,
                    "{before:?} {last:?} {answer:?}"
                );
                let left = usize::from(!is_answered);
                assert_eq!(server.script.lock().len(), left, "{before:?} {last:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_request_that_is_refused_twice_is_not_sent_a_third_time() {
    let server = server([Resets(REFUSED_STREAM), GoesAway(NO_ERROR), Answers]).await;
    let http = http();
    let request = || http.post(server.url.clone()).body("{}").build();
    http.send(request).await.unwrap_err();
    assert_eq!(*server.script.lock(), [Answers]);
}

#[tokio::test]
async fn a_request_that_its_server_has_had_for_a_while_is_not_sent_once_more() {
    for (seconds, is_answered) in [(0, true), (SOON.as_secs(), false)] {
        let server = server([Answers, Closes(seconds), Answers]).await;
        let http = http();
        let request = || http.post(server.url.clone()).body("{}").build();
        http.send(request).await.unwrap();
        tokio::time::pause();
        let answer = http.send(request).await;
        tokio::time::resume();
        assert_eq!(answer.is_ok(), is_answered, "{seconds} {answer:?}");
    }
}
