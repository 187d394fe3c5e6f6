//! What to try next, from what failed so far and the time that is left.

use std::{ops::Range, sync::Arc, time::Duration};

use super::{catalog::Model, repeats};
use crate::providers::fault::{Cause, Elsewhere, FaultKind, LimitScope};

/// A failed attempt, as far as the next step depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FailedAttempt {
    pub(super) position: usize,
    pub(super) kind: FaultKind,
    pub(super) cause: Cause,
    pub(super) scope: LimitScope,
    pub(super) retry_after: Option<Duration>,
    /// Whether the same model is to be asked once more, with a request that was mended, or with another key.
    pub(super) again: bool,
}

impl FailedAttempt {
    /// Whether another key of ours helps.
    fn was_the_keys(&self) -> bool {
        self.again && self.kind.is_accounts()
    }

    /// Whether the request was mended.
    pub(super) fn was_mended(&self) -> bool {
        self.again && !self.kind.is_accounts()
    }
}

/// The longest wait that a provider is granted within a call: whoever called can wait better.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NextAttempt {
    /// Try the model at this position of the route.
    Try { position: usize },
    /// Ask the one at this position once more, as long as a repeat is granted: after what its server asked
    /// for, or after a pause from this range of milliseconds.
    Repeat {
        position: usize,
        after: Duration,
        pause: Range<u64>,
    },
    /// Nothing can help, or there is no time left.
    Stop,
}

/// Chooses the next step from what failed so far and the time that is left.
///
/// Another model is tried at once where it can help: one that was not tried, whose provider has not
/// refused our account, and whose context is larger if the last ones were too small. A request that was
/// refused for itself goes to one other model only: if that refuses too, the request is wrong. Only when none
/// is left and a provider that is busy or out of order asked us to come back within half of the
/// remaining time, and of [`MAX_WAIT`], the model that may be asked soonest gets one second chance. A model
/// that was asked alone gets one, too, where its fault may have been a moment's.
///
/// Models at `skipped` positions are passed over. Where nothing else may help and no model has failed, the
/// first of them is asked all the same. Those at `closed` positions cannot be asked at all.
pub(super) fn next(
    route: &[Arc<Model>],
    failed: &[FailedAttempt],
    skipped: &[usize],
    closed: &[usize],
    remaining: Duration,
) -> NextAttempt {
    let now = |position| NextAttempt::Try { position };
    // What was filtered once is not offered to others until one takes it.
    if remaining.is_zero() || failed.iter().any(|one| one.cause == Cause::Refused) {
        return NextAttempt::Stop;
    }
    // A model that cannot be asked now would else be tried without a pause until the deadline.
    let again = failed.last().filter(|last| last.again);
    if let Some(last) = again.filter(|last| !closed.contains(&last.position)) {
        return now(last.position);
    }
    // What another key has made good is past.
    let failed: Vec<_> = failed
        .iter()
        .filter(|one| !one.was_the_keys())
        .copied()
        .collect();
    let failed = failed.as_slice();
    // A request that was refused is put to one other model, whatever comes of that.
    let is_refusal =
        |one: &FailedAttempt| !one.again && one.kind.may_succeed_elsewhere() == Elsewhere::OneOther;
    let refused = failed.iter().position(is_refusal);
    if refused.is_some_and(|first| first + 1 < failed.len()) {
        return NextAttempt::Stop;
    }
    untried(route, failed, skipped, closed)
        .map(now)
        .or_else(|| second_chance(failed, closed, remaining))
        .or_else(|| lone_repeat(failed, closed, remaining))
        .unwrap_or(NextAttempt::Stop)
}

