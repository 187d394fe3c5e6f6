//! How models of the sandbox behave, and what that means for each request.

use std::{
    collections::{BTreeMap, HashMap},
    f64::consts::TAU,
    time::Duration,
};

use murmur3::murmur3_32;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::Serialize;

use super::{Behaviour, FaultMode, SandboxPlan, Wanted, wanted::MAX_DELAY_MS};

/// Names that are told apart; the rest share [`OTHERS`].
const MAX_MODELS: usize = 1_000;
/// Stands for models that were asked for after [`MAX_MODELS`] others.
const OTHERS: &str = "(others)";
/// What a model was asked, and how that went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ModelCounts {
    /// Requests that arrived.
    pub requests: u64,
    /// Those that get a whole answer, if they wait for it.
    pub answered: u64,
    /// The others, by their fault.
    pub faults: BTreeMap<FaultMode, u64>,
}

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fate {
    /// Before the first byte.
    pub delay: Duration,
    /// Before each further word.
    pub between_words: Duration,
    /// How it fails, if it does.
    pub fault: Option<FaultMode>,
}

/// All models, which come into being when they are named.
#[derive(Debug)]
pub struct SandboxModels {
    seed: u64,
    usual: Behaviour,
    models: Mutex<HashMap<String, Model>>,
}

#[derive(Debug)]
struct Model {
    behaviour: Behaviour,
    draws: StdRng,
    counts: ModelCounts,
}

impl SandboxModels {
    /// Models that behave as the plan says.
    pub fn new(plan: &SandboxPlan) -> Self {
        let models = Self {
            seed: plan.seed,
            usual: plan.default.over(Behaviour::default()),
            models: Mutex::default(),
        };
        for (name, wanted) in &plan.models {
            models.set(name, wanted);
        }
        models
    }

    /// How a model behaves now.
    pub fn get(&self, name: &str) -> Behaviour {
        let models = self.models.lock();
        models.get(name).map_or(self.usual, |model| model.behaviour)
    }

    /// Changes how a model behaves, from its next request on; what is left out is as for a model
    /// that the plan does not name. Answers the whole of it.
    pub fn set(&self, name: &str, wanted: &Wanted) -> Behaviour {
        let behaviour = wanted.over(self.usual);
        self.with(name, |model| model.behaviour = behaviour);
        behaviour
    }

    /// What was asked so far, by model.
    pub fn counts(&self) -> BTreeMap<String, ModelCounts> {
        let models = self.models.lock();
        let counts = |(name, model): (&String, &Model)| (name.clone(), model.counts.clone());
        models.iter().map(counts).collect()
    }

    /// Draws what happens to the next request, and counts it.
    pub fn ask(&self, name: &str) -> Fate {
        self.with(name, |model| {
            let fate = model.behaviour.draw(&mut model.draws);
            model.counts.requests += 1;
            match fate.fault {
                None => model.counts.answered += 1,
                Some(fault) => *model.counts.faults.entry(fault).or_default() += 1,
            }
            fate
        })
    }

    fn with<T>(&self, name: &str, edit: impl FnOnce(&mut Model) -> T) -> T {
        let mut models = self.models.lock();
        let is_new = !models.contains_key(name);
        let name = if is_new && models.len() >= MAX_MODELS {
            OTHERS
        } else {
            name
        };
        let model = models.entry(name.to_owned()).or_insert_with(|| Model {
            behaviour: self.usual,
            draws: StdRng::seed_from_u64(self.seed_of(name)),
            counts: ModelCounts::default(),
        });
        edit(model)
    }

    /// Different for each model, so that two of them do not fail in step.
    fn seed_of(&self, name: &str) -> u64 {
        // Reading from memory does not fail.
        let hash = murmur3_32(&mut name.as_bytes(), 0).unwrap_or_default();
        self.seed ^ (u64::from(hash) << 32)
    }
}

impl Behaviour {
    /// Always takes three numbers, so that a change of behaviour shifts nothing that comes later.
    fn draw(&self, draws: &mut impl Rng) -> Fate {
        let [chance, radius, angle]: [f64; 3] = draws.random();
        // Box and Muller; 1 − radius is never 0.
        let normal = (-2.0 * (1.0 - radius).ln()).sqrt() * (TAU * angle).cos();
        let fault = (chance < self.error_rate).then_some(self.fault);
        let word_ms = match fault {
            Some(FaultMode::SlowStream) => self.slow_word_ms,
            _ => self.word_ms,
        };
        Fate {
            delay: duration(self.latency_ms * (self.spread * normal).exp()),
            between_words: duration(word_ms),
            fault,
        }
    }
}

fn duration(ms: f64) -> Duration {
    Duration::from_secs_f64(ms.min(MAX_DELAY_MS) / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(text: &str) -> SandboxModels {
        SandboxModels::new(&SandboxPlan::parse(text).unwrap())
    }

    #[test]
    fn the_same_seed_gives_the_same_fates_and_models_do_not_fail_in_step() {
        let text = "seed = 7\n[default]\nspread = 0.5\nerror_rate = 0.5";
        let fates = |models: &SandboxModels, name: &str| -> Vec<Fate> {
            (0..50).map(|_| models.ask(name)).collect()
        };
        let (one, two) = (models(text), models(text));
        assert_eq!(fates(&one, "a"), fates(&two, "a"));
        assert_ne!(fates(&one, "a"), fates(&two, "b"));
    }

    #[test]
    fn errors_come_at_their_rate_and_are_counted_by_kind() {
        let models = models("[models.a]\nerror_rate = 0.1\nfault = \"hang\"");
        for _ in 0..10_000 {
            models.ask("a");
        }
        let counts = models.counts().remove("a").unwrap();
        assert_eq!(counts.requests, 10_000);
        let hung = counts.faults[&FaultMode::Hang];
        assert!((900..1_100).contains(&hung), "{hung}");
        assert_eq!(counts.answered, 10_000 - hung);
    }

    #[test]
    fn latency_is_log_normal_about_its_median() {
        let models = models("[default]\nlatency_ms = 100\nspread = 0.5");
        let mut delays: Vec<f64> = (0..10_000)
            .map(|_| models.ask("a").delay.as_secs_f64() * 1_000.0)
            .collect();
        delays.sort_by(f64::total_cmp);
        let at = |share: f64| delays[(share * 10_000.0) as usize];
        assert!((97.0..103.0).contains(&at(0.5)), "{}", at(0.5));
        // exp(0.5 × 1.645) = 2.276
        assert!((215.0..240.0).contains(&at(0.95)), "{}", at(0.95));
    }

    #[test]
    fn a_change_holds_from_the_next_request_on_and_what_is_left_out_is_as_usual() {
        let models = models("[default]\nlatency_ms = 5\n[models.a]\nlatency_ms = 50");
        assert_eq!(models.get("a").latency_ms, 50.0);
        let wanted = Wanted {
            error_rate: Some(1.0),
            ..Wanted::default()
        };
        let now = models.set("a", &wanted);
        assert_eq!((now.latency_ms, now.error_rate), (5.0, 1.0));
        assert_eq!(models.ask("a").fault, Some(FaultMode::Status(500)));
        models.set("a", &Wanted::default());
        assert_eq!(models.ask("a").fault, None);
    }

    #[test]
    fn endless_names_take_no_endless_memory() {
        let models = models("");
        for n in 0..2 * MAX_MODELS {
            models.ask(&n.to_string());
        }
        let counts = models.counts();
        assert_eq!(counts.len(), MAX_MODELS + 1);
        assert_eq!(counts[OTHERS].requests, MAX_MODELS as u64);
    }
}
