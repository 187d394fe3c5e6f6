//! A candidate that dies while the disk is full is gone as fast, and that is written once there is
//! room.
//!
//! A process whose files may not grow meets what it would meet on a full disk, and that without root:
//! every write to the database and to the log fails, pipes and sockets work. A message that cannot be
//! stored asks no model, so what decides is what was under way when the disk filled up.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    client::Client,
    taken_back::plan,
    upstream::Ruin,
    world::{Rollout, World},
};
use crate::support::wait::until;

/// Requests of each user that are under way then. Users without a past count once each, which is too few
/// here; what takes the candidate back is a run of 20 attempts without an answer.
const UNDER_WAY: usize = 3;

/// A rollout that took its candidate back on a disk that is still full.
struct Owing {
    world: World,
    rollout: Rollout,
    ruin: Ruin,
    /// When nobody got the candidate any more.
    zero_ms: i64,
    /// An empty one, of the first user of control.
    conversation: Value,
}

impl Owing {
    async fn new() -> Option<Self> {
        let mut world = World::start().await?;
        let rollout = world.roll_out(&plan("1h", "automatic")).await;
        let conversation = rollout.controls[0].begin().await;
        let ruin = world.kill_candidate().await;
        ruin.hang();
        let failing = under_way(&rollout.candidates).await;
        until("all wait for the candidate", async || {
            ruin.waiting() == failing.len()
        })
        .await;
        let mut answered = under_way(&rollout.controls).await;
        world.server.limit_files("0").await;

        // One of each arm in turn, as evidence compares them.
        let events = async {
            while answered.join_next().await.is_some() {
                ruin.let_one_go();
            }
        };
        let (zero_ms, ()) = tokio::join!(world.until_share_is(0.0), events);
        ruin.collapse();
        for answer in failing.join_all().await {
            check_tells_nothing(&answer.unwrap_err());
        }
        Some(Self {
            world,
            rollout,
            ruin,
            zero_ms,
            conversation,
        })
    }

    /// What cannot be stored is refused, and asks no model.
    async fn check_disk_is_full(&self) {
        let written = self.world.control.tokens_written().await;
        let user = &self.rollout.controls[0];
        check_tells_nothing(&user.say(&self.conversation).await.unwrap_err());
        assert!(user.messages(&self.conversation).await.is_empty());
        assert_eq!(self.world.control.tokens_written().await, written);
    }

    /// The rollback is in force, and written nowhere.
    async fn check_rollback_is_owed(&self) {
        let got = self.world.get(&self.rollout).await;
        assert_eq!(got["state"]["name"], "rolled-back");
        let history = json!({ "id": self.rollout.id });
        let history = self.world.admin.query("rollout.history", history).await;
        assert_eq!(history.as_array().unwrap().len(), 1, "{history}");
        let stored = self.world.stored(&self.rollout).await;
        assert_eq!(stored.state, "running");
        assert!(stored.alerts.is_empty(), "{stored:?}");
    }
}

/// Messages of all these users that are stored, and whose answers are not.
async fn under_way(users: &[Client]) -> JoinSet<Result<Value, Value>> {
    let (mut sent, mut conversations) = (JoinSet::new(), Vec::new());
    for user in users {
        for _ in 0..UNDER_WAY {
            conversations.push((user.clone(), user.begin().await));
        }
    }
    for (user, conversation) in conversations.clone() {
        sent.spawn(async move { user.say(&conversation).await });
    }
    for (user, conversation) in &conversations {
        until("the message is stored", async || {
            !user.messages(conversation).await.is_empty()
        })
        .await;
    }
    sent
}

/// The front end learns that it may try again, and nothing of where and how it failed.
fn check_tells_nothing(error: &Value) {
    let message = "The database cannot be used just now. Please try again in a moment.";
    assert_eq!(error["message"], message, "{error}");
    assert_eq!(error["data"]["code"], "SERVICE_UNAVAILABLE", "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_while_the_disk_is_full_and_it_is_written_once_there_is_room() {
    let Some(owing) = Owing::new().await else {
        return;
    };
    owing.check_disk_is_full().await;
    owing.check_rollback_is_owed().await;

    let Owing {
        mut world,
        rollout,
        ruin,
        zero_ms,
        ..
    } = owing;
    world.server.limit_files("unlimited").await;
    assert_eq!(world.check_rollback(&rollout, zero_ms).await, "running");
    rollout.check_served_by_control(&ruin).await;

    world.server.terminate().await;
    world.restart().await;
    assert_eq!(world.get(&rollout).await["state"]["name"], "rolled-back");
    rollout.check_served_by_control(&ruin).await;
    world.check_rollback(&rollout, zero_ms).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_owes_a_rollback_its_successor_decides_the_same_anew() {
    let Some(owing) = Owing::new().await else {
        return;
    };
    owing.check_rollback_is_owed().await;

    let Owing {
        mut world,
        rollout,
        ruin,
        ..
    } = owing;
    world.server.kill().await;
    world.restart().await;
    world.until_share_is(50.0).await;
    let zero_ms = world.until_taken_back(&rollout).await;
    world.check_rollback(&rollout, zero_ms).await;
    rollout.check_served_by_control(&ruin).await;
}
