//! Processes that use the same accounts, on a database that is one in memory.

use std::sync::atomic::{AtomicU32, AtomicU64};

use super::*;
use crate::model_router::quota::{
    record::{AccountReport, ReportAnswer},
    store::Shared,
};

/// A database.
struct Database {
    used: Mutex<Used>,
    live: AtomicU32,
    is_away: AtomicBool,
    /// How long it takes for a report.
    takes_ms: AtomicU64,
    /// Reports so far.
    reports: AtomicU32,
    loses_answers: AtomicBool,
}

impl Database {
    fn new(live: u32) -> Arc<Self> {
        let used = Used {
            day: now().utc_ms.div_euclid(86_400_000),
            ..Used::default()
        };
        Arc::new(Self {
            used: Mutex::new(used),
            live: live.into(),
            is_away: false.into(),
            takes_ms: 0.into(),
            reports: 0.into(),
            loses_answers: false.into(),
        })
    }

    /// The tests' time stands still where the machine's goes on.
    fn now_ms() -> i64 {
        static BEGAN: std::sync::OnceLock<(i64, Instant)> = std::sync::OnceLock::new();
        let (began_ms, began) = *BEGAN.get_or_init(|| (now().utc_ms, Instant::now()));
        began_ms + began.elapsed().as_millis() as i64
    }

    async fn answers(&self) -> anyhow::Result<()> {
        if self.is_away.load(Ordering::Relaxed) {
            std::future::pending().await
        }
        anyhow::ensure!(!self.loses_answers.load(Ordering::Relaxed), "lost");
        Ok(())
    }
}

#[async_trait::async_trait]
impl QuotaStore for Database {
    async fn quotas(&self) -> anyhow::Result<Vec<(String, Used)>> {
        Ok(vec![("p".to_owned(), self.used.lock().clone())])
    }

    async fn keep_quota(&self, _: &str, _: &Used) -> anyhow::Result<()> {
        panic!("it gives slots")
    }

    fn gives_slots(&self) -> bool {
        true
    }

    async fn say(&self, _: &str, report: &AccountReport) -> anyhow::Result<ReportAnswer> {
        let said = || {
            let now_ms = Self::now_ms();
            let mut used = self.used.lock();
            let slots = used.take_report(report, now_ms);
            let used = used.clone();
            ReportAnswer {
                slots,
                used,
                now_ms,
            }
        };
        if self.is_away.load(Ordering::Relaxed) {
            std::future::pending().await
        }
        let takes_ms = self.takes_ms.load(Ordering::Relaxed);
        if takes_ms > 0 {
            tokio::time::sleep(Duration::from_millis(takes_ms)).await;
        }
        self.reports.fetch_add(1, Ordering::Relaxed);
        let given = said();
        self.answers().await?;
        Ok(given)
    }

    async fn shared(&self) -> anyhow::Result<Shared> {
        self.answers().await?;
        Ok(Shared {
            now_ms: Self::now_ms(),
            live: self.live.load(Ordering::Relaxed),
            accounts: self.quotas().await?,
        })
    }
}

async fn on(database: &Arc<Database>) -> (Quotas, Arc<Model>) {
    let (quotas, model) = quotas(20);
    quotas.restore(database.clone()).await.unwrap();
    (quotas, model)
}

fn left(quotas: &Quotas) -> Option<u32> {
    quotas.standing("p").unwrap().free_minute
}

#[tokio::test(start_paused = true)]
async fn one_process_has_all_and_the_others_wait_for_what_it_has_used() {
    let database = Database::new(2);
    let (first, model) = on(&database).await;
    let (second, _) = on(&database).await;
    for _ in 0..19 {
        first.enter("p", &model, ask(3)).await.unwrap().send();
    }
    // It has not heard of the other, and finds that out.
    assert_eq!(left(&second), Some(19));
    let refused = second.enter("p", &model, ask(3)).await.err().unwrap();
    assert_eq!(refused.reason, SlotRefusalReason::Minute);
    assert!((61..=62).contains(&refused.after.as_secs()), "{refused:?}");
    assert_eq!(left(&second), Some(0));
    let began = Instant::now();
    let waiting = join_all((0..19).map(|_| second.enter("p", &model, ask(100)))).await;
    assert!(waiting.iter().all(Result::is_ok));
    assert!((61..=63).contains(&began.elapsed().as_secs()));
    // Those that are not sent are there again for all, with the next report.
    drop(waiting);
    second.listen(9).await.unwrap();
    first.listen(9).await.unwrap();
    assert_eq!((left(&first), left(&second)), (Some(19), Some(19)));
}

