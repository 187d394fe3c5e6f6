//! `modelramp rollout …`: steers the rollouts of a running server; `replay` and `report` read the database.
//!
//! A change names the version it is based on. Where `--version` does not say, it is the one that the
//! server has now, so two people who act at the same moment are still told of each other only by the
//! history; a script that has read a state should pass the version it read.

mod show;

pub(super) use self::show::{list, moment, text};

use std::{
    io::{IsTerminal, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    client::{Client, ClientError},
    offline, simulate,
};
use crate::rollout::{
    plan::{Known, Library, Plan},
    simulate::planner::{self, Sight},
};
use crate::{
    _core::units::Percent,
    config::{ClientConfig, Config, Sources},
};

/// The longest plan that is read from a file or standard input, in bytes.
const MAX_PLAN_BYTES: u64 = 64 * 1024;

/// Arguments of `modelramp rollout`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The server's address; HOST and PORT of the settings where it is not given.
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// Prints the answer as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the rollouts that are under way, or all.
    List {
        /// Those that have ended, too.
        #[arg(long)]
        all: bool,
    },
    /// Shows where a rollout is and what its traffic proves.
    Get {
        /// The rollout's id, or the beginning of it.
        id: String,
    },
    /// Checks a plan, and warns of stages that are too short to see anything.
    Validate {
        /// A plan's name, a TOML file, or `-` for standard input.
        plan: String,
        /// Requests that its tasks get, such as `10000/day`; without it stages are not judged.
        #[arg(long, value_parser = simulate::traffic)]
        traffic: Option<f64>,
        /// How many of control's requests fail.
        #[arg(long, value_parser = simulate::percentage, default_value = "2%")]
        baseline: f64,
    },
    /// Starts a rollout.
    Start {
        /// A plan's name, a TOML file, or `-` for standard input.
        plan: String,
        #[command(flatten)]
        reason: Reason,
        /// Puts the same users in that the last rollout of this plan had.
        #[arg(long)]
        keep_users: bool,
        /// Users may lose the model that an earlier rollout or the live share gave them.
        #[arg(long)]
        take_back: bool,
    },
    /// Stops the clock of a rollout; its share stays what it is.
    Pause(Change),
    /// Lets it go on.
    Resume(Change),
    /// Goes to the next stage now; one that is paused goes on.
    Advance(Change),
    /// Moves the share within the stage.
    SetShare {
        #[command(flatten)]
        change: Change,
        /// 0 to 100.
        #[arg(value_parser = percent)]
        percent: Percent,
    },
    /// Takes everybody back to control, for good.
    Rollback(Change),
    /// Lets a rollout through the gate that it waits at.
    Approve(Change),
    /// Lets go of a rollout that has ended, so that the live share decides its tasks again.
    Release {
        #[command(flatten)]
        change: Change,
        /// The live share from then on, 0 to 100; needed where users get the candidate before or after.
        #[arg(long, value_parser = percent)]
        share: Option<Percent>,
    },
    /// Lists what was done to a rollout, by whom and why.
    History {
        /// The rollout's id, or the beginning of it.
        id: String,
    },
    /// Tells each decision with its evidence, in words and figures.
    Why {
        /// The rollout's id, or the beginning of it.
        id: String,
    },
    /// Folds the stored events anew and compares what comes out with what was decided on.
    Replay {
        /// The rollout's id, or the beginning of it.
        id: String,
    },
    /// Writes the deployment log of a rollout as Markdown.
    Report {
        /// The rollout's id, or the beginning of it.
        id: String,
        /// A file instead of standard output.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct Reason {
    /// Why, for those who look later.
    #[arg(long, short)]
    reason: String,
}

#[derive(Debug, Args)]
struct Change {
    /// The rollout's id, or the beginning of it.
    id: String,
    #[command(flatten)]
    reason: Reason,
    /// The version that this is based on; refused where the rollout has moved on.
    #[arg(long)]
    version: Option<i64>,
}

/// A share, with or without its sign.
pub(super) fn percent(text: &str) -> Result<Percent, String> {
    let text = text.trim().trim_end_matches('%');
    Percent::parse(text).ok_or_else(|| "expected a number from 0 to 100".to_owned())
}

/// Runs one command.
pub(super) async fn run(arguments: Arguments, sources: &Sources) -> anyhow::Result<()> {
    let Arguments { url, json, command } = arguments;

    let command = match command {
        Command::Replay { id } => return offline::replay(&Config::load(sources)?, &id, json).await,
        Command::Report { id, output } => {
            return offline::report(&Config::load(sources)?, &id, output.as_deref()).await;
        }
        command => command,
    };
    let client = Client::new(&ClientConfig::load(sources, url)?)?;
    let lists = matches!(command, Command::List { .. });
    let (answer, show) = ask(&client, command).await?;
    let killed = lists && !json && is_killed(&client).await;
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &answer)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", show(&answer))?;
    }
    if killed {
        writeln!(
            out,
            "The kill switch is on: everybody gets the control models, whatever the share \
             (`modelramp flags get`)."
        )?;
    }
    Ok(())
}

