//! `admin.users.*`: users, as the original's page for admins keeps them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::auth_router::UserRow;
use crate::{
    _core::{
        caller::Role,
        context::Context,
        declared::Declared,
        errors::{ErrorCode, RpcError},
        registry::Registry,
    },
    accounts::{
        AccountError, Accounts, ActingAdmin, Direction, Edit, MAX_PAGE, NewUser, Order, PAGE,
        UserSearch,
    },
    procedures,
};

const NO_USER: Declared = Declared::new(ErrorCode::NotFound, "There is no such user.");
const TAKEN: Declared = Declared::new(ErrorCode::Conflict, "Another user has the address.");
const OWNERS: Declared = Declared::new(
    ErrorCode::Forbidden,
    "Only the owner (`OWNER_OPEN_ID`) makes admins or takes that from them; nobody changes the owner, and nobody \
     ends their own account or role.",
);

/// Registers the namespace.
pub fn register(registry: &mut Registry, accounts: impl Into<Option<Accounts>>) {
    procedures!(registry.outline("admin.users", accounts.into());
        /// Users, a page at a time.
        query Admin list = list;
        /// One user, by their number.
        query Admin get = get, errors [NO_USER];
        /// Makes a user, who is known by the address from their first sign-in on. No mail is sent.
        mutation Admin create = create, errors [TAKEN, OWNERS];
        /// Changes a user's name, address or role; what is left out stays. It counts within a second.
        mutation Admin update = update, errors [NO_USER, TAKEN, OWNERS];
        /// Deletes a user, for good, with what is kept of them (docs/privacy.md).
        mutation Admin delete = delete, errors [NO_USER, OWNERS];
    );
}

/// A role that is given here; others are given by `modelramp user set-role`.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum GivenRole {
    /// Uses the application.
    #[default]
    User,
    /// Steers rollouts, too.
    Admin,
}

impl From<GivenRole> for Role {
    fn from(role: GivenRole) -> Self {
        match role {
            GivenRole::User => Self::User,
            GivenRole::Admin => Self::Admin,
        }
    }
}

/// How a user will sign in.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum LoginMethod {
    /// By a sign-in service.
    #[default]
    Google,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct List {
    /// A part of a name or of an address.
    #[serde(default)]
    #[schemars(length(max = 320))]
    search: Option<String>,
    /// Only users of this role.
    #[serde(default)]
    role: Option<GivenRole>,
    /// The most users on the page.
    #[serde(default = "page")]
    #[schemars(range(min = 1, max = MAX_PAGE))]
    limit: u32,
    /// How many are passed over.
    #[serde(default)]
    offset: u32,
    /// By what they are listed.
    #[serde(default)]
    order_by: Order,
    /// In which direction.
    #[serde(default)]
    order_direction: Direction,
}

const fn page() -> u32 {
    PAGE
}

/// A page of users.
#[derive(Debug, Serialize, JsonSchema)]
struct UserList {
    /// In the order that was asked for.
    users: Vec<UserRow>,
    /// How many there are on all pages.
    total: i64,
    /// As asked for.
    limit: u32,
    /// As asked for.
    offset: u32,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Which {
    /// The user's number.
    user_id: i64,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Create {
    /// Under which they will sign in.
    #[schemars(email, length(max = 320))]
    email: String,
    /// As shown; not blank.
    #[schemars(length(min = 1, max = 255), extend("x-blank-is-empty" = true))]
    name: String,
    /// What they may do.
    #[serde(default)]
    role: GivenRole,
    /// How they will sign in.
    #[serde(default)]
    login_method: LoginMethod,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Update {
    /// The user's number.
    user_id: i64,
    /// As shown; not blank.
    #[serde(default)]
    #[schemars(length(min = 1, max = 255), extend("x-blank-is-empty" = true))]
    name: Option<String>,
    /// Where they are reached.
    #[serde(default)]
    #[schemars(email, length(max = 320))]
    email: Option<String>,
    /// What they may do.
    #[serde(default)]
    role: Option<GivenRole>,
}

/// That it was done.
#[derive(Debug, Serialize, JsonSchema)]
struct Done {
    /// Always `true`.
    success: bool,
    /// The same in words.
    message: &'static str,
}

impl Done {
    const fn new(message: &'static str) -> Self {
        Self {
            success: true,
            message,
        }
    }
}

async fn list(accounts: Accounts, _: Context, input: List) -> Result<UserList, RpcError> {
    let wanted = UserSearch {
        search: input.search.filter(|text| !text.is_empty()),
        role: input.role.map(Role::from),
        limit: input.limit,
        offset: input.offset,
        order: input.order_by,
        direction: input.order_direction,
    };
    let found = accounts.store.accounts(&wanted).await;
    let (users, total) = found.map_err(RpcError::internal)?;
    Ok(UserList {
        users: users.iter().map(UserRow::from).collect(),
        total,
        limit: wanted.limit,
        offset: wanted.offset,
    })
}

async fn get(accounts: Accounts, _: Context, input: Which) -> Result<UserRow, RpcError> {
    let user = accounts.store.account(input.user_id).await;
    let user = user.map_err(RpcError::internal)?;
    user.as_ref()
        .map(UserRow::from)
        .ok_or_else(|| refused(AccountError::NotFound, ""))
}

async fn create(accounts: Accounts, context: Context, input: Create) -> Result<Done, RpcError> {
    let LoginMethod::Google = input.login_method;
    let new = NewUser {
        email: input.email,
        name: input.name,
        role: input.role.into(),
        login_method: "google",
    };
    let by = by(&accounts, &context)?;
    let made = accounts.store.create_account(&new, by, context.received_at);
    let taken = "User with this email already exists";
    made.await.map_err(|error| refused(error, taken))?;
    Ok(Done::new("User created successfully."))
}

async fn update(accounts: Accounts, context: Context, input: Update) -> Result<Done, RpcError> {
    let edit = Edit {
        name: input.name,
        email: input.email,
        role: input.role.map(Role::from),
    };
    let by = by(&accounts, &context)?;
    let (id, now) = (input.user_id, context.received_at);
    let edited = accounts.store.edit_account(id, &edit, by, now).await;
    edited.map_err(|error| refused(error, "Email already in use by another user"))?;
    Ok(Done::new("User updated successfully"))
}

async fn delete(accounts: Accounts, context: Context, input: Which) -> Result<Done, RpcError> {
    let by = by(&accounts, &context)?;
    let (id, now) = (input.user_id, context.received_at);
    let deleted = accounts.store.delete_account(id, by, now).await;
    deleted.map_err(|error| refused(error, ""))?;
    Ok(Done::new("User deleted successfully"))
}

fn by<'a>(accounts: &'a Accounts, context: &'a Context) -> Result<ActingAdmin<'a>, RpcError> {
    Ok(ActingAdmin {
        user: context.user()?,
        owner: accounts.owner.as_deref(),
    })
}

/// In the original's words, which its front end shows.
fn refused(error: AccountError, taken: &'static str) -> RpcError {
    match error {
        AccountError::NotFound => RpcError::not_found("User not found"),
        AccountError::EmailTaken => RpcError::new(ErrorCode::Conflict, taken),
        AccountError::Forbidden(text) => RpcError::forbidden(text),
        AccountError::Failed(error) => RpcError::internal(error),
    }
}
