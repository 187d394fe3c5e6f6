//! Users as people look for them.

use async_trait::async_trait;

use crate::_core::caller::User;

/// Where users are looked up.
#[async_trait]
pub trait UserLookup: Send + Sync {
    /// The users with this number, or whose name or e-mail address begins so, whatever the letters' case;
    /// at most `limit`, none that was deleted.
    async fn look_up(&self, text: &str, limit: u32) -> anyhow::Result<Vec<User>>;
}
