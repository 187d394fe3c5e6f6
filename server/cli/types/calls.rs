//! The procedures that a front end calls, with the side that answers each.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::scan::ScannedCalls;
use crate::{cli::table::TextTable, migration::covers};

/// Places of a call that the table shows.
const SHOWN: usize = 2;

/// What a front end calls.
#[derive(Debug, Serialize)]
pub(super) struct CallList {
    files: usize,
    /// By name.
    procedures: BTreeMap<String, Called>,
    /// Where a name is computed, so that it is not known which.
    computed: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Called {
    answered_by: PathSide,
    /// `src/Chat.tsx:12`.
    places: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum PathSide {
    Modelramp,
    OldServer,
}

impl CallList {
    pub(super) fn new(found: ScannedCalls, procedures: &[&str], kept: &[String]) -> Self {
        let side = |name: &str| {
            let is_kept = kept.iter().any(|kept| covers(kept, name));
            match procedures.contains(&name) && !is_kept {
                true => PathSide::Modelramp,
                false => PathSide::OldServer,
            }
        };
        let called = |(name, places): (String, Vec<String>)| {
            let answered_by = side(&name);
            let called = Called {
                answered_by,
                places,
            };
            (name, called)
        };
        Self {
            files: found.files,
            procedures: found.calls.into_iter().map(called).collect(),
            computed: found.computed,
        }
    }
}

impl fmt::Display for CallList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = TextTable::new(&["PROCEDURE", "ANSWERED BY", "CALLS", "WHERE"]);
        let mut ours = 0;
        for (name, called) in &self.procedures {
            let is_ours = called.answered_by == PathSide::Modelramp;
            ours += usize::from(is_ours);
            let places = called.places.iter().take(SHOWN).cloned();
            let mut places = places.collect::<Vec<_>>().join(", ");
            if called.places.len() > SHOWN {
                places.push_str(", …");
            }
            table.row([
                name.clone(),
                if is_ours {
                    "modelramp"
                } else {
                    "the old server"
                }
                .to_owned(),
                called.places.len().to_string(),
                places,
            ]);
        }
        let all = self.procedures.len();
        writeln!(
            f,
            "{table}{all} procedures in {} files: modelramp answers {ours}, the old server {}",
            self.files,
            all - ours
        )?;
        for place in &self.computed {
            writeln!(f, "{place}: the name is computed, so it is not known which")?;
        }
        Ok(())
    }
}
