//! Sends of one text to one conversation at the same time: a double click, or a client that lost its
//! connection and sends again while the first send is still under way.
//!
//! They are one message. Whoever comes later waits for the first, and then finds the message stored
//! and answered, or gets it answered. Once nobody is under way the same text is a new message: people do
//! say "yes" twice. Only a stream looks further back (`stream`), as its clients reconnect by themselves.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex as Turn, MutexGuard};

use super::store::Message;

/// The conversation, and a hash of what is sent to whom.
type TwinKey = (i64, [u8; 32]);
/// The message, once it is stored.
type TwinMessage = Arc<Turn<Option<Message>>>;

/// Sends that are under way.
#[derive(Default)]
pub(super) struct Twins(Mutex<HashMap<TwinKey, TwinMessage>>);

impl Twins {
    /// Joins the sends of this text to this conversation, to be answered by this model.
    pub(super) fn join(&self, conversation: i64, content: &str, model: Option<&str>) -> Twin<'_> {
        let mut hash = Sha256::new_with_prefix(model.unwrap_or_default());
        hash.update([0]);
        hash.update(content);
        let key = (conversation, hash.finalize().into());
        let shared = self.0.lock().entry(key).or_default().clone();
        Twin {
            twins: self,
            key,
            shared,
        }
    }
}

/// One of the sends of a text.
pub(super) struct Twin<'a> {
    twins: &'a Twins,
    key: TwinKey,
    shared: TwinMessage,
}

impl Twin<'_> {
    /// Waits until none of the others is under way; the message, if one of them has stored it.
    pub(super) async fn turn(&self) -> MutexGuard<'_, Option<Message>> {
        self.shared.lock().await
    }
}

impl Drop for Twin<'_> {
    fn drop(&mut self) {
        let mut twins = self.twins.0.lock();
        // Ours and the map's: nobody else is under way, and nobody can join without the lock.
        if Arc::strong_count(&self.shared) == 2 {
            twins.remove(&self.key);
        }
    }
}
