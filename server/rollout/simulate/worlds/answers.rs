//! What the models of a world answer.

use std::collections::HashMap;

use super::{
    super::random::Random,
    DAY, HOUR, MINUTE, away,
    case::{Case, Oddity},
    people::{LocalMoment, WorldRequest, WorldUser},
};
use crate::{
    _core::assignment::Variant,
    providers::{fault::FaultKind, quality::Quality},
    recording::Outcome,
};

/// Our own time limit.
const TIME_LIMIT_MS: f64 = 60_000.0;
/// How long a reader waits for the first words.
const PATIENCE_MS: f64 = 8_000.0;
/// Characters of first words, and how long one takes.
const WORDS: f64 = 100.0;
const CHARACTER_MS: f64 = 5.0;

/// What came of a request.
pub(super) struct DrawnAnswer {
    pub outcome: Outcome,
    /// To the whole answer, or to when it was given up.
    pub latency_ms: f64,
    pub first_words_ms: Option<f64>,
    pub chars: f64,
    pub quality: Option<Quality>,
    /// Whoever asked asks once more.
    pub is_asked_again: bool,
}

/// How an answer comes out, before chance decides.
#[derive(Clone, Copy)]
struct Prospect {
    latency_ms: f64,
    error_rate: f64,
    /// The fault of a request that is refused for certain.
    refused: Option<FaultKind>,
    /// How many times as often as usual requests fail.
    ratio: f64,
    /// How many times as long as usual answers take.
    slower: f64,
}

impl Prospect {
    fn error_rate(&self) -> f64 {
        match self.ratio {
            ratio if ratio.is_infinite() => 1.0,
            ratio if ratio > 1.0 => (self.error_rate * ratio).min(0.95).max(self.error_rate),
            _ => self.error_rate,
        }
    }
}

/// Both models.
pub(super) struct WorldModels {
    case: Case,
    /// When each is away, by arm: control first.
    away: [Vec<(f64, f64)>; 2],
    /// When a candidate of bursts fails.
    bursts: Vec<f64>,
    last_used: [f64; 2],
    /// Requests of the last minute.
    recent: [Vec<f64>; 2],
    cached: [f64; 2],
    bad_days: HashMap<(usize, i64), bool>,
    /// Until when a user's prompt fails.
    poison: HashMap<usize, f64>,
}

impl WorldModels {
    pub(super) fn draw(case: Case, random: &mut Random) -> Self {
        let away = away::draw(&case, random);
        let half_weeks = (2.0 * case.days / 7.0).ceil() as u32;
        let bursts = (0..half_weeks).map(|it| 3.5 * DAY * (f64::from(it) + random.unit()));
        Self {
            case,
            away,
            bursts: bursts.collect(),
            last_used: [f64::NEG_INFINITY; 2],
            recent: [Vec::new(), Vec::new()],
            cached: [0.0; 2],
            bad_days: HashMap::new(),
            poison: HashMap::new(),
        }
    }

    /// Whether the candidate answers a probe.
    pub(super) fn answers_probe(&self, at_ms: f64, random: &mut Random) -> bool {
        if self.is_in_burst(at_ms) {
            return random.happens(0.5);
        }
        if self.case.oddity == Oddity::Half && at_ms >= self.case.from_hour * HOUR {
            return random.happens(0.5);
        }
        if self.case.oddity == Oddity::BrownOut && self.is_away(1, at_ms) {
            return random.happens(1.0 / 3.0);
        }
        let is_refused = self.case.oddity == Oddity::Quota { is_accounts: false }
            && LocalMoment::of(&self.case, at_ms).hour >= 18.0;
        let is_gone = self.case.ratio.is_infinite() && at_ms >= self.case.from_hour * HOUR;
        !(is_refused || is_gone || self.is_away(1, at_ms))
    }

    /// Whether the candidate of bursts fails in half of its requests.
    fn is_in_burst(&self, at_ms: f64) -> bool {
        let mut bursts = self.bursts.iter();
        self.case.oddity == Oddity::Bursts
            && bursts.any(|from| (*from..*from + HOUR).contains(&at_ms))
    }

    /// The candidate's provider goes away.
    pub(super) fn go_away(&mut self, from_ms: f64, until_ms: f64) {
        self.away[1].push((from_ms, until_ms));
    }

    fn is_away(&self, arm: usize, at_ms: f64) -> bool {
        let mut away = self.away[arm].iter();
        away.any(|(from, until)| (*from..*until).contains(&at_ms))
    }

