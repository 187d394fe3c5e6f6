//! What moves something and moves it back: a rollback of a rollout that concerns nobody, and the flags.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::{
    client::{CallError, Client},
    findings::Findings,
};
use crate::{
    _core::{errors::in_full, feature_flags::DecidedBy, procedure::NoInput, units::Percent},
    rollout::{plan::is_rehearsal, status::RunState},
    routers::{
        feature_flags_router::{Kill, SetShare, answers::FlagsState},
        methods::{
            FLAGS_GET, FLAGS_KILL, FLAGS_SET_SHARE, ROLLOUT_GET, ROLLOUT_LIST, ROLLOUT_ROLLBACK,
            ROLLOUT_START,
        },
        rollout_router::{
            ChangeRollout, ListRollouts, StartRollout, WhichRollout, answers::RolloutState,
        },
    },
};

/// The plan of a rollback that concerns nobody.
const PLAN: &str = include_str!("rehearsal.toml");
/// Why, in the histories.
const REASON: &str = "modelramp smoke";
/// The longest until a change is in force and written.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(100);
/// How long a rehearsal of another run may be live; after it, that run was killed.
const OTHERS: Duration = Duration::from_secs(20);
/// How long one waits for others altogether.
const TURN: Duration = Duration::from_secs(90);
/// How often what was moved is tried to be moved back.
const TRIES: u32 = 5;

/// Whether a rollout can be started and taken back.
pub(super) async fn rehearse(client: &Client, findings: &mut Findings) {
    match rehearsed(client).await {
        Ok(took) => findings.pass(
            "rollback",
            format!(
                "a rollout without users was started, and taken back within {} ms",
                took.as_millis()
            ),
        ),
        Err(error) => {
            let todo = "see the server's log; until this passes, use the kill switch (`modelramp flags kill on`)";
            let asked = error.downcast_ref::<CallError>();
            let todo = asked.map_or(todo, |asked| asked.advice(todo));
            findings.fail(
                "rollback",
                format!("a rollback could not be rehearsed: {error:#}"),
                todo,
            );
        }
    }
}

/// How long the rollback took.
async fn rehearsed(client: &Client) -> anyhow::Result<Duration> {
    let id = start(client).await?;
    let began = Instant::now();
    take_back(client, &id).await?;
    let took = began.elapsed();
    let is = get(client, &id).await?;
    anyhow::ensure!(
        is.state == RunState::RolledBack && is.share == Percent::ZERO,
        "it is {} at {} % after its rollback",
        is.state.name(),
        is.share
    );
    Ok(took)
}

/// Starts a rehearsal, after those of other runs: only one can be live.
async fn start(client: &Client) -> Result<String, CallError> {
    let start = StartRollout {
        plan: PLAN.to_owned(),
        reason: REASON.to_owned(),
        keep_users: false,
        take_back: false,
    };
    let began = Instant::now();
    let mut other: Option<(String, Instant)> = None;
    loop {
        let live = client.call(&ROLLOUT_LIST, &ListRollouts::default()).await?;
        let live = live.into_iter().find(|it| is_rehearsal(&it.tasks));
        other = live.map(|live| match other.take() {
            Some(known) if known.0 == live.id => known,
            _ => (live.id, Instant::now()),
        });
        match &other {
            None => match client.call(&ROLLOUT_START, &start).await {
                // Another run was first.
                Err(CallError::Refused { code, .. })
                    if code == "CONFLICT" && began.elapsed() < TURN => {}
                answer => return answer.map(|it| it.state.id),
            },
            Some((id, since)) if since.elapsed() > OTHERS || began.elapsed() > TURN => {
                take_back(client, id).await?;
            }
            Some(_) => {}
        }
        sleep(PAUSE).await;
    }
}

async fn get(client: &Client, id: &str) -> Result<RolloutState, CallError> {
    let which = WhichRollout { id: id.to_owned() };
    client
        .call(&ROLLOUT_GET.reading::<RolloutState>(), &which)
        .await
}

/// Takes a rehearsal back. Its version may move on while it opens.
async fn take_back(client: &Client, id: &str) -> Result<(), CallError> {
    let began = Instant::now();
    loop {
        let change = ChangeRollout {
            id: id.to_owned(),
            version: get(client, id).await?.version,
            reason: REASON.to_owned(),
        };
        match client.call(&ROLLOUT_ROLLBACK, &change).await {
            Err(CallError::Refused { code, .. })
                if code == "CONFLICT" && began.elapsed() < PATIENCE =>
            {
                sleep(PAUSE).await;
            }
            answer => return answer.map(|_| ()),
        }
    }
}

