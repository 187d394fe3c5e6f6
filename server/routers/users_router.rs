//! `users.*`: who is meant by a number or a name.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    _core::{
        caller::{Role, User},
        context::Context,
        errors::RpcError,
        registry::Registry,
    },
    dashboard::users::UserLookup,
    procedures,
};

/// Users in an answer, at most.
const MOST: u32 = 10;

/// Registers the namespace.
pub fn register(registry: &mut Registry, users: impl Into<Option<Arc<dyn UserLookup>>>) {
    procedures!(registry.outline("users", users.into());
        /// Users by number, by how their name begins, or by their whole e-mail address; ten at most.
        query Viewer lookup = lookup;
    );
}

/// Whom.
#[derive(Debug, Deserialize, JsonSchema)]
struct LookUp {
    /// A user's number, the beginning of a name, or a whole e-mail address.
    #[schemars(length(min = 1, max = 100))]
    text: String,
}

/// A user, as far as somebody who looks for one needs to know.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct UserInfo {
    /// The number.
    id: i64,
    /// As shown.
    name: Option<String>,
    /// The first letter of the address, and what stands behind the `@`.
    email: Option<String>,
    /// What the user may do.
    role: Role,
    /// When the user last called, to the minute.
    last_signed_in: DateTime<Utc>,
}

impl From<User> for UserInfo {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            email: user.email.as_deref().map(masked),
            name: user.name,
            role: user.role,
            last_signed_in: user.last_signed_in,
        }
    }
}

/// `b…@example.com`.
fn masked(email: &str) -> String {
    let (local, domain) = email.split_once('@').unwrap_or((email, ""));
    let first: String = local.chars().take(1).collect();
    format!("{first}…@{domain}")
}

async fn lookup(
    users: Arc<dyn UserLookup>,
    _: Context,
    input: LookUp,
) -> Result<Vec<UserInfo>, RpcError> {
    let found = users.look_up(input.text.trim(), MOST).await;
    let found = found.map_err(RpcError::internal)?;
    Ok(found.into_iter().map(UserInfo::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_as_far_as_it_tells_two_users_apart() {
        assert_eq!(masked("bo@example.com"), "b…@example.com");
        assert_eq!(masked("@example.com"), "…@example.com");
        assert_eq!(masked("bo"), "b…@");
    }
}
