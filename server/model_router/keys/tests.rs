use std::collections::{HashMap, VecDeque};

use chrono::{NaiveDate, Utc};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::sleep_until;

use super::*;
use crate::model_router::{
    Clients,
    catalog::{Catalog, ProviderAccess},
    quota::schedule::{ConversationTurn, Priority},
};

/// A minute and a day of a free account at OpenRouter.
const MINUTE: usize = 20;
const DAY: usize = 50;

/// Two keys, the second of this account, where it is another one.
fn ring(account: &str) -> (Quotas, Keyring, Arc<Model>) {
    let text = format!(
        "[providers.p]\nbase_url = \"http://p/v1\"\napi_key_env = \"P_API_KEY\"\n\
         quota = {{ minute = {MINUTE}, day = {DAY} }}\n\
         keys = [{{ api_key_env = \"Q_API_KEY\", weight = 3{account} }}]\n\
         [models.m]\nprovider = \"p\"\nid = \"m\"\ncontext = 1\n\
         [tasks.chat]\ncandidate = [\"m\"]\ncontrol = [\"m\"]\n"
    );
    let mut catalog = Catalog::parse(&text).unwrap();
    let provider = &mut catalog.providers[0];
    provider.access = ProviderAccess::Key("first".into());
    provider.keys[0].key = Some("second".into());
    let clients = Clients::connect(&catalog, None).unwrap();
    let keys = clients.get("p").unwrap().keys.clone();
    (Quotas::new(&catalog), keys, catalog.models[0].clone())
}

fn ask(user: u64, seconds: u64) -> SlotRequest {
    SlotRequest {
        is_spare: false,
        turn: ConversationTurn::Alone,
        tokens: 0,
        priority: Priority::Interactive,
        user: Some(user),
        deadline: Instant::now() + Duration::from_secs(seconds),
        waits_out_rest: true,
    }
}

/// What the provider counts of an account, and how often it would have refused.
#[derive(Default)]
struct Account {
    minute: VecDeque<Instant>,
    days: HashMap<NaiveDate, usize>,
    sent: usize,
    refused: usize,
}

impl Account {
    #[expect(
        clippy::disallowed_methods,
        reason = "days are those of the real clock, which the quota asks too"
    )]
    fn take(&mut self) {
        let now = Instant::now();
        while self
            .minute
            .front()
            .is_some_and(|at| now - *at >= Duration::from_secs(60))
        {
            self.minute.pop_front();
        }
        let day = self.days.entry(Utc::now().date_naive()).or_default();
        if self.minute.len() >= MINUTE || *day >= DAY {
            self.refused += 1;
        }
        *day += 1;
        self.sent += 1;
        self.minute.push_back(now);
    }
}

/// A thousand calls in ten minutes, by a seed, through two keys; the provider's accounts after it.
async fn drive(account: &str, seed: u64) -> HashMap<String, Account> {
    let (quotas, keys, model) = ring(account);
    let accounts: Mutex<HashMap<String, Account>> = Mutex::default();
    let began = Instant::now();
    let mut random = StdRng::seed_from_u64(seed);
    let calls = (0..1_000_u64).map(|user| {
        let at = began + Duration::from_millis(random.random_range(0..600_000));
        let patience = random.random_range(0..120);
        let (quotas, keys, model, accounts) = (&quotas, &keys, &model, &accounts);
        async move {
            sleep_until(at).await;
            if let Ok((key, slot)) = keys.enter(quotas, model, ask(user, patience), &[]).await {
                drop(slot.send());
                accounts
                    .lock()
                    .entry(key.account.clone())
                    .or_default()
                    .take();
            }
        }
    });
    futures::future::join_all(calls).await;
    accounts.into_inner()
}

#[tokio::test(start_paused = true)]
async fn a_key_rests_until_the_last_of_its_refusals_is_over() {
    let (_, keys, _) = ring("");
    let key = &keys.0[0];
    // A call that was under way is refused for less.
    for (kind, seconds) in [(FaultKind::Payment, 3_600), (FaultKind::RateLimited, 5)] {
        let mut fault = Fault::new(kind, "");
        fault.retry_after = Some(Duration::from_secs(seconds));
        assert!(key.refused(&fault));
    }
    tokio::time::advance(Duration::from_secs(3_599)).await;
    assert!(!key.is_usable());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(key.is_usable());
}

