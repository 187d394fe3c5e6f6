//! The main job with real parts: this server's binary, two real small language models, real HTTP.
//!
//! Needs the Python that scripts/test prepares, named by MODELRAMP_TEST_PYTHON; without it the tests
//! say so and pass nothing off as done.

mod client;
mod emails;
mod full_disk;
mod taken_back;
mod trial;
mod upstream;
mod world;

use serde_json::Value;

use self::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn users_below_the_share_are_answered_by_the_candidate_and_a_dead_upstream_is_covered() {
    let Some(mut world) = World::start().await else {
        return;
    };
    let candidate = world.candidate.take().unwrap();
    let (mut candidates, mut last_candidate) = (0, None);
    for user in &world.users[..8] {
        let in_candidate = world.is_candidate(user).await;
        let (of_candidate, of_control) = (
            candidate.tokens_written().await,
            world.control.tokens_written().await,
        );
        user.chat().await;
        let candidate_wrote = candidate.tokens_written().await > of_candidate;
        let control_wrote = world.control.tokens_written().await > of_control;
        assert_eq!(candidate_wrote, in_candidate, "user {}", user.id);
        assert_eq!(control_wrote, !in_candidate, "user {}", user.id);
        if in_candidate {
            candidates += 1;
            last_candidate = Some(user);
        }
    }
    assert!(
        (1..8).contains(&candidates),
        "{candidates} of 8 users in the candidate at 50 %"
    );

    // The candidate's upstream dies: its users are answered by the fallback, and the failure counts.
    drop(candidate);
    last_candidate.unwrap().chat().await;
    let breakdown = world
        .admin
        .query("aiMetrics.getModelBreakdown", Value::Null)
        .await;
    let models = &breakdown["models"];
    assert_eq!(models["new"]["requests"], candidates + 1);
    assert!(models["new"]["errorRate"].as_f64().unwrap() > 0.0);
    assert_eq!(models["old"]["errorRate"].as_f64().unwrap(), 0.0);
}
