//! A value of any type, as JSON.

use serde::Serialize;
use serde_json::Value;

/// A result whose type is erased but which can still be serialised either way.
pub trait Output: Send + Sync {
    /// Straight to JSON text; the fast way where nothing needs a mark.
    fn write_json(&self, buffer: &mut Vec<u8>) -> serde_json::Result<()>;
    /// To a value that can be walked.
    fn to_value(&self) -> serde_json::Result<Value>;
}

impl<T: Serialize + Send + Sync> Output for T {
    fn write_json(&self, buffer: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(buffer, self)
    }

    fn to_value(&self) -> serde_json::Result<Value> {
        serde_json::to_value(self)
    }
}
