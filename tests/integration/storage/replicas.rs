//! Processes that join a fleet.

use futures::future::join_all;
use modelramp::fleet::{
    replica::{Introduced, ReplicaReport, Roll},
    replicas::ReplicaStore,
};

use super::database::Database;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_processes_that_join_at_once_each_sees_those_before_it() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let storages = [database.again().await, database.again().await];
    let alone = |roll: &Roll| {
        anyhow::ensure!(roll.replicas.is_empty(), "somebody is there");
        Ok(())
    };
    let joining = (0..6).map(|number: usize| {
        let storage = &storages[number % 2];
        async move {
            let who = Introduced {
                holder: number.to_string(),
                name: "web-1:3000".to_owned(),
                release: "1",
            };
            storage.join(&who, &ReplicaReport::default(), &alone).await
        }
    });
    let joined = join_all(joining).await;
    assert_eq!(
        joined.iter().filter(|it| it.is_ok()).count(),
        1,
        "{joined:?}"
    );
    let roll = storages[0].roll().await.unwrap();
    assert_eq!(roll.replicas.len(), 1, "who may not join is not there");
}
