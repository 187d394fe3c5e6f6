//! The application, and its `rollout.*` as a user, an admin or nobody calls them.

use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use modelramp::_core::{
    caller::{Caller, Role},
    context::Context,
    errors::RpcError,
    procedure::{Input, StreamItem},
};
use serde_json::{Value, json};

use crate::support::{app::TestApp, calls};

pub(super) const USER: i64 = 2;
pub(super) const ADMIN: i64 = 1;

/// Two stages; the first waits for a person.
pub(super) const PLAN: &str = r#"name = "own"

[[stages]]
share = 10
soak = "1h"
gate = "manual"

[[stages]]
share = 50
soak = "1h"
"#;

pub(super) struct App {
    pub(super) server: TestApp,
}

impl App {
    pub(super) async fn start() -> Self {
        Self {
            server: TestApp::start().await,
        }
    }

    /// Calls as a user, an admin, or nobody.
    pub(super) async fn call(
        &self,
        user: Option<i64>,
        name: &str,
        input: Value,
    ) -> Result<Value, RpcError> {
        let input = if input.is_null() {
            Input::Absent
        } else {
            Input::Json(input)
        };
        let context = Context::new(caller(user), now());
        let path = format!("rollout.{name}");
        calls::call(&self.server.registry, context, &path, input).await
    }

    pub(super) async fn admin(&self, name: &str, input: Value) -> Result<Value, RpcError> {
        self.call(Some(ADMIN), name, input).await
    }

    /// A rollout by this plan.
    pub(super) async fn begin(&self, plan: &str) -> Value {
        let input = json!({"plan": plan, "reason": " try the new one "});
        self.admin("start", input).await.unwrap()
    }

    pub(super) async fn subscribe(
        &self,
        user: Option<i64>,
        input: Value,
    ) -> Result<BoxStream<'static, Result<StreamItem, RpcError>>, RpcError> {
        let target = self.server.registry.resolve("rollout.onChange");
        let context = Context::new(caller(user), now());
        let input = Input::Json(input);
        target.here().unwrap().subscribe(context, input).await
    }
}

#[expect(clippy::disallowed_methods, reason = "the controller's clock is real")]
pub(super) fn now() -> DateTime<Utc> {
    Utc::now()
}

fn caller(user: Option<i64>) -> Caller {
    let role = |id| if id == ADMIN { Role::Admin } else { Role::User };
    user.map_or(Caller::Anonymous, |id| calls::user(id, role(id)))
}
