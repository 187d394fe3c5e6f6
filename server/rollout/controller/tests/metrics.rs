//! All metrics together, as the plans that ship weigh them.

use super::{rig::fast_by_all, *};
use crate::{providers::quality::Quality, rollout::evidence::Metric};

/// A second of answers, of which every so manieth has a flaw; or those of the candidate have it, or take so
/// many times as long.
async fn second(rig: &Rig, flawed: usize, candidate: Quality, slower: f64) {
    rig.clock.pass(1_000);
    for n in 0..200 {
        let mut event = rig.answer();
        event.latency_ms *= 10.0;
        event.quality = Some(Quality::Good);
        if event.variant == Variant::Candidate {
            event.quality = Some(candidate);
            event.latency_ms *= slower;
        }
        if flawed > 0 && n % flawed == 0 {
            event.quality = Some(Quality::Truncated);
        }
        rig.metrics.record(event);
    }
    rig.controller.tick().await;
}

#[tokio::test]
async fn a_stage_opens_only_once_every_metric_is_proven() {
    let rig = Rig::new().await;
    let id = rig.started_by(&fast_by_all()).await.id;
    let (mut seconds, mut waited) = (0, 0);
    while rig.serves() <= 10.0 {
        assert!(seconds < 200, "{:?}", rig.status(&id).await);
        // Where as many answers are flawed as the plan calls good, on both sides, that takes longest to prove.
        second(&rig, 5, Quality::Good, 1.0).await;
        seconds += 1;
        let view = rig.controller.get(&id).await.expect("a rollout");
        let metrics = &view.verdict.promotion.metrics;
        let e = |metric| {
            let of = metrics.iter().find(|it| it.metric == metric);
            of.map_or(0.0, |it| it.e)
        };
        let is_soaked = seconds > 6 && rig.serves() <= 10.0;
        if is_soaked && e(Metric::Errors) >= 100.0 && e(Metric::Quality) < 100.0 {
            waited += 1;
        }
    }
    assert!(waited > 0, "{waited} of {seconds} s");
    assert!(rig.replay(&id).await.is_identical);
}

#[tokio::test]
async fn a_candidate_is_taken_back_and_the_history_says_in_which_metric() {
    for (quality, slower, says) in [
        (
            Quality::WrongLanguage,
            1.0,
            "in another language), and on control none of",
        ),
        (Quality::Good, 5.0, "times as often as on control: "),
    ] {
        let rig = Rig::new().await;
        let id = rig.started_by(&fast_by_all()).await.id;
        for _ in 0..2 {
            second(&rig, 0, Quality::Good, 1.0).await;
        }
        assert_eq!(rig.serves(), 10.0);
        for _ in 0..20 {
            second(&rig, 0, quality, slower).await;
        }
        let status = rig.status(&id).await;
        assert_eq!(status.state, State::RolledBack, "{}", status.reason);
        assert!(status.reason.contains(says), "{}", status.reason);
        let why = rig.controller.archive().why(&id).await.expect("a history");
        assert!(why.last().expect("a line").text.contains(says));
        assert!(rig.replay(&id).await.is_identical);
    }
}
