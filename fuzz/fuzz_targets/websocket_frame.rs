//! Text frames of tRPC's WebSocket protocol.
#![no_main]

use libfuzzer_sys::fuzz_target;
use modelramp::transport::trpc::websocket::frame;

fuzz_target!(|text: &str| {
    let _ = frame::parse(text, false);
    let _ = frame::parse(text, true);
});
