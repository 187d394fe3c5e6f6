//! What only a page of ours can know of a session: a token against requests that other sites forge.
//!
//! It is a code over the session's id that takes `JWT_SECRET` to make, so nothing is stored, it lasts as
//! long as the session, and one of another session is worth nothing. `auth.session` returns it, and a
//! sign-in sets it as a cookie that scripts may read; neither can be read by a page of another origin.
//! It is demanded where `CSRF_TOKEN` is `required`. Elsewhere the check of origins does the same work
//! for every client that does not know of it.

use super::{Session, SessionKey};

/// The cookie from which a page may read the token.
pub const COOKIE: &str = "__csrf_token";
/// The header by which a page says it.
pub const HEADER: &str = "x-csrf-token";

/// The token of a session.
pub fn token(key: &SessionKey, session: &Session) -> anyhow::Result<String> {
    key.code_of(&named(session))
}

/// Whether this is the token of the session; compared in constant time.
pub fn holds(key: &SessionKey, session: &Session, token: &str) -> bool {
    key.vouches_for(&named(session), token)
}

/// What the code is made of: no part of another token can read so.
fn named(session: &Session) -> String {
    format!("csrf of session {}", session.id)
}
