//! What other processes hand over to the one that leads, on a table that fails.

use super::*;
use crate::rollout::controller::tests::rig::Rig;

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
