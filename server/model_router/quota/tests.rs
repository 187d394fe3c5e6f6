use futures::{FutureExt, future::join_all};

use super::{
    schedule::{ConversationTurn, Priority, SlotRefusalReason},
    store::QuotaStore,
    used::Used,
    *,
};

fn quotas(minute: u32) -> (Quotas, Arc<Model>) {
    let text = format!(
        "[providers.p]\nbase_url = \"http://p/v1\"\nquota = {{ minute = {minute} }}\n\
         [models.m]\nprovider = \"p\"\nid = \"m\"\ncontext = 1\nprices = {{ prompt = 1, completion = 1 }}\n\
         [tasks.chat]\ncandidate = [\"m\"]\ncontrol = [\"m\"]\n"
    );
    let catalog = Catalog::parse(&text).unwrap();
    (Quotas::new(&catalog), catalog.models[0].clone())
}

fn ask(seconds: u64) -> SlotRequest {
    SlotRequest {
        is_spare: false,
        turn: ConversationTurn::Alone,
        tokens: 0,
        priority: Priority::Interactive,
        user: None,
        deadline: Instant::now() + Duration::from_secs(seconds),
        waits_out_rest: true,
    }
}

#[tokio::test(start_paused = true)]
async fn calls_wait_for_their_turn_and_no_longer_than_they_can() {
    let (quotas, model) = quotas(20);
    for _ in 0..19 {
        quotas.enter("p", &model, ask(3)).await.unwrap().send();
    }
    let began = Instant::now();
    let refused = quotas.enter("p", &model, ask(3)).await.err().unwrap();
    assert_eq!(
        (refused.reason, refused.after.as_secs()),
        (SlotRefusalReason::Minute, 62)
    );
    assert_eq!(began.elapsed(), Duration::ZERO, "at once");
    let waiting = join_all((0..5).map(|_| quotas.enter("p", &model, ask(100))));
    let slots = waiting.await;
    assert!(slots.iter().all(Result::is_ok));
    assert_eq!(began.elapsed().as_secs(), 62);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_makes_room() {
    let (quotas, model) = quotas(1);
    let slot = quotas.enter("p", &model, ask(1)).await.unwrap();
    let mut first = Box::pin(quotas.enter("p", &model, ask(300)));
    let mut second = Box::pin(quotas.enter("p", &model, ask(300)));
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    assert_eq!(quotas.standing("p").unwrap().waiting, 2);
    // The slot was not used: it is the first one's, who leaves without having looked.
    drop(slot);
    assert_eq!(quotas.standing("p").unwrap().waiting, 1);
    drop(first);
    let slot = second.now_or_never().unwrap().unwrap();
    assert_eq!(quotas.standing("p").unwrap().free_minute, Some(0));
    drop(slot);
    let standing = quotas.standing("p").unwrap();
    assert_eq!((standing.free_minute, standing.waiting), (Some(1), 0));
    assert_eq!(quotas.accounts["p"].whole.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_calls_at_once_leave_nothing_behind() {
    let (quotas, model) = quotas(100);
    let calls = (0..10_000_u64).map(|n| {
        let ask = SlotRequest {
            user: Some(n % 500),
            ..ask(20 + n % 200)
        };
        let (quotas, model) = (&quotas, &model);
        async move {
            let entered =
                tokio::time::timeout(Duration::from_secs(n % 150), quotas.enter("p", model, ask));
            match entered.await {
                Ok(Ok(slot)) if n % 7 == 0 => drop(slot),
                Ok(Ok(slot)) => drop(slot.send()),
                Ok(Err(_)) | Err(_) => {}
            }
        }
    });
    join_all(calls).await;
    tokio::time::sleep(Duration::from_secs(63)).await;
    let standing = quotas.standing("p").unwrap();
    assert_eq!((standing.free_minute, standing.waiting), (Some(95), 0));
    assert_eq!(quotas.accounts["p"].whole.waiting(), 0);
}

#[tokio::test]
async fn a_quota_for_models_that_cost_nothing_is_no_quota_for_others() {
    let (quotas, model) = quotas(1);
    let limits = AccountLimits {
        minute: Some(1),
        day: Some(0),
        tokens: None,
    };
    quotas.learn(
        "p",
        Quota {
            limits,
            used: 0,
            only_free: true,
        },
    );
    assert!(quotas.enter("p", &model, ask(1)).await.is_ok());
    let free = Model {
        tier: Tier::Free,
        ..(*model).clone()
    };
    let refused = quotas.enter("p", &free, ask(1)).await.err().unwrap();
    assert_eq!(refused.reason, SlotRefusalReason::Day);
}

/// Two models of an account without a quota; the second costs nothing.
fn without_quota() -> (Quotas, [Arc<Model>; 2]) {
    let text = "[providers.p]\nbase_url = \"http://p/v1\"\n\
         [models.m]\nprovider = \"p\"\nid = \"m\"\ncontext = 1\ntier = \"paid\"\n\
         [models.n]\nprovider = \"p\"\nid = \"n\"\ncontext = 1\ntier = \"free\"\n\
         [tasks.chat]\ncandidate = [\"m\"]\ncontrol = [\"n\"]\n";
    let catalog = Catalog::parse(text).unwrap();
    let models = [0, 1].map(|place| catalog.models[place].clone());
    (Quotas::new(&catalog), models)
}

#[tokio::test(start_paused = true)]
async fn an_account_without_a_quota_rests_as_long_as_its_provider_says() {
    let (quotas, [paid, free]) = without_quota();
    let refusal = async |model: &Model, ask: SlotRequest| {
        let refused = quotas.enter("p", model, ask).await.err();
        refused.map(|it| (it.reason, it.after.as_secs()))
    };
    let hurried = SlotRequest {
        waits_out_rest: false,
        ..ask(30)
    };
    quotas.rest("p", &paid, Duration::from_secs(40), LimitScope::Account);
    assert_eq!(
        refusal(&paid, ask(30)).await,
        Some((SlotRefusalReason::Rest, 40))
    );
    assert_eq!(
        refusal(&free, ask(30)).await,
        Some((SlotRefusalReason::Rest, 40))
    );
    assert!(quotas.standing("p").is_none(), "nothing is known of it");
    let told = quotas.allowed("p").into_iter();
    let told: Vec<_> = told.map(|it| (it.model.to_string(), it.rests)).collect();
    let rests = Some(Duration::from_secs(40));
    assert_eq!(told, [("m".to_owned(), rests), ("n".to_owned(), rests)]);
    assert_eq!(quotas.rests("p", &free), rests);
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(
        refusal(&paid, hurried).await,
        Some((SlotRefusalReason::Rest, 20))
    );
    let since = Instant::now();
    assert_eq!(refusal(&paid, ask(30)).await, None);
    assert_eq!(since.elapsed().as_secs(), 20, "it waits");
    // What costs nothing is limited by itself.
    quotas.rest("p", &free, Duration::from_secs(60), LimitScope::Account);
    assert_eq!(
        refusal(&free, ask(30)).await,
        Some((SlotRefusalReason::Rest, 60))
    );
    assert_eq!(refusal(&paid, hurried).await, None);
}

/// How long a model rests, in seconds; `None` where it may be asked.
async fn rest_of(quotas: &Quotas, model: &Model) -> Option<u64> {
    let hurried = SlotRequest {
        waits_out_rest: false,
        ..ask(30)
    };
    let refused = quotas.enter("p", model, hurried).await.err()?;
    Some(refused.after.as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_short_rest_of_all_does_not_become_as_long_as_one_of_what_costs_nothing() {
    for paid_first in [false, true] {
        let (quotas, [paid, free]) = without_quota();
        let mut told = [(&free, 72_000), (&paid, 1)];
        if paid_first {
            told.reverse();
        }
        for (model, seconds) in told {
            quotas.rest(
                "p",
                model,
                Duration::from_secs(seconds),
                LimitScope::Account,
            );
        }
        assert_eq!(rest_of(&quotas, &paid).await, Some(1));
        assert_eq!(rest_of(&quotas, &free).await, Some(72_000));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(rest_of(&quotas, &paid).await, None);
        assert_eq!(rest_of(&quotas, &free).await, Some(71_998));
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_rests_also_where_only_the_quota_of_what_costs_nothing_is_known() {
    let (quotas, [paid, free]) = without_quota();
    let limits = AccountLimits {
        minute: Some(20),
        day: Some(50),
        tokens: None,
    };
    quotas.learn(
        "p",
        Quota {
            limits,
            used: 0,
            only_free: true,
        },
    );
    quotas.rest("p", &free, Duration::from_secs(40), LimitScope::Account);
    assert_eq!(rest_of(&quotas, &paid).await, None);
    assert_eq!(rest_of(&quotas, &free).await, Some(40));
    quotas.rest("p", &paid, Duration::from_secs(60), LimitScope::Account);
    assert_eq!(rest_of(&quotas, &paid).await, Some(60));
    assert_eq!(rest_of(&quotas, &free).await, Some(60));
}

#[tokio::test(start_paused = true)]
async fn an_account_with_a_quota_shows_its_rest_as_a_whole() {
    let (quotas, model) = quotas(20);
    assert_eq!(quotas.standing("p").unwrap().rests, None);
    quotas.rest("p", &model, Duration::from_secs(40), LimitScope::Account);
    let rests = Some(Duration::from_secs(40));
    assert_eq!(quotas.standing("p").unwrap().rests, rests);
    assert_eq!(quotas.rests("p", &model), rests);
    assert!(quotas.allowed("p").is_empty());
    tokio::time::advance(Duration::from_secs(40)).await;
    assert_eq!(quotas.rests("p", &model), None);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_no_limit_lasts_lets_rest_only_what_has_a_quota() {
    let (unknown, [model, _]) = without_quota();
    let (known, other) = quotas(20);
    for (quotas, model, expected) in [(unknown, model, None), (known, other, Some(3_600))] {
        quotas.rest(
            "p",
            &model,
            Duration::from_secs(30 * 86_400),
            LimitScope::Account,
        );
        let refused = quotas.enter("p", &model, ask(30)).await.err();
        assert_eq!(refused.map(|it| it.after.as_secs()), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_each_model_lets_one_model_rest() {
    let (quotas, [m, n]) = without_quota();
    quotas.rest("p", &m, Duration::from_secs(40), LimitScope::Model);
    let refused = quotas.enter("p", &m, ask(30)).await.err().unwrap();
    assert_eq!(
        (refused.reason, refused.after.as_secs()),
        (SlotRefusalReason::Rest, 40)
    );
    assert!(quotas.enter("p", &n, ask(30)).await.is_ok());
}

/// Four models of an account with this quota: paid ones with and without a word about it, and such that cost nothing.
fn of_all_tiers(quota: &str) -> (Quotas, [Arc<Model>; 4]) {
    let text = format!(
        "[providers.p]\nbase_url = \"http://p/v1\"\n{quota}\
         [models.paid]\nprovider = \"p\"\nid = \"paid\"\ncontext = 1\ntier = \"paid\"\n\
         [models.unsaid]\nprovider = \"p\"\nid = \"unsaid\"\ncontext = 1\n\
         [models.asked]\nprovider = \"p\"\nid = \"asked\"\ncontext = 1\n\
         [models.free]\nprovider = \"p\"\nid = \"free\"\ncontext = 1\ntier = \"free\"\n\
         [tasks.chat]\ncandidate = [\"paid\"]\ncontrol = [\"free\"]\n"
    );
    let catalog = Catalog::parse(&text).unwrap();
    let models =
        ["paid", "unsaid", "asked", "free"].map(|name| catalog.model(name).unwrap().clone());
    (Quotas::new(&catalog), models)
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_what_costs_nothing_lets_nothing_rest_that_may_cost_something() {
    for quota in ["", "quota = { minute = 20, day = 50 }\n"] {
        let (quotas, [paid, unsaid, asked, free]) = of_all_tiers(quota);
        quotas.rest("p", &asked, Duration::from_secs(80_000), LimitScope::Free);
        for (model, expected) in [
            (&paid, None),
            (&unsaid, None),
            (&asked, Some(80_000)),
            (&free, Some(80_000)),
        ] {
            let rests = rest_of(&quotas, model).await;
            assert_eq!(rests, expected, "{} with `{quota}`", model.name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_what_costs_nothing_lets_all_rest_whose_quota_it_is() {
    let (quotas, [paid, unsaid, asked, free]) = of_all_tiers("");
    // As OpenRouter tells it.
    let limits = AccountLimits {
        minute: Some(20),
        day: Some(50),
        tokens: None,
    };
    let told = Quota {
        limits,
        used: 0,
        only_free: true,
    };
    quotas.learn("p", told);
    quotas.rest("p", &asked, Duration::from_secs(80_000), LimitScope::Free);
    assert_eq!(rest_of(&quotas, &paid).await, None);
    for model in [&unsaid, &asked, &free] {
        assert_eq!(
            rest_of(&quotas, model).await,
            Some(80_000),
            "{}",
            model.name
        );
    }
    let standing = quotas.standing("p").unwrap();
    assert_eq!(
        standing.rests,
        Some(Duration::from_secs(80_000)),
        "all servers know"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_said_of_one_model_of_an_account_keeps_no_other_from_it() {
    let text = "[providers.p]\nbase_url = \"http://p/v1\"\n\
         [models.m]\nprovider = \"p\"\nid = \"m\"\ncontext = 1\n\
         [models.n]\nprovider = \"p\"\nid = \"n\"\ncontext = 1\n\
         [tasks.chat]\ncandidate = [\"m\"]\ncontrol = [\"n\"]\n";
    let catalog = Catalog::parse(text).unwrap();
    let quotas = Quotas::new(&catalog);
    let [m, n] = [0, 1].map(|place| catalog.models[place].clone());
    drop(quotas.enter("p", &m, ask(1)).await.unwrap().send());
    let told = providers::Allowance {
        requests: Some(providers::Left {
            left: 0,
            of: None,
            span: Duration::from_secs(10),
        }),
        tokens: None,
    };
    quotas.allow("p", &m, &told, Instant::now(), 0);
    let refused = quotas.enter("p", &m, ask(1)).await.err().unwrap();
    assert_eq!(refused.after, Duration::from_secs(10));
    assert!(quotas.enter("p", &n, ask(1)).await.is_ok());
    assert_eq!(quotas.free_share("p", &m), Some(0.0));
    assert_eq!(quotas.free_share("p", &n), None);
    let allowed = |quotas: &Quotas| {
        let all = quotas.allowed("p").into_iter();
        let left = all.map(|it| {
            (
                it.model.to_string(),
                it.requests.unwrap().left,
                it.tokens.is_some(),
            )
        });
        left.collect::<Vec<_>>()
    };
    assert_eq!(allowed(&quotas), [("m".to_owned(), 0, false)]);
    // It holds with another catalog as well, and waiting as told is enough.
    let quotas = quotas.renewed(&catalog);
    let began = Instant::now();
    quotas.enter("p", &m, ask(20)).await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(10));
    assert_eq!(allowed(&quotas), []);
}

/// A database that does not answer.
struct Hanging;

#[async_trait::async_trait]
impl QuotaStore for Hanging {
    async fn quotas(&self) -> anyhow::Result<Vec<(String, Used)>> {
        std::future::pending().await
    }

    async fn keep_quota(&self, _: &str, _: &Used) -> anyhow::Result<()> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_catalog_waits_for_no_database_and_counts_half_of_the_day_as_used() {
    let (quotas, model) = quotas(20);
    *quotas.keeper.lock() = Some(Keeper::new(Arc::new(Hanging)));
    quotas.accounts["p"].whole.limit(AccountLimits {
        minute: None,
        day: Some(50),
        tokens: None,
    });
    let began = Instant::now();
    quotas.catch_up().await;
    assert_eq!(began.elapsed(), READ_TIMEOUT);
    assert_eq!(quotas.standing("p").unwrap().free_day, Some(25));
    assert!(quotas.enter("p", &model, ask(1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn tokens_of_a_minute_are_told_by_the_catalog_and_kept() {
    let of = |quota: &str| {
        Catalog::parse(&format!(
            "[providers.p]\nbase_url = \"http://p/v1\"\nquota = {{ {quota} }}\n\
             [models.m]\nprovider = \"p\"\nid = \"m\"\ncontext = 1\n\
             [tasks.chat]\ncandidate = [\"m\"]\ncontrol = [\"m\"]\n"
        ))
    };
    let faulty = of("tokens = 0").unwrap_err().to_string();
    assert!(
        faulty.contains("`providers.p.quota.tokens` is 0"),
        "{faulty}"
    );
    let catalog = of("tokens = 1000").unwrap();
    let (quotas, model) = (Quotas::new(&catalog), catalog.models[0].clone());
    assert!(quotas.counts_tokens() && !Quotas::new(&of("minute = 9").unwrap()).counts_tokens());
    let asking = |tokens| SlotRequest { tokens, ..ask(1) };
    let (sent, course) = quotas.enter("p", &model, asking(900)).await.unwrap().send();
    drop(sent);
    let refused = quotas.enter("p", &model, asking(200)).await.err().unwrap();
    assert_eq!(refused.reason, SlotRefusalReason::Tokens);
    course.took(700);
    assert!(quotas.enter("p", &model, asking(200)).await.is_ok());
    assert_eq!(quotas.standing("p").unwrap().free_tokens, Some(250));
}

mod together;
