//! The file that says how the sandbox's models behave.

use std::{collections::BTreeMap, path::Path};

use super::{
    Wanted,
    wanted::{MAX_DELAY_MS, MAX_SPREAD},
};
use crate::_core::toml_reader::{self, FileError, TomlFaults, TomlField, TomlTable, text_of};

/// What the file is, in errors.
const WHAT: &str = "the sandbox's plan";

/// How the sandbox's models behave, in TOML:
///
/// ```toml
/// seed = 7
///
/// [default]                      # models that are not named
/// latency_ms = 300               # median
/// spread = 0.4                   # σ of its logarithm
///
/// [models."z-ai/glm-4.5-air:free"]
/// error_rate = 0.05
/// fault = "503"                  # any FaultMode, such as `404`, `422-bare`, `empty`, `refusal`, `too-long`
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SandboxPlan {
    /// Where chance starts; another seed gives another run.
    pub seed: u64,
    /// Models that are not named.
    pub default: Wanted,
    /// By the name that the provider knows; what is left out is as in `default`.
    pub models: BTreeMap<String, Wanted>,
}

impl SandboxPlan {
    /// Reads it from a file.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        let text = text_of(path, WHAT)?;
        Self::read(&text, &path.display().to_string()).map_err(|faults| FileError::Faulty {
            what: WHAT,
            texts: vec![faults],
        })
    }

    /// Reads it from a text.
    pub fn parse(text: &str) -> Result<Self, TomlFaults> {
        Self::read(text, "(text)")
    }

    fn read(text: &str, origin: &str) -> Result<Self, TomlFaults> {
        toml_reader::document(text, origin, |table| {
            let behaviour = |it: &TomlField<'_>| it.table(wanted).unwrap_or_default();
            let models = table.optional("models", |it| it.named(|_, it| behaviour(it)));
            Self {
                seed: table.optional("seed", TomlField::whole).unwrap_or_default(),
                default: table
                    .get("default")
                    .map(|it| behaviour(&it))
                    .unwrap_or_default(),
                models: models.unwrap_or_default().into_iter().collect(),
            }
        })
    }
}

fn wanted(table: &mut TomlTable<'_>) -> Wanted {
    let mut number = |key, most| {
        table.optional(key, |it| {
            let number = it.number()?;
            Some(it.within(number, 0.0..=most))
        })
    };
    Wanted {
        latency_ms: number("latency_ms", MAX_DELAY_MS),
        spread: number("spread", MAX_SPREAD),
        word_ms: number("word_ms", MAX_DELAY_MS),
        slow_word_ms: number("slow_word_ms", MAX_DELAY_MS),
        error_rate: number("error_rate", 1.0),
        fault: table.optional("fault", |it| {
            let parsed = it.text("the name of a fault")?.parse();
            parsed
                .map_err(|error: super::fault_mode::UnknownFault| it.fault(error.to_string()))
                .ok()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::sandbox::FaultMode;

    #[test]
    fn faults_are_read_by_their_names() {
        for name in ["429", "422-bare", "hang", "empty-null"] {
            let plan = SandboxPlan::parse(&format!("[models.a]\nfault = \"{name}\"")).unwrap();
            let fault: FaultMode = plan.models["a"].fault.unwrap();
            assert_eq!(serde_json::to_value(fault).unwrap(), name);
        }
    }

    #[test]
    fn every_fault_of_the_file_names_its_line() {
        let text = "seed = 1\nsede = 2\n[default]\nerror_rate = 1.5\nlatency_ms = -1\n\
                    [models.a]\nspread = nan\nfault = \"burn\"\nword_ms = \"2\"\n[models]\nb = 1\n";
        let faults = SandboxPlan::parse(text).unwrap_err().to_string();
        // The names of all faults follow the semicolon.
        let faults: Vec<_> = faults
            .lines()
            .map(|line| line.split("; expected a status").next().unwrap())
            .collect();
        assert_eq!(
            faults,
            [
                "(text):2: unknown key `sede`; did you mean `seed`?",
                "(text):4: `default.error_rate` is 1.5; expected 0 to 1",
                "(text):5: `default.latency_ms` is -1; expected 0 to 600000",
                "(text):7: `models.a.spread` is nan; expected a number",
                "(text):8: unknown fault `burn`",
                "(text):9: `models.a.word_ms` is \"2\"; expected a number",
                "(text):11: `models.b` is 1; expected a table",
            ]
        );
    }
}
