//! The plans that can be started by name: those that are shipped, and those of a folder.

use std::{collections::BTreeMap, fs, path::Path};

use super::{KnownNames, Plan};
use crate::_core::toml_reader::{FileError, text_of};

/// What the files are, in errors.
const WHAT: &str = "the rollout plans of ROLLOUT_PLANS";

/// Shipped plans: name and text.
pub const SHIPPED: [(&str, &str); 5] = [
    ("standard", include_str!("../plans/standard.toml")),
    ("staging", include_str!("../plans/staging.toml")),
    ("small", include_str!("../plans/small.toml")),
    ("cautious", include_str!("../plans/cautious.toml")),
    ("demo", include_str!("../plans/demo.toml")),
];

/// Plans by name.
#[derive(Clone, Debug, Default)]
pub struct Library {
    plans: BTreeMap<String, Plan>,
}

impl Library {
    /// The shipped plans and those of `ROLLOUT_PLANS`: every `*.toml` of the folder. A plan of the
    /// folder replaces a shipped one of the same name.
    pub fn load(folder: Option<&Path>, known: &KnownNames) -> Result<Self, FileError> {
        let mut texts: Vec<(String, String)> = SHIPPED
            .iter()
            .map(|(name, text)| (format!("{name}.toml"), (*text).to_owned()))
            .collect();
        if let Some(folder) = folder {
            texts.extend(read(folder)?);
        }
        let mut plans = BTreeMap::new();
        let mut faulty = Vec::new();
        for (origin, text) in texts {
            match Plan::parse(&text, &origin, known) {
                Ok(plan) => {
                    plans.insert(plan.name.clone(), plan);
                }
                Err(faults) => faulty.push(faults),
            }
        }
        if faulty.is_empty() {
            Ok(Self { plans })
        } else {
            Err(FileError::Faulty {
                what: WHAT,
                texts: faulty,
            })
        }
    }

    /// The plan of this name.
    pub fn get(&self, name: &str) -> Option<&Plan> {
        self.plans.get(name)
    }

    /// All of them, by name.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.plans.values()
    }
}

fn read(folder: &Path) -> Result<Vec<(String, String)>, FileError> {
    let unreadable = |source| FileError::Unreadable {
        what: WHAT,
        path: folder.to_owned(),
        source,
    };
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let text = text_of(&path, WHAT)?;
            texts.push((path.display().to_string(), text));
        }
    }
    texts.sort();
    Ok(texts)
}
