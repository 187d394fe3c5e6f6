//! What OpenRouter says of the requests that our account may make to models that cost nothing.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{Quota, schedule::AccountLimits};
use crate::{
    model_router::{ModelRouter, catalog::ProviderAccess},
    providers::{
        fault::{Fault, FaultKind},
        openrouter,
    },
};

/// Between two questions for a quota that others may use as well.
const QUOTA_INTERVAL: Duration = Duration::from_secs(600);
/// The same after the first one that was not answered, as a network may come up with this server.
const FIRST_RETRY: Duration = Duration::from_secs(5);
/// The same after the second; twice as long after each further one.
const RETRY: Duration = Duration::from_secs(60);

impl ModelRouter {
    /// Asks OpenRouter what our account may do with models that cost nothing, as often as that is worth
    /// it. Other providers do not tell.
    pub async fn watch_quotas(self: Arc<Self>, stop: impl Future<Output = ()>) {
        let watch = async {
            let mut retry = FIRST_RETRY;
            loop {
                let pause = match self.learn_quotas().await {
                    Err(fault) if fault.kind != FaultKind::NotFound => {
                        tracing::warn!(
                            kind = fault.kind.name(),
                            "OpenRouter does not tell our account's quota"
                        );
                        let asked = fault.retry_after.unwrap_or(retry);
                        let pause = asked.clamp(retry, QUOTA_INTERVAL);
                        retry = (retry * 2).clamp(RETRY, QUOTA_INTERVAL);
                        pause
                    }
                    // A server that speaks the same and has nothing to tell is not asked more often.
                    Ok(()) | Err(_) => {
                        retry = FIRST_RETRY;
                        QUOTA_INTERVAL
                    }
                };
                sleep(pause).await;
            }
        };
        tokio::select! {
            () = watch => {}
            () = stop => {}
        }
    }

    /// Asks OpenRouter what our accounts may still ask today.
    pub async fn learn_quotas(&self) -> Result<(), Fault> {
        let in_use = self.in_use.load_full();
        let providers = in_use.catalog.providers.iter();
        let mut asked = providers.filter(|it| {
            it.name == openrouter::NAME && matches!(it.access, ProviderAccess::Key(_))
        });
        let Some((provider, client)) =
            asked.find_map(|it| Some((it, in_use.clients.get(&it.name)?)))
        else {
            return Ok(());
        };
        let mut failed = Ok(());
        for (account, quota) in provider.accounts() {
            let mut keys = client.keys.0.iter().filter(|key| key.account == account);
            // One that is refused is no use.
            let key = keys.clone().find(|key| key.is_usable()).or(keys.next());
            let Some(key) = key else {
                continue;
            };
            let free = match key.api.free_requests().await {
                Ok(Some(free)) => free,
                Ok(None) => continue,
                Err(fault) => {
                    failed = Err(fault);
                    continue;
                }
            };
            let told = AccountLimits {
                minute: Some(openrouter::FREE_A_MINUTE),
                day: Some(free.limit),
                tokens: None,
            };
            let known = Quota {
                limits: quota.unwrap_or(told),
                used: free.used,
                only_free: quota.is_none(),
            };
            in_use.quotas.learn(&account, known);
        }
        failed
    }
}