/// Whether the kill switch and the live share can be moved; both are moved back.
pub(super) async fn flags(client: &Client, findings: &mut Findings) {
    let check = "flags";
    let before = match client.call(&FLAGS_GET, &NoInput {}).await {
        Ok(before) => before,
        Err(error) => {
            return findings.fail(check, in_full(&error), error.advice("see the server's log"));
        }
    };
    if before.killed {
        return findings.skip(
            check,
            "the kill switch is on already, so nothing was moved",
            "turn it off where it is not meant: `modelramp flags kill off`",
        );
    }
    match killed(client, &before).await {
        Ok(()) => findings.pass(check, "the kill switch was on for a moment, and is off"),
        Err(error) => findings.fail(
            check,
            format!("the kill switch: {error}"),
            "look at `modelramp flags get`, and turn it off: `modelramp flags kill off --reason …`",
        ),
    }
    let share = before.share;
    match shared(client, share).await {
        Ok(()) => findings.pass(
            check,
            format!("the live share was moved, and is {share} % again"),
        ),
        Err(Moved::Not(why)) => findings.skip(
            check,
            format!("the live share was not moved: {why}"),
            "nothing, where rollouts decide about every task",
        ),
        Err(Moved::Failed(error)) => findings.fail(
            check,
            format!("the live share: {error}"),
            format!("look at `modelramp flags get`; it was {share} %"),
        ),
    }
}

/// Turns the kill switch on and off.
async fn killed(client: &Client, before: &FlagsState) -> anyhow::Result<()> {
    let kill = |on, version| Kill {
        on,
        reason: REASON.to_owned(),
        version: Some(version),
    };
    let on = client.call(&FLAGS_KILL, &kill(true, before.version)).await;
    let is = in_doubt(client, &on).await?;
    if let Some(ours) = is.filter(|it| it.killed) {
        back(async || client.call(&FLAGS_KILL, &kill(false, ours.version)).await).await?;
    }
    let mut decided_by = on?.tasks.into_iter().map(|it| it.decided_by);
    anyhow::ensure!(
        decided_by.all(|it| it == DecidedBy::KillSwitch),
        "it was turned on, and does not decide about every task"
    );
    Ok(())
}

/// What a change of ours came to: none where it was refused, and what there is where its answer was lost and
/// it was made all the same.
async fn in_doubt(
    client: &Client,
    answer: &Result<FlagsState, CallError>,
) -> Result<Option<FlagsState>, CallError> {
    match answer {
        Ok(state) => Ok(Some(state.clone())),
        Err(CallError::Refused { .. }) => Ok(None),
        Err(_) => {
            let is = back(async || client.call(&FLAGS_GET, &NoInput {}).await).await?;
            Ok(Some(is).filter(|it| it.reason.as_deref() == Some(REASON)))
        }
    }
}

/// Why the live share was not moved there and back.
enum Moved {
    /// It cannot be, and was not.
    Not(String),
    /// It should have been.
    Failed(anyhow::Error),
}

impl From<CallError> for Moved {
    fn from(error: CallError) -> Self {
        Self::Failed(error.into())
    }
}

/// Moves the live share to another one and back.
async fn shared(client: &Client, share: Percent) -> Result<(), Moved> {
    let set = |percent, version| SetShare {
        percent,
        reason: REASON.to_owned(),
        version: Some(version),
    };
    let other = match share {
        Percent::ZERO => Percent::new(10.0).unwrap_or_default(),
        _ => Percent::ZERO,
    };
    let now = client.call(&FLAGS_GET, &NoInput {}).await?;
    let moved = match client
        .call(&FLAGS_SET_SHARE, &set(other, now.version))
        .await
    {
        Err(CallError::Refused { code, message }) if code == "CONFLICT" => {
            return Err(Moved::Not(message));
        }
        moved => moved,
    };
    let is = in_doubt(client, &moved).await?;
    if let Some(ours) = is.filter(|it| it.share != share) {
        back(async || {
            client
                .call(&FLAGS_SET_SHARE, &set(share, ours.version))
                .await
        })
        .await?;
    }
    let is = moved?.share;
    if is != other {
        let error = anyhow::anyhow!("it was set to {other} %, and is {is} %");
        return Err(Moved::Failed(error));
    }
    Ok(())
}

/// Moves something back, again where that fails. Where somebody else was first, theirs stays.
async fn back<T>(change: impl AsyncFn() -> Result<T, CallError>) -> Result<T, CallError> {
    let mut tries = 1;
    loop {
        match change().await {
            Err(error) if tries < TRIES && !matches!(error, CallError::Refused { .. }) => {
                tries += 1;
                sleep(Duration::from_secs(1)).await;
            }
            answer => return answer,
        }
    }
}
