use std::future::pending;

use chrono::DateTime;
use futures::stream::BoxStream;
use tokio::{
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};

use super::*;
use crate::{
    _core::{amount::Amount, tasks::Tasks, units::Microdollars},
    keys::{ApiKey, KeyLimits, Slow, Spending},
};

/// Holds back whatever comes.
struct HoldsBack;

impl AnswerWriter for HoldsBack {
    fn whole(self, raw: String, _: &str) -> Result<String, Refusal> {
        Ok(raw)
    }

    fn push(&mut self, _: Delta) -> String {
        String::new()
    }

    fn finish(&mut self) -> String {
        "end".into()
    }

    fn fail(&mut self, _: &Refusal, _: &str) -> String {
        "fault".into()
    }
}

/// Passes on what comes.
struct PassesOn;

impl AnswerWriter for PassesOn {
    fn whole(self, raw: String, _: &str) -> Result<String, Refusal> {
        Ok(raw)
    }

    fn push(&mut self, step: Delta) -> String {
        step.content
    }

    fn finish(&mut self) -> String {
        "end".into()
    }

    fn fail(&mut self, _: &Refusal, _: &str) -> String {
        "fault".into()
    }
}

fn under_way<W>(
    deltas: BoxStream<'static, Result<Delta, RouteError>>,
    bill: Bill,
    writer: W,
) -> UnderWay<W> {
    UnderWay {
        answer: AnswerStream {
            model: "a".into(),
            position: 0,
            deltas,
        },
        bill,
        writer,
        request_id: "r".into(),
        line: RequestLogLine::default(),
        _place: Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap(),
        keeping: None,
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_ready_goes_out_while_a_budget_is_asked_of_the_database() {
    let tokens = |tokens| Amount {
        tokens,
        cost: Microdollars(0),
    };
    // What a budget wants beside what it needs is more than that.
    let store = Slow::new(|amount| amount.tokens >= 512);
    let key = ApiKey {
        id: "id".to_owned(),
        name: "shop".to_owned(),
        models: None,
        limits: KeyLimits {
            tokens_per_day: Some(10_000),
            ..KeyLimits::default()
        },
        created_at: DateTime::UNIX_EPOCH,
        expires_at: None,
        revoked_at: None,
    };
    let now = DateTime::UNIX_EPOCH;
    let spending = Spending::new(store.clone(), Tasks::default());
    let reservation = spending.reserve(&key, tokens(1), now).await.unwrap();
    let bill = Bill::of_key(key, reservation, now);
    let step = |content: &str| {
        Ok(Delta {
            content: content.into(),
            ..Delta::default()
        })
    };
    let steps = futures::stream::iter(["hej", "one word more than was paid"].map(step));
    let mut events = Box::pin(under_way(steps.boxed(), bill, PassesOn).events());
    let ready = timeout(Duration::from_secs(5), events.next()).await;
    assert_eq!(ready.unwrap().unwrap().unwrap(), "hej");
    store.goes_on.notify_one();
    let rest: Vec<_> = events.map(Result::unwrap).collect().await;
    assert_eq!(rest.concat(), b"one word more than was paidend");
}

#[tokio::test(start_paused = true)]
async fn a_client_is_told_that_the_connection_lives_also_while_what_comes_is_held_back() {
    let steps = futures::stream::iter(0..40).then(|_| async {
        sleep(Duration::from_secs(1)).await;
        Ok(Delta::default())
    });
    let began = Instant::now();
    let events = under_way(steps.boxed(), Bill::default(), HoldsBack).events();
    let told: Vec<_> = events
        .map(|event| (began.elapsed().as_secs(), event.unwrap()))
        .collect()
        .await;
    let waiting = Bytes::from(": waiting\n\n");
    let expected = [(15, waiting.clone()), (30, waiting), (40, "end".into())];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn what_others_hand_over_in_their_turn_goes_out_together_and_nothing_is_waited_for() {
    let (hand, mut pieces) = mpsc::channel(1);
    let hands_over = async {
        for piece in 1..=3 {
            hand.send(piece).await.unwrap();
        }
        pending::<()>().await;
    };
    let takes = async {
        let mut together = Vec::new();
        while let Some(piece) = at_once(pieces.recv()).await {
            together.extend(piece);
        }
        together
    };
    tokio::select! {
        together = takes => assert_eq!(together, [1, 2, 3]),
        () = hands_over => {}
    }
}
