//! The file that says how the sandbox's models behave.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::Wanted;

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
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxPlan {
    /// Where chance starts; another seed gives another run.
    pub seed: u64,
    /// Models that are not named.
    pub default: Wanted,
    /// By the name that the provider knows; what is left out is as in `default`.
    pub models: BTreeMap<String, Wanted>,
}

/// Why a file does not say how models behave.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// It cannot be read.
    #[error("cannot read the sandbox's plan `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no TOML, or says something else.
    #[error("the sandbox's plan `{}` cannot be used:\n{fault}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, and what is wrong there.
        fault: Box<toml::de::Error>,
    },
}

impl SandboxPlan {
    /// Reads it from a file.
    pub fn load(path: &Path) -> Result<Self, PlanError> {
        let text = fs::read_to_string(path).map_err(|source| PlanError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text).map_err(|fault| PlanError::Invalid {
            path: path.to_owned(),
            fault: Box::new(fault),
        })
    }

    /// Reads it from a text.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
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
    fn faults_of_the_file_name_their_line() {
        for (text, line, says) in [
            ("seed = 1\nsede = 2", 2, "unknown field `sede`"),
            ("[default]\n\nerror_rate = 1.5", 3, "`1.5` is out of range"),
            ("[default]\nlatency_ms = -1", 2, "`-1` is out of range"),
            ("[models.a]\nspread = nan", 2, "`NaN` is out of range"),
            ("[models.a]\nfault = \"burn\"", 2, "unknown fault `burn`"),
        ] {
            let fault = SandboxPlan::parse(text).unwrap_err().to_string();
            assert!(fault.contains(&format!("line {line},")), "{fault}");
            assert!(fault.contains(says), "{fault}");
        }
    }
}
