//! Accounts that several processes use: each looks once a second what all of them have used.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::{
    Account, Quotas,
    pool::{ANSWER, Keeper},
};
use crate::model_router::ModelRouter;

/// Whoever has looked less often may not have been seen by the others.
const FIRST_LOOKS: u32 = 5;
const INTERVAL: Duration = Duration::from_secs(1);

impl Quotas {
    /// Reads what all processes have used, and reports what is owed.
    pub(super) async fn listen(&self, looks: u32) -> anyhow::Result<()> {
        let keeper = self.keeper.lock().clone();
        let Some(keeper) = keeper.filter(Keeper::gives_slots) else {
            return Ok(());
        };
        // Also where no account has a quota: what a provider says with an answer is divided by who lives.
        let shared = keeper.store.shared().await?;
        if looks >= FIRST_LOOKS {
            keeper.note_live(shared.live);
        }
        for (label, used) in &shared.accounts {
            if let Some(account) = self.accounts.get(label) {
                account.whole.adopt(used, shared.now_ms);
            }
        }
        let limited = |it: &&Account| it.whole.standing().is_some();
        for account in self.accounts.values().filter(limited) {
            // The one that was not answered, and what has come since.
            for _ in 0..2 {
                if account.whole.owes_a_report() {
                    let said = account.whole.say(&keeper).await;
                    anyhow::ensure!(said.is_ok(), "the database does not answer");
                }
            }
        }
        Ok(())
    }
}

impl ModelRouter {
    /// Keeps the quotas of our accounts together with the other processes on the database.
    pub async fn share_quotas(self: Arc<Self>, stop: impl Future<Output = ()>) {
        let listen = async {
            let mut looks = 0_u32;
            loop {
                sleep(INTERVAL).await;
                let quotas = self.in_use.load().quotas.clone();
                // Calls say that the database is away.
                if let Ok(Ok(())) = timeout(ANSWER * 2, quotas.listen(looks)).await {
                    looks = looks.saturating_add(1);
                }
            }
        };
        tokio::select! {
            () = listen => {}
            () = stop => {}
        }
    }
}
