//! Calls of procedures: within this process, and over JSON-RPC.

use std::sync::Arc;

use chrono::DateTime;
use modelramp::_core::{
    caller::{Caller, Role, User},
    context::Context,
    errors::RpcError,
    procedure::Input,
    registry::Registry,
};
use serde_json::{Value, json};

/// A user who is in no database.
pub(crate) fn user(id: i64, role: Role) -> Caller {
    Caller::User(Arc::new(User {
        id,
        open_id: format!("user-{id}"),
        name: None,
        email: None,
        login_method: None,
        role,
        created_at: DateTime::UNIX_EPOCH,
        updated_at: DateTime::UNIX_EPOCH,
        last_signed_in: DateTime::UNIX_EPOCH,
    }))
}

/// Calls a procedure of this registry.
pub(crate) async fn call(
    registry: &Registry,
    context: Context,
    path: &str,
    input: Input,
) -> Result<Value, RpcError> {
    let target = registry.resolve(path);
    let procedure = target.here().ok_or_else(|| registry.unknown(path))?;
    let reply = procedure.call(context, input).await?;
    Ok(reply.to_value().unwrap())
}

/// Calls a procedure of the server at `url`: the result, or the error; `None` where nobody answers.
pub(crate) async fn rpc(
    http: &reqwest::Client,
    url: &str,
    token: &str,
    method: &str,
    params: Value,
) -> Option<Result<Value, Value>> {
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let request = http.post(format!("{url}/rpc")).bearer_auth(token);
    let response = request.json(&call).send().await.ok()?;
    let mut reply: Value = response.json().await.ok()?;
    Some(match reply.get_mut("result") {
        Some(result) => Ok(result.take()),
        None => Err(reply["error"].take()),
    })
}
