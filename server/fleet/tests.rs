//! What other processes hand over to the one that leads, on a table that fails.

use super::*;
use crate::{
    _core::assignment::Variant,
    rollout::{
        controller::tests::rig::{OUTAGES, Rig},
        status::Status,
    },
};

/// Commands and their answers; so many writes of an answer fail.
#[derive(Default)]
struct Commands {
    asked: Vec<HandedOver>,
    answers: Mutex<HashMap<String, Value>>,
    failures: Mutex<u32>,
}

#[async_trait]
impl CommandStore for Commands {
    async fn ask(&self, _: &HandedOver) -> anyhow::Result<()> {
        Ok(())
    }

    async fn answer(&self, id: &str) -> anyhow::Result<Option<Value>> {
        Ok(self.answers.lock().get(id).cloned())
    }

    async fn take(&self, _: &str) -> anyhow::Result<Vec<HandedOver>> {
        let answers = self.answers.lock();
        let open = self.asked.iter().filter(|it| !answers.contains_key(&it.id));
        Ok(open.cloned().collect())
    }

    async fn give_back(&self, _: &str) -> anyhow::Result<()> {
        Ok(())
    }

    async fn done(&self, id: &str, answer: &Value) -> anyhow::Result<()> {
        let mut failures = self.failures.lock();
        if *failures > 0 {
            *failures -= 1;
            anyhow::bail!("the database is away");
        }
        self.answers.lock().insert(id.to_owned(), answer.clone());
        Ok(())
    }
}

#[tokio::test]
async fn a_lowering_is_done_once_and_answered_although_the_database_fails_between() {
    let rig = Rig::new().await;
    let status = rig.started().await;
    let lowering = |id: &str, percent: Option<f64>| HandedOver {
        id: id.to_owned(),
        procedure: LOWERING.to_owned(),
        input: json!({
            "id": status.id, "version": status.version, "percent": percent,
            "actor": "user:7", "reason": "enough",
        }),
        user: 0,
        role: String::new(),
        lowers: true,
    };
    let commands = Arc::new(Commands {
        asked: vec![lowering("1", None), lowering("2", Some(5.0))],
        failures: Mutex::new(2),
        ..Commands::default()
    });
    let fleet = Fleet::new(commands.clone(), rig.controller.clone());
    let registry = Registry::default();
    let first = fleet.serve(&registry).await;
    assert!(first.is_err(), "an answer could not be stored");
    assert_eq!(
        rig.serves(),
        0.0,
        "the first is done, and the second is not forgotten"
    );
    fleet.serve(&registry).await.expect("answers");
    let answers = commands.answers.lock();
    assert_eq!(
        answers["1"]["ok"]["version"],
        status.version + 1,
        "done once"
    );
    assert_eq!(answers["2"]["code"], "CONFLICT", "{answers:?}");
}

/// A lowering that came into force elsewhere at some time, as it is handed over now.
fn again(
    status: &Status,
    (kind, at): (CommandKind, DateTime<Utc>),
    now: DateTime<Utc>,
) -> HandedOver {
    let Command {
        id,
        based_on,
        actor,
        reason,
        ..
    } = command(status, kind);
    let lowering = Lowering {
        rollout: id,
        based_on,
        number: 1,
        kind,
        actor,
        reason,
        at,
    };
    OwedLowering::again(lowering, now).asked
}

fn command(status: &Status, kind: CommandKind) -> Command {
    Command {
        id: status.id.clone(),
        based_on: status.version,
        actor: Actor::User(7),
        reason: "so".to_owned(),
        kind,
    }
}

#[tokio::test]
async fn an_old_share_is_made_on_no_version_that_others_have_made_since_and_an_old_rollback_is() {
    let rig = Rig::new().await;
    let status = rig.started().await;
    let paused = rig.controller.apply(command(&status, CommandKind::Pause));
    paused.await.expect("paused");
    let share = |percent| CommandKind::SetShare(Percent::new(percent).expect("a share"));
    let now = rig.controller.now();
    let old = now - LONGEST_OWED - TimeDelta::seconds(1);
    let lowerings = [
        (share(5.0), old),
        (share(7.0), now),
        (CommandKind::RollBack, old),
    ];
    let asked = lowerings.map(|lowering| again(&status, lowering, now));
    let ids = [0, 1, 2].map(|place: usize| asked[place].id.clone());
    let commands = Arc::new(Commands {
        asked: asked.into(),
        ..Commands::default()
    });
    let fleet = Fleet::new(commands.clone(), rig.controller.clone());
    fleet.serve(&Registry::default()).await.expect("answers");
    let answers = commands.answers.lock();
    assert_eq!(answers[&ids[0]]["code"], "CONFLICT", "{answers:?}");
    let made = [1, 2].map(|place: usize| &answers[&ids[place]]["ok"]["version"]);
    assert_eq!(made, [3, 4], "{answers:?}");
}