#[tokio::test(start_paused = true)]
async fn while_the_database_is_away_calls_wait_and_nobody_takes_a_slot() {
    let database = Database::new(2);
    let (quotas, model) = on(&database).await;
    quotas.listen(9).await.unwrap();
    database.is_away.store(true, Ordering::Relaxed);
    let refused = quotas.enter("p", &model, ask(3)).await.err().unwrap();
    assert_eq!(refused.reason, SlotRefusalReason::Database);
    let came_back = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        database.is_away.store(false, Ordering::Relaxed);
    };
    let (slot, ()) = tokio::join!(quotas.enter("p", &model, ask(20)), came_back);
    slot.unwrap().send();
    assert_eq!(
        (left(&quotas), database.used.lock().requests),
        (Some(18), 1)
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_costs_no_slot() {
    let database = Database::new(2);
    let (quotas, model) = on(&database).await;
    quotas.listen(9).await.unwrap();
    database.loses_answers.store(true, Ordering::Relaxed);
    assert!(quotas.enter("p", &model, ask(2)).await.is_err());
    assert_eq!(database.used.lock().requests, 1);
    database.loses_answers.store(false, Ordering::Relaxed);
    quotas.enter("p", &model, ask(2)).await.unwrap().send();
    assert_eq!(database.used.lock().requests, 1);
}

#[tokio::test(start_paused = true)]
async fn who_is_alone_goes_on_while_the_database_is_away_and_tells_it_later() {
    let database = Database::new(1);
    let (quotas, model) = on(&database).await;
    quotas.listen(9).await.unwrap();
    database.is_away.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        quotas.enter("p", &model, ask(3)).await.unwrap().send();
    }
    assert_eq!(left(&quotas), Some(16));
    database.is_away.store(false, Ordering::Relaxed);
    quotas.listen(9).await.unwrap();
    assert_eq!(
        (left(&quotas), database.used.lock().requests),
        (Some(16), 3)
    );
    // Another one that came meanwhile is heard of.
    database.live.store(2, Ordering::Relaxed);
    quotas.listen(9).await.unwrap();
    database.is_away.store(true, Ordering::Relaxed);
    assert!(quotas.enter("p", &model, ask(3)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_slow_database_is_not_away_for_calls_and_there_for_looks() {
    let database = Database::new(1);
    let (quotas, model) = on(&database).await;
    quotas.listen(9).await.unwrap();
    // And forgets it.
    let is_away = || quotas.accounts["p"].whole.outage.ends();
    for (takes_ms, expected) in [(400, false), (700, true), (400, false)] {
        database.takes_ms.store(takes_ms, Ordering::Relaxed);
        for _ in 0..3 {
            let calls = join_all((0..2).map(|_| quotas.enter("p", &model, ask(3)))).await;
            assert_eq!(is_away(), expected, "calls, {takes_ms} ms");
            for call in calls {
                call.unwrap().send();
            }
            let _ = quotas.listen(9).await;
            assert_eq!(is_away(), expected, "looks, {takes_ms} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_comes_back_in_a_catalog_gets_slots_at_once() {
    let database = Database::new(2);
    let (quotas, model) = on(&database).await;
    for _ in 0..5 {
        quotas.enter("p", &model, ask(3)).await.unwrap().send();
    }
    let without = Catalog::parse(
        "[providers.q]\nbase_url = \"http://q/v1\"\n[models.m]\nprovider = \"q\"\nid = \"m\"\ncontext = 1\n\
         [tasks.chat]\ncandidate = [\"m\"]\ncontrol = [\"m\"]\n",
    );
    let gone = quotas.renewed(&without.unwrap());
    let (fresh, model) = super::quotas(20);
    let back = Quotas {
        keeper: Mutex::new(gone.keeper.lock().clone()),
        ..fresh
    };
    back.catch_up().await;
    let began = Instant::now();
    back.enter("p", &model, ask(3)).await.unwrap().send();
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(database.used.lock().requests, 6);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_database_that_is_away_until_the_call_is_over() {
    let database = Database::new(2);
    let (quotas, model) = on(&database).await;
    quotas.listen(9).await.unwrap();
    database.is_away.store(true, Ordering::Relaxed);
    let began = Instant::now();
    let calls = join_all((0..9).map(|_| quotas.enter("p", &model, ask(30)))).await;
    let reasons: Vec<_> = calls
        .into_iter()
        .map(|it| it.err().unwrap().reason)
        .collect();
    assert_eq!(reasons, [SlotRefusalReason::Database; 9]);
    assert!((5..=7).contains(&began.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_could_not_wait_hears_what_is_used_up() {
    let database = Database::new(2);
    let (first, model) = on(&database).await;
    let (second, _) = on(&database).await;
    for _ in 0..19 {
        first.enter("p", &model, ask(3)).await.unwrap().send();
    }
    let refused = second.enter("p", &model, ask(0)).await.err().unwrap();
    assert_eq!(refused.reason, SlotRefusalReason::Minute);
    assert!((61..=62).contains(&refused.after.as_secs()), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_person_waits_behind_no_batch_for_a_slow_database() {
    let database = Database::new(2);
    let (quotas, model) = on(&database).await;
    database.takes_ms.store(100, Ordering::Relaxed);
    let began = Instant::now();
    let batch = SlotRequest {
        priority: Priority::Batch,
        ..ask(20)
    };
    let batches = join_all((0..10).map(|_| quotas.enter("p", &model, batch)));
    let person = async {
        quotas.enter("p", &model, ask(20)).await.unwrap().send();
        began.elapsed()
    };
    let (batches, waited) = tokio::join!(batches, person);
    assert!(batches.iter().all(Result::is_ok));
    assert!(waited < Duration::from_millis(250), "{waited:?}");
}

/// An account of 5,000 requests a minute.
async fn busy(database: &Arc<Database>) -> (Quotas, Arc<Model>) {
    let (busy, model) = quotas(5_000);
    busy.restore(database.clone()).await.unwrap();
    (busy, model)
}

#[tokio::test(start_paused = true)]
async fn calls_that_come_while_a_report_is_under_way_make_the_next_one_together() {
    let database = Database::new(2);
    let (quotas, model) = busy(&database).await;
    database.takes_ms.store(8, Ordering::Relaxed);
    let began = Instant::now();
    let calls = join_all((0..1_000).map(|_| quotas.enter("p", &model, ask(3)))).await;
    // One report each would take 8 s.
    assert!(
        began.elapsed() < Duration::from_millis(50),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(database.reports.load(Ordering::Relaxed), 2);
    for call in calls {
        call.unwrap().send();
    }
    assert_eq!(database.used.lock().requests, 1_000);
}

#[tokio::test(start_paused = true)]
async fn who_reports_for_others_and_leaves_costs_them_nothing() {
    let database = Database::new(2);
    let (quotas, model) = busy(&database).await;
    database.takes_ms.store(100, Ordering::Relaxed);
    let calls = (0..20).map(|_| quotas.enter("p", &model, ask(3)));
    let mut calls: Vec<_> = calls.map(Box::pin).collect();
    let mut leaving = calls.remove(0);
    let others = join_all(calls);
    let mut others = std::pin::pin!(others);
    // It makes its report, and the others gather.
    let _ = timeout(
        Duration::from_millis(50),
        futures::future::join(&mut leaving, &mut others),
    )
    .await;
    drop(leaving);
    let others = others.await;
    assert!(others.iter().all(Result::is_ok));
    // Of these one leaves with its slot.
    drop(others);
    quotas.listen(9).await.unwrap();
    assert_eq!(database.used.lock().requests, 0);
}

#[tokio::test(start_paused = true)]
async fn a_slot_of_a_call_that_left_while_others_made_its_report_is_there_again() {
    let database = Database::new(2);
    let (quotas, model) = busy(&database).await;
    database.takes_ms.store(100, Ordering::Relaxed);
    let first = quotas.enter("p", &model, ask(3));
    let second = async {
        tokio::task::yield_now().await;
        let calls = join_all((0..3).map(|_| quotas.enter("p", &model, ask(3))));
        timeout(Duration::from_millis(150), calls).await
    };
    let (first, second) = tokio::join!(first, second);
    first.unwrap().send();
    assert!(
        second.is_err(),
        "all three left while their report was under way"
    );
    quotas.listen(9).await.unwrap();
    assert_eq!(database.used.lock().requests, 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_says_is_divided_also_where_no_account_has_a_quota() {
    let text = "[providers.p]\nbase_url = \"http://p/v1\"\n\
         [models.m]\nprovider = \"p\"\nid = \"m\"\ncontext = 1\n\
         [tasks.chat]\ncandidate = [\"m\"]\ncontrol = [\"m\"]\n";
    let catalog = Catalog::parse(text).unwrap();
    let quotas = Quotas::new(&catalog);
    quotas.restore(Database::new(3)).await.unwrap();
    quotas.listen(9).await.unwrap();
    let told = providers::Allowance {
        requests: Some(providers::Left {
            left: 9,
            of: None,
            span: Duration::from_secs(10),
        }),
        tokens: None,
    };
    quotas.allow("p", &catalog.models[0], &told, Instant::now(), 0);
    assert_eq!(quotas.allowed("p")[0].requests.unwrap().left, 3);
}

#[tokio::test(start_paused = true)]
async fn a_conversation_keeps_its_room_while_one_of_its_calls_asks_again_and_again() {
    let database = Database::new(2);
    let (quotas, model) = on(&database).await;
    quotas.listen(9).await.unwrap();
    let of_one = |turn| SlotRequest {
        turn,
        user: Some(7),
        ..ask(3)
    };
    let begins = of_one(ConversationTurn::Begins(4));
    let (_, course) = quotas.enter("p", &model, begins).await.unwrap().send();
    assert_eq!(left(&quotas), Some(15));
    database.is_away.store(true, Ordering::Relaxed);
    let goes_on = quotas
        .enter("p", &model, of_one(ConversationTurn::GoesOn))
        .await;
    assert_eq!(goes_on.err().unwrap().reason, SlotRefusalReason::Database);
    // Of three requests that were to come one has come.
    assert_eq!(left(&quotas), Some(16));
    course.ends(Some(7));
    assert_eq!(left(&quotas), Some(18), "the end frees all that was kept");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_for_a_conversation_that_had_no_room() {
    let database = Database::new(2);
    let (others, model) = on(&database).await;
    let (quotas, _) = on(&database).await;
    for _ in 0..19 {
        drop(others.enter("p", &model, ask(3)).await.unwrap().send());
    }
    tokio::time::advance(Duration::from_secs(30)).await;
    let goes_on = SlotRequest {
        turn: ConversationTurn::GoesOn,
        user: Some(7),
        ..ask(3)
    };
    let refused = quotas.enter("p", &model, goes_on).await.err().unwrap();
    assert_eq!(refused.reason, SlotRefusalReason::Minute);
    tokio::time::advance(Duration::from_secs(35)).await;
    assert_eq!(left(&quotas), Some(19));
}

#[tokio::test(start_paused = true)]
async fn who_waits_behind_others_for_a_slow_database_goes_with_them() {
    let database = Database::new(2);
    let (quotas, model) = on(&database).await;
    quotas.listen(9).await.unwrap();
    database.takes_ms.store(400, Ordering::Relaxed);
    let calls = join_all((0..19).map(|_| quotas.enter("p", &model, ask(30)))).await;
    let reasons = calls.iter().filter_map(|it| it.as_ref().err());
    assert_eq!(reasons.collect::<Vec<_>>(), [&SlotRefusal::DATABASE; 0]);
    drop(calls);
    quotas.listen(9).await.unwrap();
    let late = join_all((0..19).map(|_| quotas.enter("p", &model, ask(3)))).await;
    let reasons: Vec<_> = late.iter().filter_map(|it| it.as_ref().err()).collect();
    assert_eq!(reasons, [&SlotRefusal::QUEUE; 0]);
    assert_eq!(database.reports.load(Ordering::Relaxed), 5);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_could_not_wait_hears_when_there_are_tokens_for_it() {
    let database = Database::new(2);
    let (first, model) = on(&database).await;
    let (second, _) = on(&database).await;
    let limits = AccountLimits {
        tokens: Some(1_000),
        ..AccountLimits::default()
    };
    for quotas in [&first, &second] {
        quotas.accounts["p"].whole.limit(limits);
    }
    let of = |tokens, seconds| SlotRequest {
        tokens,
        ..ask(seconds)
    };
    first.enter("p", &model, of(900, 3)).await.unwrap().send();
    let refused = second.enter("p", &model, of(100, 0)).await.err().unwrap();
    assert_eq!(refused.reason, SlotRefusalReason::Tokens);
    assert!((61..=62).contains(&refused.after.as_secs()), "{refused:?}");
}