/// Whether no share of a list is in force. A server that does not say so has given the list all the same.
async fn is_killed(client: &Client) -> bool {
    let flags = client.call("featureFlags.get", json!({})).await;
    flags.is_ok_and(|flags| flags.get("killed") == Some(&Value::Bool(true)))
}

/// How an answer looks to a person.
type Show = fn(&Value) -> String;

async fn ask(client: &Client, command: Command) -> anyhow::Result<(Value, Show)> {
    let change = async |name: &str, change: Change, more: Option<(&str, Value)>| {
        let version = match change.version {
            Some(version) => json!(version),
            None => {
                let rollout = client.call("rollout.get", json!({"id": change.id})).await?;
                rollout.get("version").cloned().unwrap_or_default()
            }
        };
        let mut input =
            json!({"id": change.id, "version": version, "reason": change.reason.reason});
        if let (Some((key, value)), Some(input)) = (more, input.as_object_mut()) {
            input.insert(key.to_owned(), value);
        }
        let answer = client.call(&format!("rollout.{name}"), input).await?;
        anyhow::Ok((answer, show::rollout as Show))
    };
    match command {
        Command::List { all } => {
            let answer = client.call("rollout.list", json!({"all": all})).await?;
            Ok((answer, show::rollouts))
        }
        Command::Get { id } => {
            let answer = client.call("rollout.get", json!({"id": id})).await?;
            Ok((answer, show::rollout))
        }
        Command::Validate {
            plan,
            traffic,
            baseline,
        } => {
            let mut input = json!({"plan": plan_text(&plan)?});
            if let (Some(traffic), Some(input)) = (traffic, input.as_object_mut()) {
                input.insert("requestsPerDay".to_owned(), json!(traffic));
                input.insert("baseline".to_owned(), json!(baseline * 100.0));
            }
            let answer = match client.call("rollout.validate", input).await {
                Ok(answer) => answer,
                // What can be known of a plan without a server.
                Err(ClientError::Unreachable { .. }) => checked_here(&plan, traffic, baseline)?,
                Err(error) => return Err(error.into()),
            };
            if answer.get("valid") != Some(&Value::Bool(true)) {
                anyhow::bail!("the plan cannot be used:\n{}", show::faults(&answer));
            }
            Ok((answer, show::valid))
        }
        Command::Start {
            plan,
            reason,
            keep_users,
            take_back,
        } => {
            let plan = plan_text(&plan)?;
            let mut input = json!({"plan": plan, "reason": reason.reason, "keepUsers": keep_users});
            if take_back && let Some(input) = input.as_object_mut() {
                input.insert("takeBack".to_owned(), json!(true));
            }
            let answer = client.call("rollout.start", input).await?;
            Ok((answer, show::rollout))
        }
        Command::Pause(input) => change("pause", input, None).await,
        Command::Resume(input) => change("resume", input, None).await,
        Command::Advance(input) => change("advance", input, None).await,
        Command::Release {
            change: input,
            share,
        } => {
            let share = share.map(|share| ("share", json!(share)));
            change("release", input, share).await
        }
        Command::Rollback(input) => change("rollback", input, None).await,
        Command::Approve(input) => change("approve", input, None).await,
        Command::SetShare {
            change: input,
            percent,
        } => change("setShare", input, Some(("percent", json!(percent)))).await,
        Command::History { id } => {
            let answer = client.call("rollout.history", json!({"id": id})).await?;
            Ok((answer, show::history))
        }
        Command::Why { id } => {
            let answer = client.call("rollout.why", json!({"id": id})).await?;
            Ok((answer, show::why))
        }
        Command::Replay { .. } | Command::Report { .. } => {
            anyhow::bail!("this command needs no server")
        }
    }
}