/// The first model that was not tried and may help; one that is skipped only where no model has failed and no other is left.
fn untried(
    route: &[Arc<Model>],
    failed: &[FailedAttempt],
    skipped: &[usize],
    closed: &[usize],
) -> Option<usize> {
    let is_untried = |position: &usize| {
        !closed.contains(position) && failed.iter().all(|one| one.position != *position)
    };
    let mut untried = route
        .iter()
        .enumerate()
        .filter(|(position, model)| is_untried(position) && may_help(model, route, failed))
        .map(|(position, _)| position);
    let usable = untried.clone().find(|it| !skipped.contains(it));
    let has_failed = failed.iter().any(|one| one.kind.is_models_fault());
    usable.or_else(|| untried.next().filter(|_| !has_failed))
}

/// Whether nothing that failed so far says that this model fails as well.
fn may_help(model: &Model, route: &[Arc<Model>], failed: &[FailedAttempt]) -> bool {
    failed.iter().all(|failed| {
        let Some(other) = route.get(failed.position) else {
            return true;
        };
        // What costs nothing may be used up where what is paid for is not.
        let is_beside = failed.scope == LimitScope::Free && other.tier < model.tier;
        let same_account =
            failed.kind.is_accounts() && other.provider == model.provider && !is_beside;
        let as_small = failed.cause == Cause::ContextLength && model.context <= other.context;
        !same_account && !as_small
    })
}

/// Asks the model whose server asked for the shortest wait once more, where none was asked twice.
fn second_chance(
    failed: &[FailedAttempt],
    closed: &[usize],
    remaining: Duration,
) -> Option<NextAttempt> {
    let was_asked_before = |(index, one): (usize, &FailedAttempt)| {
        let mut before = failed.iter().take(index);
        before.any(|other| other.position == one.position)
    };
    if failed.iter().enumerate().any(was_asked_before) {
        return None;
    }
    let (after, position) = failed
        .iter()
        .filter(|failed| failed.kind.may_pass() && !closed.contains(&failed.position))
        .filter_map(|failed| Some((failed.retry_after?, failed.position)))
        .min()
        .filter(|(after, _)| *after <= MAX_WAIT.min(remaining / 2))?;
    let pause = 0..u64::try_from(after.as_millis() / 10).unwrap_or(0);
    Some(NextAttempt::Repeat {
        position,
        after,
        pause,
    })
}