#[tokio::test(start_paused = true)]
async fn two_keys_of_one_account_never_ask_more_often_than_one() {
    for seed in 0..5 {
        let accounts = drive("", seed).await;
        let account = &accounts["p"];
        assert_eq!(
            (accounts.len(), account.refused, account.sent),
            (1, 0, DAY),
            "seed {seed}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn two_keys_of_two_accounts_ask_as_often_as_both_may() {
    for seed in 0..5 {
        let accounts = drive(", account = \"other\"", seed).await;
        for name in ["p", "p/other"] {
            let account = &accounts[name];
            assert_eq!(
                (account.refused, account.sent),
                (0, DAY),
                "{name}, seed {seed}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_does_so_for_the_account_that_is_free_first() {
    let (quotas, keys, model) = ring(", account = \"other\"");
    // The first of the file is used up last.
    for account in ["p/other", "p"] {
        while let Ok(slot) = quotas.enter(account, &model, ask(0, 0)).await {
            drop(slot.send());
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    let began = Instant::now();
    let entered = keys.enter(&quotas, &model, ask(1, 100), &[]).await;
    let (key, _slot) = entered.unwrap();
    assert_eq!(
        (key.account.as_str(), began.elapsed().as_secs()),
        ("p/other", 62 - 40)
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_an_account_for_longer_than_another_rests() {
    let (quotas, keys, model) = ring(", account = \"other\"");
    while let Ok(slot) = quotas.enter("p/other", &model, ask(0, 0)).await {
        drop(slot.send());
    }
    quotas.rest("p", &model, Duration::from_secs(5), LimitScope::Account);
    let began = Instant::now();
    let hurried = SlotRequest {
        waits_out_rest: false,
        ..ask(1, 100)
    };
    let refused = keys
        .enter(&quotas, &model, hurried, &[])
        .await
        .err()
        .unwrap();
    assert_eq!(
        (
            refused.reason,
            refused.after.as_secs(),
            began.elapsed().as_secs()
        ),
        (SlotRefusalReason::Rest, 5, 0)
    );
    let (key, _slot) = keys.enter(&quotas, &model, ask(1, 100), &[]).await.unwrap();
    assert_eq!((&*key.account, began.elapsed().as_secs()), ("p", 5));
}

fn fault(kind: FaultKind) -> Fault {
    Fault::new(kind, "a test")
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_refused_is_left_alone_and_one_whose_account_is_busy_comes_back() {
    let (quotas, keys, model) = ring(", account = \"other\"");
    let [first, second] = &keys.0[..] else {
        panic!()
    };
    let drawn = || async {
        let (key, slot) = keys.enter(&quotas, &model, ask(1, 1), &[]).await.unwrap();
        drop(slot);
        key.account.clone()
    };
    let mut tried = Vec::new();
    assert!(
        !keys.refused(first, &fault(FaultKind::Upstream), &mut tried),
        "no fault of a key"
    );
    assert!(keys.refused(first, &fault(FaultKind::RateLimited), &mut tried));
    for _ in 0..20 {
        assert_eq!(drawn().await, "p/other");
    }
    tokio::time::sleep(TOO_OFTEN).await;
    assert!(first.is_usable());
    let mut tried = Vec::new();
    assert!(keys.refused(second, &fault(FaultKind::Authentication), &mut tried));
    tokio::time::sleep(Duration::from_secs(25 * 3_600)).await;
    assert_eq!(drawn().await, "p", "a key that is wrong stays wrong");
    assert!(
        !keys.refused(first, &fault(FaultKind::Authentication), &mut tried),
        "none is left"
    );
    // Then all are asked, so that it shows when one is good again.
    drawn().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_wait_the_key_is_asked_that_was_waited_for_and_not_one_that_is_wrong() {
    let (quotas, keys, model) = ring(", account = \"other\"");
    let [first, second] = &keys.0[..] else {
        panic!()
    };
    keys.refused(second, &fault(FaultKind::Authentication), &mut Vec::new());
    let mut busy = fault(FaultKind::RateLimited);
    busy.retry_after = Some(Duration::from_secs(2));
    let mut tried = Vec::new();
    assert!(!keys.refused(first, &busy, &mut tried), "no other helps");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let entered = keys.enter(&quotas, &model, ask(1, 1), &tried).await;
    assert_eq!(entered.unwrap().0.account, "p");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_no_daily_limit_takes_is_an_hour() {
    let (_, keys, _) = ring(", account = \"other\"");
    let mut endless = fault(FaultKind::RateLimited);
    endless.retry_after = Some(Duration::from_secs(2_000_000_000));
    assert!(keys.refused(&keys.0[0], &endless, &mut Vec::new()));
    assert!(!keys.0[0].is_usable());
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert!(keys.0[0].is_usable());
}

#[test]
fn keys_are_drawn_by_their_weights() {
    let (quotas, keys, model) = ring("");
    let heavy =
        (0..4_000).filter(|_| Arc::ptr_eq(&keys.drawn(&quotas, &model, &[])[0], &keys.0[1]));
    let heavy = heavy.count();
    // Three of four; ten standard deviations of √(4000 · ¾ · ¼).
    assert!((3_000 - 274..3_000 + 274).contains(&heavy), "{heavy}");
}