/// Checks a plan without a server: its names are taken as they are.
fn checked_here(plan: &str, traffic: Option<f64>, baseline: f64) -> anyhow::Result<Value> {
    let (text, known) = (plan_text(plan)?, Known::default());
    let plan = if Plan::is_text(&text) {
        match Plan::parse(&text, plan, &known) {
            Ok(plan) => plan,
            Err(faults) => return Ok(json!({"valid": false, "faults": faults.faults})),
        }
    } else {
        let shipped = Library::load(None, &known)?;
        let plan = shipped.get(text.trim()).cloned();
        plan.with_context(|| {
            format!("no server answers, and `{text}` is none of the shipped plans")
        })?
    };
    let mut warnings =
        vec!["no server answers: names of tasks and models are not checked".to_owned()];
    if let Some(requests) = traffic {
        let sight = Sight::of(&plan, requests, baseline);
        warnings.extend(sight.blind().map(|it| {
            let name = &it.stage.name;
            format!("Stage {name} is too short to see even a candidate ten times as bad as control")
        }));
        warnings.extend(sight.unproven());
    }
    Ok(json!({"valid": true, "warnings": warnings, "notes": planner::needs(&plan, baseline)}))
}

/// A plan's text where a file is meant, else its name as it is.
pub(super) fn plan_text(plan: &str) -> anyhow::Result<String> {
    let path = Path::new(plan);
    let (mut source, name): (Box<dyn Read>, _) = if plan == "-" {
        if std::io::stdin().is_terminal() {
            anyhow::bail!("`-` reads a plan from standard input, which is a terminal");
        }
        (Box::new(std::io::stdin()), "standard input")
    } else if path.extension().is_some_and(|ending| ending == "toml") || plan.contains('/') {
        let file = std::fs::File::open(path).with_context(|| format!("cannot read `{plan}`"))?;
        (Box::new(file), plan)
    } else {
        return Ok(plan.to_owned());
    };
    let mut text = String::new();
    let limited = source.by_ref().take(MAX_PLAN_BYTES + 1);
    let length = { limited }
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read `{name}`"))?;
    if length as u64 > MAX_PLAN_BYTES {
        anyhow::bail!("`{name}` is longer than {MAX_PLAN_BYTES} bytes, which no plan is");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_a_name_and_a_file_becomes_its_text() {
        assert_eq!(plan_text("standard").expect("a name"), "standard");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("own.toml");
        std::fs::write(&file, "name = \"own\"").expect("a file");
        let path = file.display().to_string();
        assert_eq!(plan_text(&path).expect("a text"), "name = \"own\"");
        std::fs::write(&file, vec![b'#'; 70_000]).expect("a file");
        let error = plan_text(&path).expect_err("too long");
        assert!(error.to_string().contains("65536"), "{error}");
        let error = plan_text("nowhere.toml").expect_err("no file");
        assert!(error.to_string().contains("nowhere.toml"), "{error}");
    }

    #[test]
    fn percents_may_carry_their_sign() {
        assert_eq!(percent("12.5%").map(Percent::get), Ok(12.5));
        assert!(percent("101").is_err() && percent("-1").is_err());
    }
}