    /// Answers one; before the rollout nothing is wrong with anybody.
    pub(super) fn answer(
        &mut self,
        request: &WorldRequest,
        user: &WorldUser,
        variant: Variant,
        random: &mut Random,
    ) -> DrawnAnswer {
        let case = self.case;
        let arm = usize::from(variant == Variant::Candidate);
        let is_bad = arm == 1 && request.at_ms >= case.from_hour * HOUR && !user.is_script;
        let usual = Prospect {
            latency_ms: 3_000.0 * user.slowness * (0.6 * random.normal()).exp(),
            error_rate: user.error_rate,
            refused: None,
            ratio: if is_bad { case.ratio } else { 1.0 },
            slower: if is_bad { case.slower } else { 1.0 },
        };
        let prospect = self.at_odds(usual, request, user, (arm, is_bad), random);
        let latency_ms = prospect.latency_ms * prospect.slower;
        let error_rate = prospect.error_rate();
        let by_chance = |random: &mut Random| {
            let is_lost = random.happens(error_rate);
            is_lost.then_some(FaultKind::Upstream)
        };
        let fault = prospect.refused.or_else(|| by_chance(random));
        let chars = WORDS.max(800.0 * user.length * (0.5 * random.normal()).exp());
        let mut answer = DrawnAnswer {
            outcome: fault.map_or(Outcome::Success, Outcome::Fault),
            latency_ms,
            first_words_ms: None,
            chars,
            quality: None,
            is_asked_again: fault.is_some() && self.is_asked_again(request, random),
        };
        if fault.is_some() {
            answer.latency_ms = 0.3 * latency_ms.clamp(100.0, 2_000.0);
        } else if case.oddity == Oddity::Leave {
            read(&mut answer, random);
        }
        if answer.latency_ms > TIME_LIMIT_MS {
            answer.latency_ms = TIME_LIMIT_MS;
            if answer.outcome == Outcome::Success {
                answer.outcome = Outcome::Fault(FaultKind::Timeout);
            }
        }
        if answer.outcome == Outcome::Success {
            answer.quality = Some(match random.happens(user.flaw_rate) {
                true => Quality::Truncated,
                false => Quality::Good,
            });
        }
        answer
    }

    /// What is odd about the world at that moment, beside what is usual.
    fn at_odds(
        &mut self,
        usual: Prospect,
        request: &WorldRequest,
        user: &WorldUser,
        (arm, is_bad): (usize, bool),
        random: &mut Random,
    ) -> Prospect {
        let at_ms = request.at_ms;
        let moment = LocalMoment::of(&self.case, at_ms);
        let Prospect {
            mut latency_ms,
            mut error_rate,
            mut refused,
            mut ratio,
            mut slower,
        } = usual;
        match self.case.oddity {
            Oddity::Peak => {
                let is_peak = moment.is_working() && (15.0..17.0).contains(&moment.hour);
                if !is_peak {
                    slower = 1.0;
                } else if !self.case.is_worse() {
                    latency_ms *= 3.0;
                }
            }
            Oddity::Cold => {
                latency_ms += if self.was_idle(arm, at_ms) {
                    15_000.0
                } else {
                    0.0
                };
            }
            Oddity::Poison => {
                error_rate = match self.is_poisoned(request, random) {
                    true => 1.0,
                    false => error_rate,
                };
            }
            Oddity::BadDays => {
                let is_bad_day = self.bad_days.entry((request.user, moment.day()));
                if *is_bad_day.or_insert_with(|| random.happens(0.05)) {
                    error_rate = 0.4;
                }
            }
            Oddity::Long => {
                if random.happens(user.long) {
                    latency_ms *= 2.0;
                    refused = (ratio > 1.0).then_some(FaultKind::Upstream);
                }
                ratio = 1.0;
            }
            Oddity::Quota { is_accounts } => {
                if ratio > 1.0 && moment.hour >= 18.0 {
                    refused = Some(match is_accounts {
                        true => FaultKind::RateLimited,
                        false => FaultKind::ProviderRateLimited,
                    });
                }
                ratio = 1.0;
            }
            Oddity::Cache => {
                (latency_ms, error_rate) = match self.is_cached(arm, random) {
                    true => (300.0 * (0.3 * random.normal()).exp(), 0.0),
                    false => (latency_ms, error_rate),
                };
            }
            Oddity::Wave if moment.is_wave() => {
                latency_ms *= 3.0;
                error_rate = error_rate.max(0.05);
            }
            Oddity::Agents if request.is_doomed => error_rate = 1.0,
            Oddity::PerMinute => {
                let most = if ratio > 1.0 { 3 } else { usize::MAX };
                let is_over = !self.takes(arm, at_ms, most);
                refused = is_over.then_some(FaultKind::ProviderRateLimited);
                ratio = 1.0;
            }
            Oddity::Second if at_ms < 0.0 && user.was_on_worse => error_rate *= 3.0,
            Oddity::Growing => {
                let grown = 1.04_f64.powf(at_ms / DAY);
                latency_ms *= grown;
                error_rate *= grown;
            }
            Oddity::SlowDay if (2.0 * DAY..3.0 * DAY).contains(&at_ms) => {
                latency_ms *= 3.0;
                error_rate += 0.05;
            }
            Oddity::Bursts => {
                if is_bad && self.is_in_burst(at_ms) {
                    error_rate = 0.5;
                }
                ratio = 1.0;
            }
            Oddity::ControlDecays if arm == 0 => {
                error_rate *= 1.0 + 2.0 * (at_ms / DAY / 10.0).clamp(0.0, 1.0);
            }
            Oddity::Drip if is_bad => ratio = 1.0 + 0.25 * at_ms / DAY,
            Oddity::Job => {
                let is_over = !self.takes(arm, at_ms, 20);
                refused = is_over.then_some(FaultKind::ProviderRateLimited);
            }
            Oddity::Regions if is_bad && user.key.is_multiple_of(2) => slower = 1.0 / slower,
            Oddity::Half if is_bad => (error_rate, ratio) = (0.5, 1.0),
            Oddity::BrownOut if self.is_away(arm, at_ms) => {
                (error_rate, ratio) = (2.0 / 3.0, 1.0);
            }
            Oddity::Slowly if self.is_away(arm, at_ms) => {
                (error_rate, ratio) = (0.0, 1.0);
                latency_ms = TIME_LIMIT_MS + 1.0;
            }
            _ if self.is_away(arm, at_ms) => {
                error_rate = 1.0;
                latency_ms = 200.0;
            }
            _ => {}
        }
        Prospect {
            latency_ms,
            error_rate,
            refused,
            ratio,
            slower,
        }
    }

