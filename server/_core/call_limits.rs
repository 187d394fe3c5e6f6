//! How many calls and subscriptions may run at once, whatever wire they came by.
//!
//! A call that finds no place waits a moment, since most calls are short, and is then asked to come
//! back. Admins have a few places of their own, so that a full server can still be steered.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    caller::{Caller, Role},
    context::Context,
    errors::RpcError,
};

/// How long a call waits for a place.
const PATIENCE: Duration = Duration::from_secs(1);
/// Places that only admins get.
const RESERVE: usize = 32;

/// Places of calls and of subscriptions.
#[derive(Clone, Debug)]
pub struct CallLimits {
    calls: CallPermits,
    subscriptions: CallPermits,
}

#[derive(Clone, Debug)]
struct CallPermits {
    all: Arc<Semaphore>,
    admins: Arc<Semaphore>,
}

/// A place; free again when it is dropped.
pub(crate) type CallPermit = OwnedSemaphorePermit;

impl Default for CallLimits {
    /// No limits, as where nothing is served.
    fn default() -> Self {
        Self::new(Semaphore::MAX_PERMITS, Semaphore::MAX_PERMITS)
    }
}

impl CallLimits {
    /// So many calls and so many subscriptions.
    pub fn new(calls: usize, subscriptions: usize) -> Self {
        Self {
            calls: CallPermits::new(calls),
            subscriptions: CallPermits::new(subscriptions),
        }
    }

    pub(crate) async fn call(&self, context: &Context) -> Result<CallPermit, RpcError> {
        if let Some(place) = self.calls.take(context) {
            return Ok(place);
        }
        let waiting = self.calls.all.clone().acquire_owned();
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(RpcError::overloaded()),
        }
    }

    pub(crate) fn subscription(&self, context: &Context) -> Result<CallPermit, RpcError> {
        let place = self.subscriptions.take(context);
        place.ok_or_else(RpcError::overloaded)
    }
}

impl CallPermits {
    fn new(count: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS))),
            admins: Arc::new(Semaphore::new(RESERVE)),
        }
    }

    fn take(&self, context: &Context) -> Option<CallPermit> {
        if let Ok(place) = self.all.clone().try_acquire_owned() {
            return Some(place);
        }
        match &context.caller {
            Caller::User(user) if user.role == Role::Admin => {
                self.admins.clone().try_acquire_owned().ok()
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::_core::{caller::User, errors::ErrorCode};

    fn of(role: Option<Role>) -> Context {
        let caller = match role {
            None => Caller::Anonymous,
            Some(role) => Caller::User(Arc::new(User {
                id: 1,
                open_id: "a".into(),
                name: None,
                email: None,
                login_method: None,
                role,
                created_at: DateTime::UNIX_EPOCH,
                updated_at: DateTime::UNIX_EPOCH,
                last_signed_in: DateTime::UNIX_EPOCH,
            })),
        };
        Context::new(caller, DateTime::UNIX_EPOCH)
    }

    #[tokio::test(start_paused = true)]
    async fn one_call_too_many_waits_and_is_then_told_to_come_back() {
        let limits = CallLimits::new(1, 0);
        let place = limits.call(&of(None)).await.unwrap();
        let error = limits.call(&of(Some(Role::User))).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::ServiceUnavailable);
        let anybody = of(None);
        let waiting = limits.call(&anybody);
        let (waited, ()) = tokio::join!(waiting, async { drop(place) });
        assert!(waited.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn admins_have_places_of_their_own() {
        let limits = CallLimits::new(0, 0);
        let admin = of(Some(Role::Admin));
        let places: Vec<_> = (0..RESERVE).map(|_| limits.subscription(&admin)).collect();
        assert!(places.iter().all(Result::is_ok));
        assert!(limits.subscription(&admin).is_err());
        assert!(limits.subscription(&of(Some(Role::User))).is_err());
        assert!(limits.call(&admin).await.is_ok());
    }
}
