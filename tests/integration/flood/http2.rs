//! Frames of HTTP/2, written by hand: no client library would send them.

use super::server::Server;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A header with a name of the static table, not indexed.
fn header(name: u8, value: &str) -> Vec<u8> {
    let mut field = if name < 15 {
        vec![name]
    } else {
        vec![15, name - 15]
    };
    field.push(value.len() as u8);
    field.extend_from_slice(value.as_bytes());
    field
}

fn head(server: &Server, method: u8, path: &str) -> Vec<u8> {
    // `:method`, `:scheme http`, `:authority`, `:path`, `content-type`.
    let fixed = vec![method, 0x86];
    let rest = [
        header(1, &server.address),
        header(4, path),
        header(31, "application/json"),
    ];
    [fixed, rest.concat()].concat()
}

/// The preface; answers may be so long.
pub(super) fn opening(window: u32) -> Vec<u8> {
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        settings(window),
    ]
    .concat()
}

pub(super) fn settings(window: u32) -> Vec<u8> {
    let mut setting = vec![0, 4];
    setting.extend(window.to_be_bytes());
    frame(SETTINGS, 0, 0, &setting)
}

pub(super) fn ping() -> Vec<u8> {
    frame(PING, 0, 0, &[7; 8])
}

fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|n| 2 * n + 1)
}

/// Requests that are taken back at once.
pub(super) fn resets(server: &Server, count: u32) -> Vec<u8> {
    let head = head(server, 0x82, "/api/trpc/auth.me");
    let one = |stream| {
        let begun = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head);
        [begun, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    };
    streams(count).flat_map(one).collect()
}

/// Requests for the largest answer that anybody gets.
pub(super) fn documents(server: &Server, count: u32) -> Vec<u8> {
    let head = head(server, 0x83, "/rpc");
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}"#;
    let one = |stream| {
        let begun = frame(HEADERS, END_HEADERS, stream, &head);
        [begun, frame(DATA, END_STREAM, stream, body)].concat()
    };
    streams(count).flat_map(one).collect()
}

/// A head of which there is always more.
pub(super) fn endless_head() -> Vec<u8> {
    let more = frame(CONTINUATION, 0, 1, &[0x82; 1_000]);
    [frame(HEADERS, 0, 1, &[0x82]), more.repeat(1_000)].concat()
}
