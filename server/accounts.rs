//! Users as admins keep them: who is listed, made, changed and deleted, and by whom.
//!
//! The *owner* is the user of `OWNER_OPEN_ID`. Others cannot change the owner, and the owner alone makes admins or
//! takes that from them. Nobody takes it from themselves or deletes themselves, so the last admin stays. All
//! of that is decided on what the database says in the transaction that writes.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::_core::caller::{Role, User};

/// Users on a page where nothing else is asked for.
pub const PAGE: u32 = 50;
/// And at most.
pub const MAX_PAGE: u32 = 100;
/// What the open id of a user begins with who has not signed in yet; their address follows, in lower case.
pub const PENDING: &str = "pending:";

/// By what users are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Order {
    /// Their names, whatever the letters' case.
    Name,
    /// Their addresses.
    Email,
    /// When they came first.
    #[default]
    CreatedAt,
    /// When they called last.
    LastSignedIn,
}

/// In which direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The least first.
    Asc,
    /// The greatest first.
    #[default]
    Desc,
}

/// Which users, and in which order.
#[derive(Clone, Debug)]
pub struct UserSearch {
    /// A part of a name or of an address, whatever the letters' case.
    pub search: Option<String>,
    /// Only those of this role.
    pub role: Option<Role>,
    /// So many at most, to [`MAX_PAGE`].
    pub limit: u32,
    /// So many are passed over.
    pub offset: u32,
    /// By what.
    pub order: Order,
    /// In which direction.
    pub direction: Direction,
}

/// A user who is to be made.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Under which they will sign in.
    pub email: String,
    /// As shown.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// How they will sign in.
    pub login_method: &'static str,
}

/// What is to be another; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// As shown.
    pub name: Option<String>,
    /// Where they are reached.
    pub email: Option<String>,
    /// What they may do.
    pub role: Option<Role>,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// There is none, or no more.
    #[error("there is no such user")]
    NotFound,
    /// Another has the address.
    #[error("the address is taken")]
    EmailTaken,
    /// Whoever asks may not.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The database failed.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

/// Who asks for a change.
#[derive(Clone, Copy, Debug)]
pub struct ActingAdmin<'a> {
    /// The admin.
    pub user: &'a User,
    /// `OWNER_OPEN_ID`.
    pub owner: Option<&'a str>,
}

impl ActingAdmin<'_> {
    fn is_owner(&self) -> bool {
        self.owner == Some(&*self.user.open_id)
    }

    /// Whether such a user may be made.
    pub fn may_create(&self, role: Role) -> Result<(), AccountError> {
        match role {
            Role::Admin if !self.is_owner() => {
                Err(AccountError::Forbidden("Only owner can create admin users"))
            }
            _ => Ok(()),
        }
    }

    /// Whether this user may be changed so.
    pub fn may_edit(&self, user: &User, edit: &Edit) -> Result<(), AccountError> {
        let refuse = |text| Err(AccountError::Forbidden(text));
        let is_self = user.id == self.user.id;
        let of_owner = self.owner == Some(&*user.open_id);
        if of_owner && !is_self {
            return refuse("Cannot modify owner account");
        }
        // Whoever has the address becomes that admin at their first sign-in.
        let is_awaited = user.role == Role::Admin && user.open_id.starts_with(PENDING);
        if edit.email.is_some() && is_awaited && !self.is_owner() {
            return refuse("Only owner can promote users to admin");
        }
        match edit.role {
            Some(Role::Admin) if user.role != Role::Admin && !self.is_owner() => {
                refuse("Only owner can promote users to admin")
            }
            // The owner is one whatever the row says.
            Some(role) if role != Role::Admin && is_self => {
                refuse("Cannot remove your own admin role")
            }
            Some(role) if role != Role::Admin && user.role == Role::Admin && !self.is_owner() => {
                refuse("Only owner can demote admin users")
            }
            _ => Ok(()),
        }
    }

    /// Whether this user may be deleted.
    pub fn may_delete(&self, user: &User) -> Result<(), AccountError> {
        if user.id == self.user.id && !self.is_owner() {
            return Err(AccountError::Forbidden("Cannot delete your own account"));
        }
        if self.owner == Some(&*user.open_id) {
            return Err(AccountError::Forbidden("Cannot delete owner account"));
        }
        Ok(())
    }
}

