//! What a client calls superjson: decoding never panics, and refuses in words.
#![no_main]

use libfuzzer_sys::fuzz_target;
use modelramp::transport::trpc::superjson;

fuzz_target!(|text: &str| {
    if let Ok(envelope) = serde_json::from_str(text)
        && let Err(why) = superjson::decode(envelope)
    {
        assert!(!why.is_empty());
    }
});