#[tokio::test]
async fn a_smaller_share_that_was_promised_is_made_once_the_outage_is_over() {
    let rig = Rig::new().await;
    let status = rig.started_by(OUTAGES).await;
    rig.second(200, |_| false).await;
    for _ in 0..20 {
        if rig.serves() > 0.0 {
            rig.second(50, |variant| variant == Variant::Candidate)
                .await;
        }
    }
    let held = rig.controller.live().remove(0);
    assert!(held.outage.is_some(), "{held:?}");
    let share = CommandKind::SetShare(Percent::new(5.0).expect("a share"));
    let now = rig.controller.now();
    let asked = again(&status, (share, now), now);
    let id = asked.id.clone();
    let commands = Arc::new(Commands {
        asked: vec![asked],
        ..Commands::default()
    });
    let fleet = Fleet::new(commands.clone(), rig.controller.clone());
    for _ in 0..2 {
        fleet.serve(&Registry::default()).await.expect("a table");
        assert!(commands.answers.lock().is_empty());
    }
    let resumed = rig.controller.apply(command(&held, CommandKind::Resume));
    assert_eq!(resumed.await.expect("resumed").share.get(), 10.0);
    fleet.serve(&Registry::default()).await.expect("a table");
    assert_eq!(
        commands.answers.lock()[&id]["ok"]["version"],
        held.version + 2
    );
    assert_eq!(rig.serves(), 5.0);
}

/// A process that follows, on which a person has taken everybody back.
async fn lowered() -> (Rig, Arc<Commands>, Arc<Fleet>, String) {
    let (_leader, rig) = Rig::led().await;
    let commands = Arc::new(Commands::default());
    let fleet = Fleet::new(commands.clone(), rig.controller.clone());
    let status = rig.controller.live().remove(0);
    let mut asked = HandedOver {
        id: "1".to_owned(),
        procedure: "rollout.rollback".to_owned(),
        input: json!({"id": status.id, "version": status.version, "reason": "enough"}),
        user: 7,
        role: "admin".to_owned(),
        lowers: false,
    };
    assert!(fleet.lower(&mut asked) && asked.lowers);
    assert_eq!(rig.serves(), 0.0);
    let refused: Result<Value, _> = Err(RpcError::new(ErrorCode::Conflict, "it has moved on"));
    (commands.answers.lock()).insert(asked.id.clone(), written(refused));
    (rig, commands, fleet, status.id)
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_is_refused_when_nobody_hears_it_is_asked_for_again() {
    let (rig, commands, fleet, id) = lowered().await;
    fleet.settle().await.expect("answers");
    assert!(fleet.owed.lock().contains_key("1"), "somebody waits still");
    sleep(UNHEARD).await;
    fleet.settle().await.expect("answers");
    let owed: Vec<_> = fleet.owed.lock().values().cloned().collect();
    assert_eq!((owed.len(), rig.serves()), (1, 0.0));
    let HandedOver {
        procedure, input, ..
    } = &owed[0].asked;
    assert_eq!(procedure, LOWERING);
    let told = json!({
        "id": id, "version": 1, "percent": null, "actor": "user:7", "reason": "enough", "again": true,
    });
    assert_eq!(*input, told);
    // Refused again, and not stored: once more.
    let answer = commands.answers.lock()["1"].clone();
    commands
        .answers
        .lock()
        .insert(owed[0].asked.id.clone(), answer);
    fleet.settle().await.expect("answers");
    assert!(!fleet.owed.lock().contains_key(&owed[0].asked.id));
    assert_eq!((fleet.owed.lock().len(), rig.serves()), (1, 0.0));
}

#[tokio::test(start_paused = true)]
async fn a_rollback_whose_refusal_somebody_hears_is_in_force_no_more() {
    let (rig, commands, fleet, _) = lowered().await;
    let answer = read(&commands.answers.lock()["1"]);
    // However late it comes.
    sleep(UNHEARD * 2).await;
    assert!(fleet.settled("1", &answer, true));
    assert_eq!((fleet.owed.lock().len(), rig.serves()), (0, 10.0));
}

#[tokio::test]
async fn a_lowering_that_is_not_stored_is_not_answered_and_who_leads_next_does_it() {
    let rig = Rig::new().await;
    let status = rig.started().await;
    let commands = Arc::new(Commands {
        asked: vec![HandedOver {
            id: "1".to_owned(),
            procedure: LOWERING.to_owned(),
            input: json!({
                "id": status.id, "version": status.version, "percent": null, "actor": "user:7", "reason": "enough",
            }),
            user: 0,
            role: String::new(),
            lowers: true,
        }],
        ..Commands::default()
    });
    let fleet = Fleet::new(commands.clone(), rig.controller.clone());
    rig.is_full(true);
    for _ in 0..2 {
        fleet.serve(&Registry::default()).await.expect("a table");
        assert_eq!((rig.serves(), commands.answers.lock().len()), (0.0, 0));
    }
    rig.is_full(false);
    rig.controller.tick().await;
    fleet.serve(&Registry::default()).await.expect("a table");
    assert_eq!(commands.answers.lock()["1"]["ok"]["version"], 2);
    assert!(fleet.unsaid.lock().is_empty());
    let lowered = Reception::Lowered(status.id, json!({}));
    fleet.unsaid.lock().insert("2".to_owned(), lowered);
    fleet.forget_lowered();
    assert!(fleet.unsaid.lock().is_empty());
}

#[test]
fn answers_are_read_as_they_are_written() {
    let value = json!({"version": 3});
    assert_eq!(read(&written(Ok(value.clone()))).ok(), Some(value.clone()));
    let error = RpcError::new(ErrorCode::Conflict, "it has moved on").with_details(value);
    let again = read(&written(Err(error.clone()))).expect_err("an error");
    assert_eq!(
        (again.code, &again.message, &again.details),
        (error.code, &error.message, &error.details)
    );
}
