//! A candidate that dies is gone in two seconds, whatever state its rollout is in.

use serde_json::json;

use super::world::World;

/// A plan whose first stage does not end by itself, or lasts a second and then asks a person.
pub(super) fn plan(soak: &str, gate: &str) -> String {
    format!(
        r#"
        name = "real"
        tasks = ["chat"]
        deadline = "1h"
        [no_traffic]
        alert_after = "1h"
        hold = false
        [evidence]
        outage_period = "0s"
        [[stages]]
        share = 50
        soak = "{soak}"
        gate = "{gate}"
        min_requests = 4
        min_users = 2
        min_time = "1s"
        [[stages]]
        share = 100
        soak = "1h"
        "#
    )
}

/// Runs a rollout into a state by real traffic, and lets its candidate die there.
async fn candidate_dies_while(state: &str, plan: &str) {
    let Some(mut world) = World::start().await else {
        return;
    };
    let rollout = world.roll_out(plan).await;
    if state == "paused" {
        let running = world.get(&rollout).await;
        let pause = json!({ "id": rollout.id, "version": running["version"], "reason": "a look" });
        world.admin.mutate("rollout.pause", pause).await;
    }
    world.until_state_is(&rollout, state).await;

    let ruin = world.kill_candidate().await;
    let zero_ms = world.until_taken_back(&rollout).await;
    assert!(ruin.requests() > 0);
    let before = world.check_rollback(&rollout, zero_ms).await;
    // What runs holds first, where a tick comes while evidence grows.
    assert!(
        before == state || (state, &*before) == ("running", "holding"),
        "{before}"
    );
    rollout.check_served_by_control(&ruin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_dies_is_gone_in_two_seconds() {
    candidate_dies_while("running", &plan("1h", "automatic")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_while_paused() {
    candidate_dies_while("paused", &plan("1h", "automatic")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_while_waiting_at_a_gate() {
    candidate_dies_while("waiting-at-gate", &plan("1s", "manual")).await;
}
