use async_trait::async_trait;
use chrono::TimeDelta;
use tokio::{sync::Notify, time::timeout};

use super::{super::Secret, *};
use crate::_core::{actor::Actor, units::Microdollars};

/// A database of one key, which is told some amounts once it goes on.
pub(crate) struct Slow {
    spent: Mutex<Amount>,
    pub(crate) goes_on: Notify,
    waits: fn(Amount) -> bool,
}

impl Slow {
    pub(crate) fn new(waits: fn(Amount) -> bool) -> Arc<Self> {
        Arc::new(Self {
            spent: Mutex::default(),
            goes_on: Notify::new(),
            waits,
        })
    }
}

#[async_trait]
impl ApiKeyStore for Slow {
    async fn add_key(&self, _: &ApiKey, _: &str, _: &Actor) -> anyhow::Result<bool> {
        Ok(false)
    }

    async fn find_key(
        &self,
        _: &str,
        _: DateTime<Utc>,
    ) -> anyhow::Result<Option<(ApiKey, String)>> {
        Ok(None)
    }

    async fn keys(&self) -> anyhow::Result<Vec<ApiKey>> {
        Ok(Vec::new())
    }

    async fn revoke_key(&self, _: &str, _: &Actor, _: DateTime<Utc>) -> anyhow::Result<bool> {
        Ok(false)
    }

    async fn replace_key(
        &self,
        _: &str,
        _: &Secret,
        _: TimeDelta,
        _: &Actor,
        _: DateTime<Utc>,
    ) -> anyhow::Result<bool> {
        Ok(false)
    }

    async fn limit_key(
        &self,
        _: &str,
        _: &KeyLimits,
        _: &Actor,
        _: DateTime<Utc>,
    ) -> anyhow::Result<bool> {
        Ok(false)
    }

    async fn grant(
        &self,
        _: &str,
        _: NaiveDate,
        amount: Amount,
        budget: Amount,
    ) -> anyhow::Result<bool> {
        if (self.waits)(amount) {
            self.goes_on.notified().await;
        }
        let mut spent = self.spent.lock();
        let fits = (*spent + amount).tokens <= budget.tokens;
        if fits {
            *spent += amount;
        }
        Ok(fits)
    }

    async fn spent(&self, _: &str, _: NaiveDate) -> anyhow::Result<Amount> {
        Ok(*self.spent.lock())
    }

    async fn spent_by_all(&self, _: NaiveDate) -> anyhow::Result<HashMap<String, Amount>> {
        Ok(HashMap::new())
    }
}

fn tokens(tokens: i64) -> Amount {
    let cost = Microdollars(0);
    Amount { tokens, cost }
}

fn key_of(tokens_per_day: u64) -> ApiKey {
    ApiKey {
        id: "id".to_owned(),
        name: "shop".to_owned(),
        models: None,
        limits: KeyLimits {
            tokens_per_day: Some(tokens_per_day),
            ..KeyLimits::default()
        },
        created_at: DateTime::UNIX_EPOCH,
        expires_at: None,
        revoked_at: None,
    }
}

#[tokio::test]
async fn what_a_call_was_granted_and_did_not_use_is_left_for_the_next_one() {
    let spending = Spending::new(Slow::new(|_| false), Tasks::default());
    let (key, now) = (key_of(4_000), DateTime::UNIX_EPOCH);
    for left in [4_000, 3_985] {
        let refused = spending.reserve(&key, tokens(4_105), now).await.err();
        let Some(SpendingRefused::OverBudget(over)) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(over.left().tokens, left);
        let mut call = spending.reserve(&key, over.left(), now).await.unwrap();
        call.use_up(tokens(15));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_not_refused_what_is_being_given_back() {
    let store = Slow::new(|amount| amount.tokens < 0);
    let spending = Spending::new(store.clone(), Tasks::default());
    let (key, now) = (key_of(10_000), DateTime::UNIX_EPOCH);
    // The whole budget is here, and nobody needs it any more.
    for need in [9_900, 10] {
        assert!(spending.reserve(&key, tokens(need), now).await.is_ok());
    }
    spending.write(IDLE).await;
    let calls = async {
        let mut call = pin!(spending.reserve(&key, tokens(5_000), now));
        let early = timeout(Duration::from_millis(10), call.as_mut()).await;
        assert!(early.is_err(), "it was told before the database was");
        store.goes_on.notify_one();
        call.await.map(drop)
    };
    let ((), called) = tokio::join!(spending.write(IDLE), calls);
    assert!(called.is_ok(), "{called:?}");
}
