//! `modelramp rollout …`: steers the rollouts of a running server; `replay`, `plot` and
//! `report` read the database.
//!
//! A change names the version it is based on. Where `--version` does not say, it is the one that the
//! server has now, so two people who act at the same moment are still told of each other only by the
//! history; a script that has read a state should pass the version it read.

mod show;

use std::{io::Write, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::{
    arguments::{percent, percentage, plan_text, traffic},
    client::{CallError, Client, ClientOptions},
    offline, placebo, which,
};
use crate::{
    _core::{method::Method, procedure::NoInput, units::Percent},
    config::{ClientConfig, Config, Sources},
    rollout::plan::{KnownNames, Library, Plan},
    routers::{
        methods::{
            FLAGS_GET, ROLLOUT_ADVANCE, ROLLOUT_APPROVE, ROLLOUT_GET, ROLLOUT_HISTORY,
            ROLLOUT_LIST, ROLLOUT_PAUSE, ROLLOUT_RELEASE, ROLLOUT_RESUME, ROLLOUT_ROLLBACK,
            ROLLOUT_SET_SHARE, ROLLOUT_START, ROLLOUT_VALIDATE, ROLLOUT_WHY,
        },
        rollout_router::{
            ChangeRollout, ListRollouts, MoveShare, StartRollout, ValidatePlan, WhichPast,
            WhichRollout,
            answers::{Checked, RolloutState},
            release::Release,
        },
    },
};

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
        /// The rollout's id, the beginning of it, or `last`.
        id: String,
    },
    /// Checks a plan, and warns of stages that are too short to see anything.
    Validate {
        /// A plan's name, a TOML file, or `-` for standard input.
        plan: String,
        /// Requests that its tasks get, such as `10000/day`; without it stages are not judged.
        #[arg(long, value_parser = traffic)]
        traffic: Option<f64>,
        /// How many of control's requests fail.
        #[arg(long, value_parser = percentage, default_value = "2%")]
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
    Pause(ChangeArguments),
    /// Lets it go on.
    Resume(ChangeArguments),
    /// Goes to the next stage now; one that is paused goes on.
    Advance(ChangeArguments),
    /// Moves the share within the stage.
    SetShare {
        #[command(flatten)]
        change: ChangeArguments,
        /// 0 to 100.
        #[arg(value_parser = percent)]
        percent: Percent,
    },
    /// Takes everybody back to control, for good.
    Rollback(ChangeArguments),
    /// Lets a rollout through the gate that it waits at.
    Approve(ChangeArguments),
    /// Lets go of a rollout that has ended, so that the live share decides its tasks again.
    Release {
        #[command(flatten)]
        change: ChangeArguments,
        /// The live share from then on, 0 to 100; needed where users get the candidate before or after.
        #[arg(long, value_parser = percent)]
        share: Option<Percent>,
    },
    /// Lists what was done to a rollout, by whom and why.
    History {
        /// The rollout's id, the beginning of it, or `last`.
        id: String,
    },
    /// Shows each decision with its evidence, in words and figures.
    Why {
        /// The rollout's id, the beginning of it, or `last`.
        id: String,
    },
    /// Folds the stored events anew and compares what comes out with what was decided on.
    Replay {
        /// The rollout's id, the beginning of it, or `last`.
        id: String,
    },
    /// Divides the traffic that control has answered anew, by chance, and says what a plan would have held and
    /// taken back without a cause; fails where that is too often. Takes minutes.
    Placebo(placebo::Arguments),
    /// Draws how a rollout went, as SVG: evidence, ratios, share, errors and latency over time.
    Plot {
        /// The rollout's id, the beginning of it, or `last`.
        id: String,
        /// A file instead of standard output.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Writes the deployment log of a rollout as Markdown.
    Report {
        /// The rollout's id, the beginning of it, or `last`.
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
struct ChangeArguments {
    /// The rollout's id, the beginning of it, or `last`.
    id: String,
    #[command(flatten)]
    reason: Reason,
    /// The version that this is based on; refused where the rollout has moved on.
    #[arg(long)]
    version: Option<i64>,
}

impl ChangeArguments {
    /// The same with the id for `last`.
    async fn found(mut self, client: &Client) -> anyhow::Result<Self> {
        self.id = which::of(client, self.id).await?;
        Ok(self)
    }
}

/// Runs one command.
pub(super) async fn run(arguments: Arguments, sources: &Sources) -> anyhow::Result<()> {
    let Arguments { url, json, command } = arguments;

    let command = match command {
        Command::Replay { id } => return offline::replay(&Config::load(sources)?, &id, json).await,
        Command::Placebo(arguments) if !arguments.keep => {
            return placebo::run(&Config::load(sources)?, arguments, json).await;
        }
        Command::Plot { id, output } => {
            return offline::plot(&Config::load(sources)?, &id, output.as_deref()).await;
        }
        Command::Report { id, output } => {
            return offline::report(&Config::load(sources)?, &id, output.as_deref()).await;
        }
        command => command,
    };
    let client = Client::new(&ClientConfig::load(sources, url)?)?;
    let ask = ClientOptions {
        client: &client,
        json,
    };
    let lists = matches!(command, Command::List { .. });
    let answer = answer(&ask, command).await?;
    let killed = lists && !json && is_killed(&client).await;
    let mut out = std::io::stdout().lock();
    write!(out, "{answer}")?;
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
    let flags = client.call(&FLAGS_GET, &NoInput {}).await;
    flags.is_ok_and(|flags| flags.killed)
}

/// The text to print.
async fn answer(ask: &ClientOptions<'_>, command: Command) -> anyhow::Result<String> {
    match command {
        Command::List { all } => {
            let input = ListRollouts { all };
            ask.show(&ROLLOUT_LIST, &input, |list| show::rollouts(list))
                .await
        }
        Command::Get { id } => {
            let id = which::of(ask.client, id).await?;
            let which = WhichRollout { id };
            ask.show(&ROLLOUT_GET, &which, show::details).await
        }
        Command::Validate {
            plan,
            traffic,
            baseline,
        } => validate(ask, &plan, traffic, baseline).await,
        Command::Start {
            plan,
            reason,
            keep_users,
            take_back,
        } => {
            let input = StartRollout {
                plan: plan_text(&plan)?,
                reason: reason.reason,
                keep_users,
                take_back,
            };
            ask.show(&ROLLOUT_START, &input, show::started).await
        }
        Command::Pause(change) => apply(ask, &ROLLOUT_PAUSE, change).await,
        Command::Resume(change) => apply(ask, &ROLLOUT_RESUME, change).await,
        Command::Advance(change) => apply(ask, &ROLLOUT_ADVANCE, change).await,
        Command::Rollback(change) => apply(ask, &ROLLOUT_ROLLBACK, change).await,
        Command::Approve(change) => apply(ask, &ROLLOUT_APPROVE, change).await,
        Command::Release { change, share } => {
            let change = change.found(ask.client).await?;
            let input = Release {
                version: version(ask.client, &change).await?,
                id: change.id,
                reason: change.reason.reason,
                share,
            };
            ask.show(&ROLLOUT_RELEASE, &input, show::changed).await
        }
        Command::SetShare { change, percent } => {
            let change = change.found(ask.client).await?;
            let input = MoveShare {
                version: version(ask.client, &change).await?,
                id: change.id,
                reason: change.reason.reason,
                percent,
            };
            ask.show(&ROLLOUT_SET_SHARE, &input, show::changed).await
        }
        Command::History { id } => {
            let id = which::of(ask.client, id).await?;
            let which = WhichPast::of(id);
            ask.show(&ROLLOUT_HISTORY, &which, |entries| show::history(entries))
                .await
        }
        Command::Why { id } => {
            let id = which::of(ask.client, id).await?;
            let which = WhichPast::of(id);
            ask.show(&ROLLOUT_WHY, &which, |entries| show::why(entries))
                .await
        }
        Command::Placebo(arguments) => placebo::keep(ask, arguments).await,
        Command::Replay { .. } | Command::Plot { .. } | Command::Report { .. } => {
            anyhow::bail!("this command needs no server")
        }
    }
}

/// Makes a change that needs no more than its reason.
async fn apply(
    ask: &ClientOptions<'_>,
    method: &Method<ChangeRollout, RolloutState>,
    change: ChangeArguments,
) -> anyhow::Result<String> {
    let change = change.found(ask.client).await?;
    let input = ChangeRollout {
        version: version(ask.client, &change).await?,
        id: change.id,
        reason: change.reason.reason,
    };
    ask.show(method, &input, show::changed).await
}

/// The version that a change is based on: the one given, or that of now.
async fn version(client: &Client, change: &ChangeArguments) -> Result<i64, CallError> {
    if let Some(version) = change.version {
        return Ok(version);
    }
    let id = change.id.clone();
    // Of all that is known of it no more than is needed: a change has to work in a bad hour.
    let get = ROLLOUT_GET.reading::<RolloutState>();
    Ok(client.call(&get, &WhichRollout { id }).await?.version)
}

/// Checks a plan, by the server where there is one.
async fn validate(
    ask: &ClientOptions<'_>,
    plan: &str,
    traffic: Option<f64>,
    baseline: f64,
) -> anyhow::Result<String> {
    let input = ValidatePlan {
        plan: plan_text(plan)?,
        requests_per_day: traffic,
        baseline: traffic.and_then(|_| Percent::new(baseline * 100.0)),
    };
    let checked = match ask.client.call(&ROLLOUT_VALIDATE, &input).await {
        Ok(checked) => checked,
        // What can be known of a plan without a server.
        Err(CallError::Unreachable { .. }) => {
            let traffic = traffic.map(|requests| (requests, baseline));
            checked_here(plan, &input.plan, traffic)?
        }
        Err(error) => return Err(error.into()),
    };
    if !checked.valid {
        anyhow::bail!(
            "the plan cannot be used:\n{}",
            show::faults(&checked.faults)
        );
    }
    if ask.json {
        return Ok(serde_json::to_string_pretty(&checked)? + "\n");
    }
    Ok(show::valid(&checked))
}

/// Checks a plan without a server: its names are taken as they are.
fn checked_here(plan: &str, text: &str, traffic: Option<(f64, f64)>) -> anyhow::Result<Checked> {
    let known = KnownNames::default();
    let plan = if Plan::is_text(text) {
        Plan::parse(text, plan, &known)
    } else {
        let shipped = Library::load(None, &known)?;
        let plan = shipped.get(text.trim()).cloned();
        Ok(plan.with_context(|| {
            format!("no server answers, and `{text}` is none of the shipped plans")
        })?)
    };
    let mut checked = Checked::new(plan, traffic);
    let note = "no server answers: names of tasks and models are not checked";
    checked.warnings.insert(0, note.to_owned());
    Ok(checked)
}
