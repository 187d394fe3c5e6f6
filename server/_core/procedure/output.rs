//! What a procedure answers: a value, or a stream of items.

use schemars::JsonSchema;
use serde::Serialize;

use crate::_core::output::Output;

/// What a query or mutation answers.
pub type Reply = Box<dyn Output>;

/// One item of a subscription's stream.
pub struct StreamItem {
    /// Set for tracked items: where to resume.
    pub id: Option<String>,
    /// What the client gets.
    pub data: Reply,
}

/// What a subscription yields: [`Untracked`] or [`Tracked`].
pub trait SubscriptionItem: Send + 'static {
    /// The data's type.
    type Data: Serialize + JsonSchema + Send + Sync + 'static;
    /// Whether clients see `{id, data}`.
    const TRACKED: bool;
    /// Takes it apart.
    fn into_parts(self) -> (Option<String>, Self::Data);
}

/// An event without an id.
#[derive(Debug)]
pub struct Untracked<T>(pub T);

impl<T: Serialize + JsonSchema + Send + Sync + 'static> SubscriptionItem for Untracked<T> {
    type Data = T;
    const TRACKED: bool = false;

    fn into_parts(self) -> (Option<String>, T) {
        (None, self.0)
    }
}

/// An event with an id, from which a client that lost its connection goes on.
#[derive(Debug)]
pub struct Tracked<T> {
    /// Never empty; comes back as `lastEventId` in the input.
    pub id: String,
    /// The event's data.
    pub data: T,
}

impl<T: Serialize + JsonSchema + Send + Sync + 'static> SubscriptionItem for Tracked<T> {
    type Data = T;
    const TRACKED: bool = true;

    fn into_parts(self) -> (Option<String>, T) {
        (Some(self.id), self.data)
    }
}
