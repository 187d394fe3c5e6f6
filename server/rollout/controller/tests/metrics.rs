//! All metrics together, as the plans that ship weigh them.

use super::{rig::fast_by_all, *};
use crate::{
    providers::quality::Quality,
    rollout::evidence::{Level, Metric},
};

/// How an answer comes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Comes {
    Whole,
    /// After its first token it goes on for as many milliseconds, on the candidate.
    Streamed(f64),
}

/// A second of answers, of which every so manieth has a flaw; or those of the candidate have it, or take so
/// many times as long.
async fn second(rig: &Rig, flawed: usize, candidate: Quality, slower: f64, comes: Comes) {
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
        if let Comes::Streamed(on_candidate) = comes {
            let rest_ms = match event.variant {
                Variant::Candidate => on_candidate,
                Variant::Control => 50.0,
            };
            event.first_token_ms = Some(event.latency_ms);
            event.latency_ms += rest_ms;
            // At one pace: as long as there is to say.
            event.answer_chars = Some(40 * rest_ms as u32);
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
        second(&rig, 5, Quality::Good, 1.0, Comes::Whole).await;
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
    for (quality, slower, comes, says) in [
        (
            Quality::WrongLanguage,
            1.0,
            Comes::Whole,
            "in another language), and on control none of",
        ),
        (
            Quality::Good,
            5.0,
            Comes::Whole,
            "tolerated up to 1.25, by the time to the whole answer",
        ),
        (
            Quality::Good,
            5.0,
            Comes::Streamed(10.0),
            "tolerated up to 1.25, by the time to the first words",
        ),
    ] {
        let rig = Rig::new().await;
        let id = rig.started_by(&fast_by_all()).await.id;
        for _ in 0..2 {
            second(&rig, 0, Quality::Good, 1.0, comes).await;
        }
        assert_eq!(rig.serves(), 10.0);
        for _ in 0..20 {
            second(&rig, 0, quality, slower, comes).await;
        }
        let status = rig.status(&id).await;
        assert_eq!(status.state, RunState::RolledBack, "{}", status.reason);
        assert!(status.reason.contains(says), "{}", status.reason);
        let why = rig.controller.archive().why(&id).await.expect("a history");
        assert!(why.last().expect("a line").text.contains(says));
        assert!(rig.replay(&id).await.is_identical);
    }
}

#[tokio::test]
async fn a_candidate_that_says_more_is_not_taken_back_for_being_slow() {
    let rig = Rig::new().await;
    let id = rig.started_by(&fast_by_all()).await.id;
    for _ in 0..20 {
        second(&rig, 0, Quality::Good, 1.0, Comes::Streamed(500.0)).await;
    }
    let view = rig.controller.get(&id).await.expect("a rollout");
    assert_eq!(view.finding.level, Level::Clear, "{}", view.finding.why);
    let [candidate, control] = [&view.finding.candidate, &view.finding.control];
    assert!(candidate.average_ms > control.average_ms + 400.0);
    let now = rig.controller.world.now().wall;
    let text = rig.controller.archive().report(&id, now).await;
    let text = text.expect("a report");
    assert!(
        text.contains("\nSlowness is judged by the time to the first words.\n"),
        "{text}"
    );
    assert!(rig.replay(&id).await.is_identical);
}