    /// Whether nobody asked this model for five minutes.
    fn was_idle(&mut self, arm: usize, at_ms: f64) -> bool {
        at_ms - std::mem::replace(&mut self.last_used[arm], at_ms) > 5.0 * MINUTE
    }

    /// Whether the user's prompt is one that fails for half a minute.
    fn is_poisoned(&mut self, request: &WorldRequest, random: &mut Random) -> bool {
        if request.tries == 0 && random.happens(0.01) {
            self.poison.insert(request.user, request.at_ms + 30_000.0);
        }
        let until = self.poison.get(&request.user);
        until.is_some_and(|until| request.at_ms < *until)
    }

    /// Whether the answer is in the model's cache, which is the fuller the more of all requests it gets.
    fn is_cached(&mut self, arm: usize, random: &mut Random) -> bool {
        self.cached.iter_mut().for_each(|it| *it *= 0.9995);
        self.cached[arm] += 1.0;
        let share = self.cached[arm] / (self.cached[0] + self.cached[1]);
        random.happens(0.3 * share.powf(0.8))
    }

    /// Whether the model takes one more request, of which it takes so many in a minute.
    fn takes(&mut self, arm: usize, at_ms: f64, most: usize) -> bool {
        self.recent[arm].retain(|then| at_ms - *then < MINUTE);
        let has_room = self.recent[arm].len() < most;
        if has_room {
            self.recent[arm].push(at_ms);
        }
        has_room
    }

    fn is_asked_again(&self, request: &WorldRequest, random: &mut Random) -> bool {
        match self.case.oddity {
            Oddity::Poison => request.tries < 10,
            _ => request.tries == 0 && random.happens(0.5),
        }
    }
}

/// The answer is a stream, which its reader may leave.
fn read(answer: &mut DrawnAnswer, random: &mut Random) {
    let a_character = CHARACTER_MS * (0.2 * random.normal()).exp();
    let first_ms = 0.4 * answer.latency_ms;
    let words_ms = first_ms + WORDS * a_character;
    let whole_ms = first_ms + answer.chars * a_character;
    (answer.latency_ms, answer.first_words_ms) = (whole_ms, Some(words_ms));
    if words_ms > PATIENCE_MS {
        answer.outcome = Outcome::Cancelled;
        (answer.latency_ms, answer.first_words_ms) = (PATIENCE_MS, None);
    } else if random.happens(0.4) {
        answer.outcome = Outcome::Cancelled;
        answer.latency_ms = whole_ms.min(words_ms + 300.0 * random.exponential());
    }
}
