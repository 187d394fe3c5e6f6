//! What each parser is held to, whatever the text: for libFuzzer (`scripts/long fuzz`) and for the tests, which mutate the
//! corpus for a while (`tests/integration/fuzzing.rs`).

use std::sync::LazyLock;

use bytes::Bytes;
use modelramp::{
    _core::{auth::SessionKey, json_text, masked::masked, trace_parent::TraceParent},
    legacy::{answer, paths},
    model_router::catalog::Catalog,
    providers::{sandbox::SandboxPlan, sse},
    rollout::plan::{KnownNames, Plan},
    transport::trpc::{batch, request, superjson, websocket::frame},
};

/// Takes any text, and panics where something does not hold that must.
pub(crate) type Target = fn(&str);

/// By the folder of their corpus.
pub(crate) const TARGETS: [(&str, Target); 12] = [
    ("batch", batch_of_calls),
    ("catalog", catalog),
    ("envelopes", envelopes),
    ("json_text", lenient_json),
    ("jwt", jwt),
    ("masked", masked_words),
    ("path", path),
    ("plan", plan),
    ("sandbox_plan", sandbox_plan),
    ("sse", events),
    ("superjson", superjson_input),
    ("websocket_frame", websocket_frame),
];

/// Paths and query strings of batches, and the W3C's header of traces.
fn batch_of_calls(text: &str) {
    if let Ok(path) = request::decode_path(text)
        && let Ok(names) = batch::split(&path, 300)
    {
        assert!(!names.is_empty() && names.len() <= 300);
        assert_eq!(names.join(","), path);
    }
    let _ = request::QueryParameters::parse(text);
    if let Some(trace) = TraceParent::parse(text) {
        assert!(trace.trace_id() != 0 && trace.span_id() != 0);
    }
}

/// Any text is a catalog or a list of faults.
fn catalog(text: &str) {
    if let Err(faults) = Catalog::parse(text) {
        assert!(!faults.to_string().is_empty());
    }
}

/// What the old server answers is as many envelopes as calls, or a fault.
fn envelopes(text: &str) {
    let json = Bytes::copy_from_slice(text.as_bytes());
    for calls in [1, 2, 100] {
        if let Ok(envelopes) = answer::split(207, &json, calls, 1 << 20) {
            assert_eq!(envelopes.len(), calls);
        }
    }
    let _ = answer::check(&json, None);
}

/// What is read leniently is JSON, and what is JSON is read.
fn lenient_json(text: &str) {
    let strict = serde_json::from_str::<serde_json::Value>(text).is_ok();
    let lenient = json_text::lenient(text.as_bytes());
    assert!(!strict || lenient.is_ok(), "JSON is refused");
    assert!(json_text::values(text.as_bytes()) <= text.len() + 1);
}

static KEY: LazyLock<SessionKey> =
    LazyLock::new(|| SessionKey::new(&"0123456789abcdef0123456789abcdef".into()));

/// Nothing that was not signed with the key is ever accepted: the signature would have to be guessed.
fn jwt(token: &str) {
    assert_eq!(KEY.verify(token, std::time::UNIX_EPOCH.into()), None);
}

/// A password never comes through.
fn masked_words(text: &str) {
    let _ = masked(text);
    let user: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    let shown = masked(&format!("cannot reach http://{user}:Tr0ub4dor@host/path"));
    assert!(!shown.contains("Tr0ub4dor"), "{shown}");
}

/// A path of the old server stays one component.
fn path(text: &str) {
    let component = paths::component(text);
    assert!(!component.contains(['/', '?', '#', ' ']), "{component}");
}

/// Any text is a plan or a list of faults; a plan's shares are those of its stages.
fn plan(text: &str) {
    match Plan::parse(text, "(fuzz)", &KnownNames::default()) {
        Ok(plan) => assert!((0.0..=100.0).contains(&plan.share_of(0).get())),
        Err(faults) => assert!(!faults.to_string().is_empty()),
    }
}

/// How the simulated models behave.
fn sandbox_plan(text: &str) {
    if let Err(faults) = SandboxPlan::parse(text) {
        assert!(!faults.to_string().is_empty());
    }
}

/// An event stream is read alike however the network cut it.
fn events(text: &str) {
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut reader = sse::Reader::default();
        let mut items = Vec::new();
        for piece in pieces {
            items.extend(reader.push(piece).ok()?);
        }
        items.extend(reader.finish().ok()?);
        Some(format!("{items:?}"))
    };
    let whole = read(&mut std::iter::once(text.as_bytes()));
    assert_eq!(whole, read(&mut text.as_bytes().chunks(1)));
}

/// What a client calls superjson: decoding never panics, and refuses in words.
fn superjson_input(text: &str) {
    if let Ok(envelope) = serde_json::from_str(text)
        && let Err(why) = superjson::decode(envelope)
    {
        assert!(!why.is_empty());
    }
}

/// Text frames of tRPC's WebSocket protocol.
fn websocket_frame(text: &str) {
    let _ = frame::parse(text, false);
    let _ = frame::parse(text, true);
}
