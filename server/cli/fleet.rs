//! `modelramp fleet`: which servers live, on which release, who leads, and whether they agree.

use std::io::Write;

use clap::Args;

use super::{
    client::{Client, ClientOptions},
    table::{TextTable, word},
};
use crate::{
    _core::procedure::NoInput,
    config::{ClientConfig, Sources},
    routers::{
        methods::SYSTEM_FLEET,
        system_router::fleet::{FleetState, Life, ReplicaState},
    },
};

/// Arguments of `modelramp fleet`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The server's address; HOST and PORT of the settings where it is not given.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Prints the answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Asks a running server, whichever of them.
pub(super) async fn run(arguments: Arguments, sources: &Sources) -> anyhow::Result<()> {
    let client = Client::new(&ClientConfig::load(sources, arguments.url)?)?;
    let ask = ClientOptions {
        client: &client,
        json: arguments.json,
    };
    let answer = ask.show(&SYSTEM_FLEET, &NoInput {}, show).await?;
    Ok(write!(std::io::stdout(), "{answer}")?)
}

fn show(fleet: &FleetState) -> String {
    let mut table = TextTable::new(&[
        "SERVER", "STATE", "RELEASE", "LEADS", "SEEN", "WAITING", "LOST", "CLOCK", "IN FORCE",
    ]);
    for replica in &fleet.replicas {
        table.row([
            replica.name.clone(),
            word(&replica.state),
            replica.release.clone(),
            if replica.leads { "yes" } else { "" }.to_owned(),
            format!("{} s ago", replica.silent_ms / 1_000),
            replica.waiting.to_string(),
            replica
                .dropped
                .saturating_add(replica.set_aside)
                .to_string(),
            format!("{:+} ms", replica.clock_ahead_ms),
            in_force(replica),
        ]);
    }
    format!("{}\n{}{table}", in_words(fleet), differing(fleet))
}

/// `3 live and agree; web-2:3000 leads`.
fn in_words(fleet: &FleetState) -> String {
    let living = fleet.replicas.iter().filter(|it| it.state == Life::Alive);
    let agree = match (living.count(), fleet.agree) {
        (1, _) => "1 lives".to_owned(),
        (living, true) => format!("{living} live and agree"),
        (living, false) => format!("{living} live and DO NOT AGREE"),
    };
    let leader = fleet.replicas.iter().find(|it| it.leads);
    let leads = match (leader, &fleet.leader) {
        (Some(leader), _) => format!("{} leads", leader.name),
        (None, Some(_)) => "one leads that says nothing of itself: an older release".to_owned(),
        (None, None) => "NOBODY LEADS".to_owned(),
    };
    let gone = fleet.replicas.iter().filter(|it| it.state == Life::Gone);
    let gone = match gone.count() {
        0 => String::new(),
        gone => format!("; {gone} gone, which may still serve users without a database"),
    };
    format!("{agree}; {leads}{gone}")
}

/// `web-3:3000 HAS ANOTHER ASSIGNMENT_SALT, catalog than the one that leads`, a line for each.
fn differing(fleet: &FleetState) -> String {
    let differing = fleet.replicas.iter().filter(|it| !it.differing.is_empty());
    let lines = differing.map(|it| {
        let names = it.differing.join(", ");
        format!("{} HAS ANOTHER {names} than the one that leads\n", it.name)
    });
    lines.collect()
}

/// `flags v3 0 %, 01a2 v7 50 %`, with the ends of rollouts' ids, which differ where their beginnings, the time, do not.
fn in_force(replica: &ReplicaState) -> String {
    let in_force = replica.in_force.iter().map(|it| {
        let id: String = it.of.chars().rev().take(6).collect();
        let id: String = id.chars().rev().collect();
        format!("{id} v{} {} %", it.version, it.share)
    });
    let in_force: Vec<_> = in_force.collect();
    let differs = if replica.agrees { "" } else { " (DIFFERS)" };
    format!("{}{differs}", in_force.join(", "))
}
