//! Users in memory, and real session tokens for them.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use modelramp::{
    _core::{
        auth::{Authenticator, Claims, Session, SessionKey, UserStore},
        caller::{Role, User},
        environment::Environment,
        site::{Site, SiteConfig},
    },
    transport::gate::Gate,
};

const SECRET: &str = "an integration test's secret, 32+";

/// User 1, `user-1`, and user 2, `owner-1`, who is admin.
struct Users(HashMap<&'static str, User>);

#[async_trait]
impl UserStore for Users {
    async fn user_of_session(
        &self,
        session: &Session,
        _: DateTime<Utc>,
    ) -> anyhow::Result<Option<User>> {
        Ok(self.0.get(&*session.open_id).cloned())
    }

    async fn end_session(&self, _: &Session, _: DateTime<Utc>) -> anyhow::Result<()> {
        Ok(())
    }

    async fn end_sessions_of(&self, _: i64, _: DateTime<Utc>) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Knows the two users.
pub(crate) fn authenticator() -> Authenticator {
    let user = |id, open_id: &str, role| User {
        id,
        open_id: open_id.to_owned(),
        name: Some("Bo".to_owned()),
        email: None,
        login_method: None,
        role,
        created_at: DateTime::UNIX_EPOCH,
        updated_at: DateTime::UNIX_EPOCH,
        last_signed_in: DateTime::UNIX_EPOCH,
    };
    let users = HashMap::from([
        ("user-1", user(1, "user-1", Role::User)),
        ("owner-1", user(2, "owner-1", Role::Admin)),
    ]);
    Authenticator::new(
        SessionKey::new(&SECRET.into()),
        None,
        Arc::new(Users(users)),
    )
}

/// A gate for these two users and these origins.
pub(crate) fn gate(origins: Vec<String>) -> Gate {
    let site = Site::new(Environment::Test, &SiteConfig::default());
    Gate::new(Arc::new(authenticator()), origins, site)
}

/// A token that holds for an hour.
#[expect(clippy::disallowed_methods, reason = "real tokens expire in real time")]
pub(crate) fn token(open_id: &str) -> String {
    let claims = Claims {
        open_id: open_id.to_owned(),
        app_id: "test".to_owned(),
        name: "Bo".to_owned(),
        exp: (Utc::now().timestamp() + 3600) as u64,
        ..Claims::default()
    };
    SessionKey::new(&SECRET.into()).sign(&claims).unwrap()
}