/// Where users are kept. Each change asks [`ActingAdmin`] with what is stored, in its own transaction.
#[async_trait]
pub trait AccountStore: Send + Sync {
    /// A page of users, and how many there are of those that are wanted.
    async fn accounts(&self, wanted: &UserSearch) -> anyhow::Result<(Vec<User>, i64)>;
    /// The user of this number, unless deleted.
    async fn account(&self, id: i64) -> anyhow::Result<Option<User>>;
    /// Makes a user who has not signed in yet.
    async fn create_account(
        &self,
        new: &NewUser,
        by: ActingAdmin<'_>,
        now: DateTime<Utc>,
    ) -> Result<User, AccountError>;
    /// Changes a user.
    async fn edit_account(
        &self,
        id: i64,
        edit: &Edit,
        by: ActingAdmin<'_>,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError>;
    /// Deletes a user and what is kept of them.
    async fn delete_account(
        &self,
        id: i64,
        by: ActingAdmin<'_>,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError>;
}

/// The users, and whose the server is.
#[derive(Clone)]
pub struct Accounts {
    /// Where they are kept.
    pub store: Arc<dyn AccountStore>,
    /// `OWNER_OPEN_ID`.
    pub owner: Option<Arc<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: i64, role: Role) -> User {
        let then = DateTime::UNIX_EPOCH;
        User {
            id,
            open_id: format!("user-{id}"),
            name: None,
            email: None,
            login_method: None,
            role,
            created_at: then,
            updated_at: then,
            last_signed_in: then,
        }
    }

    fn said(answer: Result<(), AccountError>) -> String {
        answer.map_or_else(|error| error.to_string(), |()| "yes".to_owned())
    }

    #[test]
    fn the_owner_alone_makes_admins_and_nobody_ends_themselves() {
        let [owner, admin, other, plain] = [
            user(1, Role::Admin),
            user(2, Role::Admin),
            user(3, Role::Admin),
            user(4, Role::User),
        ];
        let role = |role| Edit {
            role: Some(role),
            ..Edit::default()
        };
        let name = Edit {
            name: Some("Bo".to_owned()),
            ..Edit::default()
        };
        let awaited = User {
            open_id: format!("{PENDING}a@example.com"),
            ..user(5, Role::Admin)
        };
        let email = Edit {
            email: Some("me@example.com".to_owned()),
            ..Edit::default()
        };
        let by = |user| ActingAdmin {
            user,
            owner: Some("user-1"),
        };
        let edits = [
            (
                &admin,
                &awaited,
                &email,
                "Only owner can promote users to admin",
            ),
            (&owner, &awaited, &email, "yes"),
            (&admin, &awaited, &name, "yes"),
            (&admin, &other, &email, "yes"),
            (&admin, &owner, &name, "Cannot modify owner account"),
            (&owner, &owner, &name, "yes"),
            (&admin, &plain, &name, "yes"),
            (&admin, &admin, &name, "yes"),
            (
                &admin,
                &plain,
                &role(Role::Admin),
                "Only owner can promote users to admin",
            ),
            (&owner, &plain, &role(Role::Admin), "yes"),
            (
                &admin,
                &admin,
                &role(Role::User),
                "Cannot remove your own admin role",
            ),
            (
                &owner,
                &owner,
                &role(Role::User),
                "Cannot remove your own admin role",
            ),
            (
                &admin,
                &other,
                &role(Role::User),
                "Only owner can demote admin users",
            ),
            (&owner, &other, &role(Role::User), "yes"),
            (&admin, &other, &role(Role::Admin), "yes"),
        ];
        for (who, whom, edit, says) in edits {
            let (from, to) = (who.id, whom.id);
            assert_eq!(
                said(by(who).may_edit(whom, edit)),
                says,
                "{from} {to} {edit:?}"
            );
        }
        for (who, whom, says) in [
            (&admin, &owner, "Cannot delete owner account"),
            (&owner, &owner, "Cannot delete owner account"),
            (&admin, &admin, "Cannot delete your own account"),
            (&admin, &other, "yes"),
            (&admin, &plain, "yes"),
        ] {
            assert_eq!(said(by(who).may_delete(whom)), says);
        }
        assert_eq!(said(by(&owner).may_create(Role::Admin)), "yes");
        for owner in [None, Some("user-1")] {
            let by = ActingAdmin {
                user: &admin,
                owner,
            };
            let says = "Only owner can create admin users";
            assert_eq!(said(by.may_create(Role::Admin)), says, "{owner:?}");
            assert_eq!(said(by.may_create(Role::User)), "yes");
        }
    }
}