/// Asks a model that was asked alone, and once, one more time, where its fault may have been a moment's.
fn lone_repeat(
    failed: &[FailedAttempt],
    closed: &[usize],
    remaining: Duration,
) -> Option<NextAttempt> {
    let [only] = failed else {
        return None;
    };
    // What its server asked for is too long to wait.
    if only.retry_after.is_some() || closed.contains(&only.position) {
        return None;
    }
    let pause = repeats::pause(only.kind, only.cause)?;
    let is_in_time = Duration::from_millis(pause.end) < remaining;
    is_in_time.then_some(NextAttempt::Repeat {
        position: only.position,
        after: Duration::ZERO,
        pause,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_router::catalog::{Catalog, Tier};

    const TEN_SECONDS: Duration = Duration::from_secs(10);

    fn route(models: &[(&str, u32)]) -> Vec<Arc<Model>> {
        let mut text = String::new();
        for (position, (provider, context)) in models.iter().enumerate() {
            text += &format!(
                "[models.m{position}]\nprovider = \"{provider}\"\nid = \"x\"\ncontext = {context}\n"
            );
        }
        for provider in ["a", "b"] {
            text += &format!("[providers.{provider}]\nbase_url = \"http://{provider}/v1\"\n");
        }
        text += "[tasks.chat]\ncandidate = [\"m0\"]\ncontrol = [\"m0\"]\n";
        Catalog::parse(&text).unwrap().models
    }

    fn failed(position: usize, kind: FaultKind) -> FailedAttempt {
        FailedAttempt {
            position,
            kind,
            cause: Cause::of_kind(kind),
            scope: LimitScope::Account,
            retry_after: None,
            again: false,
        }
    }

    fn at(position: usize) -> NextAttempt {
        NextAttempt::Try { position }
    }

    #[test]
    fn the_primary_comes_first_and_then_each_fallback_once() {
        let route = route(&[("a", 1), ("a", 1), ("a", 1)]);
        let mut so_far = Vec::new();
        for position in 0..3 {
            assert_eq!(next(&route, &so_far, &[], &[], TEN_SECONDS), at(position));
            so_far.push(failed(position, FaultKind::Upstream));
        }
        assert_eq!(
            next(&route, &so_far, &[], &[], TEN_SECONDS),
            NextAttempt::Stop
        );
    }

    #[test]
    fn a_model_that_cannot_be_asked_now_is_not_asked_again_with_another_key() {
        let route = route(&[("a", 1), ("b", 1)]);
        let refused = FailedAttempt {
            again: true,
            ..failed(0, FaultKind::RateLimited)
        };
        assert_eq!(next(&route, &[refused], &[], &[], TEN_SECONDS), at(0));
        assert_eq!(next(&route, &[refused], &[], &[0], TEN_SECONDS), at(1));
        let none = next(&route, &[refused], &[], &[0, 1], TEN_SECONDS);
        assert_eq!(none, NextAttempt::Stop);
    }

    #[test]
    fn a_refused_request_is_put_to_one_other_model() {
        let route = route(&[("a", 1), ("a", 1), ("a", 1)]);
        for kind in [FaultKind::BadRequest, FaultKind::Refused] {
            let mut so_far = vec![failed(0, kind)];
            assert_eq!(next(&route, &so_far, &[], &[], TEN_SECONDS), at(1));
            for second in FaultKind::ALL {
                so_far.truncate(1);
                so_far.push(failed(1, second));
                assert_eq!(
                    next(&route, &so_far, &[], &[], TEN_SECONDS),
                    NextAttempt::Stop,
                    "{second}"
                );
            }
            let so_far = [failed(0, FaultKind::Upstream), failed(1, kind)];
            assert_eq!(next(&route, &so_far, &[], &[], TEN_SECONDS), at(2));
        }
    }

    #[test]
    fn the_models_faults_go_on_to_any_other() {
        let route = route(&[("a", 1), ("a", 1)]);
        for kind in FaultKind::ALL
            .into_iter()
            .filter(|kind| kind.is_models_fault())
        {
            assert_eq!(
                next(&route, &[failed(0, kind)], &[], &[], TEN_SECONDS),
                at(1),
                "{kind}"
            );
        }
    }

    #[test]
    fn an_accounts_fault_needs_another_provider() {
        let route = route(&[("a", 1), ("a", 1), ("b", 1)]);
        for kind in FaultKind::ALL.into_iter().filter(|kind| kind.is_accounts()) {
            assert_eq!(
                next(&route, &[failed(0, kind)], &[], &[], TEN_SECONDS),
                at(2)
            );
        }
    }

    #[test]
    fn a_limit_of_what_costs_nothing_leaves_what_is_paid_for_at_the_same_provider() {
        let mut route = route(&[("a", 1), ("a", 1), ("a", 1)]);
        Arc::make_mut(&mut route[2]).tier = Tier::Paid;
        let used_up = FailedAttempt {
            scope: LimitScope::Free,
            ..failed(0, FaultKind::RateLimited)
        };
        assert_eq!(next(&route, &[used_up], &[], &[], TEN_SECONDS), at(2));
        let of_all = failed(0, FaultKind::RateLimited);
        let none = next(&route, &[of_all], &[], &[], TEN_SECONDS);
        assert_eq!(none, NextAttempt::Stop);
    }

    #[test]
    fn a_context_that_is_too_small_needs_a_larger_one() {
        let route = route(&[("a", 8), ("a", 8), ("a", 32)]);
        let so_far = [failed(0, FaultKind::ContextLength)];
        assert_eq!(next(&route, &so_far, &[], &[], TEN_SECONDS), at(2));
    }

    #[test]
    fn a_wait_that_fits_gives_one_second_chance_when_no_model_is_left() {
        let route = route(&[("a", 1), ("a", 1)]);
        let after = Duration::from_secs(2);
        let busy = FailedAttempt {
            retry_after: Some(after),
            ..failed(0, FaultKind::ProviderRateLimited)
        };
        let mut so_far = vec![busy];
        assert_eq!(next(&route, &so_far, &[], &[], TEN_SECONDS), at(1));
        so_far.push(failed(1, FaultKind::Upstream));
        assert_eq!(
            next(&route, &so_far, &[], &[], TEN_SECONDS),
            NextAttempt::Repeat {
                position: 0,
                after,
                pause: 0..200
            }
        );
        assert_eq!(
            next(&route, &so_far, &[], &[], Duration::from_secs(3)),
            NextAttempt::Stop
        );
        so_far.push(busy);
        assert_eq!(
            next(&route, &so_far, &[], &[], TEN_SECONDS),
            NextAttempt::Stop
        );
    }

    #[test]
    fn a_model_that_was_asked_alone_is_asked_once_more_where_its_fault_may_pass() {
        let alone = route(&[("a", 1)]);
        for kind in FaultKind::ALL {
            let pause = repeats::pause(kind, Cause::of_kind(kind));
            let expected = match pause {
                Some(pause) => NextAttempt::Repeat {
                    position: 0,
                    after: Duration::ZERO,
                    pause,
                },
                None => NextAttempt::Stop,
            };
            let once = failed(0, kind);
            assert_eq!(
                next(&alone, &[once], &[], &[], TEN_SECONDS),
                expected,
                "{kind}"
            );
            assert_eq!(
                next(&alone, &[once, once], &[], &[], TEN_SECONDS),
                NextAttempt::Stop
            );
            let late = FailedAttempt {
                retry_after: Some(Duration::from_secs(60)),
                ..once
            };
            assert_eq!(
                next(&alone, &[late], &[], &[], TEN_SECONDS),
                NextAttempt::Stop
            );
        }
        let down = failed(0, FaultKind::Upstream);
        let short = Duration::from_millis(200);
        assert_eq!(next(&alone, &[down], &[], &[], short), NextAttempt::Stop);
        let two = route(&[("a", 1), ("a", 1)]);
        let both = [down, failed(1, FaultKind::Upstream)];
        assert_eq!(next(&two, &both, &[], &[], TEN_SECONDS), NextAttempt::Stop);
    }

    #[test]
    fn nothing_is_tried_without_time() {
        assert_eq!(
            next(&route(&[("a", 1)]), &[], &[], &[], Duration::ZERO),
            NextAttempt::Stop
        );
    }

    #[test]
    fn what_is_skipped_is_asked_only_where_no_model_failed_and_none_is_left() {
        let route = route(&[("a", 8), ("b", 8), ("a", 8)]);
        assert_eq!(next(&route, &[], &[0], &[], TEN_SECONDS), at(1));
        assert_eq!(next(&route, &[], &[0, 1], &[], TEN_SECONDS), at(2));
        assert_eq!(next(&route, &[], &[0, 1, 2], &[], TEN_SECONDS), at(0));
        let ours = [failed(1, FaultKind::Payment), failed(2, FaultKind::Payment)];
        assert_eq!(
            next(&route, &ours, &[0], &[], TEN_SECONDS),
            NextAttempt::Stop,
            "the same account"
        );
        let small = [failed(1, FaultKind::RateLimited)];
        assert_eq!(next(&route, &small, &[0, 2], &[], TEN_SECONDS), at(0));
        let down = [failed(1, FaultKind::Upstream)];
        let again = next(&route, &down, &[0, 2], &[], TEN_SECONDS);
        assert!(matches!(again, NextAttempt::Repeat { position: 1, .. }));
    }
}
