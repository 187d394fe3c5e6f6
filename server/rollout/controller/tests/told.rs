//! What rollouts alone get: ratings, and requests that are slow before they end.

use tokio_util::sync::CancellationToken;

use super::*;

#[tokio::test]
async fn ratings_are_folded_and_replayed() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    for second in 0..10 {
        for user in 0..20 {
            rig.log.append(Event {
                subject: Some(user),
                variant: Variant::Candidate,
                outcome: Outcome::Rated {
                    good: user % 2 == 0,
                },
                ..rig.answer()
            });
        }
        rig.second(50, |_| false).await;
        if second == 5 {
            rig.steer(&id, 1, "wait", CommandKind::Pause)
                .await
                .expect("paused");
        }
    }
    // Evidence is written with each change, and else every few seconds.
    let resumed = rig.steer(&id, 2, "go on", CommandKind::Resume).await;
    resumed.expect("resumed");
    let view = rig.controller.get(&id).await.expect("a rollout");
    assert_eq!(view.verdict.candidate.good_ratings, 100);
    let replay = rig.replay(&id).await;
    assert!(replay.is_identical && replay.ratings == 200, "{replay:?}");
}

#[tokio::test]
async fn a_request_that_hangs_is_told_while_it_is_open() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    rig.second(300, |_| false).await;
    let mut hanging = rig.answer();
    let earlier = Instant::now().checked_sub(Duration::from_millis(500));
    let number = rig.log.begin(&hanging, earlier.expect("half a second"));
    rig.second(0, |_| false).await;
    rig.second(0, |_| false).await;
    let log = rig.store.events_of(&id, 0, 10_000).await.expect("events");
    let open: Vec<_> = log
        .iter()
        .filter(|it| it.outcome == Outcome::Open)
        .collect();
    assert_eq!(open.len(), 1, "it is told once");
    assert!(open[0].latency_ms >= 500.0);
    let finding = rig.controller.get(&id).await.expect("a rollout").finding;
    let hung = [finding.control, finding.candidate].map(|arm| arm.hung);
    assert_eq!(hung.iter().sum::<u64>(), 1);

    hanging.was_open = rig.log.close(number.expect("a number"));
    rig.metrics.record(hanging);
    rig.second(0, |_| false).await;
    let log = rig.store.events_of(&id, 0, 10_000).await.expect("events");
    let end = log.last().expect("its end");
    assert!(end.was_open && end.outcome == Outcome::Success, "{end:?}");
    let replay = rig.replay(&id).await;
    assert!(replay.is_identical, "{replay:?}");
}

#[tokio::test(start_paused = true)]
async fn events_are_stored_every_second_however_many_come() {
    let rig = Rig::new().await;
    rig.started().await;
    let stop = CancellationToken::new();
    let run = rig.controller.clone().run(stop.cancelled());
    let traffic = async {
        let (mut commits, mut since) = (0, Instant::now());
        let end = since + Duration::from_secs(60);
        while Instant::now() < end {
            rig.request(|_| false);
            sleep(Duration::from_millis(10)).await;
            let now = rig.store.0.lock().commits;
            if now > commits {
                (commits, since) = (now, Instant::now());
            }
            // A tick, and the pause between two looks.
            assert!(since.elapsed() <= TICK + GAP * 2, "{:?}", since.elapsed());
        }
        stop.cancel();
    };
    tokio::join!(run, traffic);
}

/// What a subscriber of warnings and above writes.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Warnings {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_is_taken_back_is_logged_as_a_warning_and_a_beginning_is_not() {
    let warnings = Warnings::default();
    let writer = warnings.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    let logged = || String::from_utf8(warnings.0.lock().clone()).expect("a text");
    assert!(!logged().contains(&id), "{}", logged());
    // A test beside this one may have met the same lines while this one's subscriber was being added.
    tracing::callsite::rebuild_interest_cache();
    while rig.serves() > 0.0 {
        rig.second(100, candidate_fails).await;
    }
    let logged = logged();
    let line = logged.lines().find(|line| line.contains("rolled-back"));
    assert!(line.is_some_and(|line| line.contains(&id)), "{logged}");
}
