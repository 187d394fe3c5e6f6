//! Writes the contract in `schema/` from the registry and the settings table.
//!
//! The folder is checked in and is an npm package as it lies. Everything in it follows from the
//! code alone, so that a difference means only that somebody forgot to write it anew.

mod access;
mod components;
mod contract;
mod example;
pub mod openapi;
pub mod openrpc;
mod package;
pub mod page;
mod procedures;
mod router;
mod typescript;

use std::{
    fmt, fs, io,
    path::Path,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use serde_json::value::{RawValue, to_raw_value};

pub use contract::{Contract, ContractEntry, ErrorEntry};

use crate::{
    _core::registry::Registry,
    config::{Transformer, settings_markdown},
};

/// The contract as a running server shows it. Each document is written once, when somebody first asks for it:
/// few do, and what it is made of takes megabytes.
pub struct Documents {
    registry: Arc<Registry>,
    transformer: Transformer,
    method_override: bool,
    openrpc: OnceLock<Arc<RawValue>>,
    openapi: OnceLock<Bytes>,
    page: OnceLock<String>,
}

impl Documents {
    /// For a server whose tRPC wire has this transformer, and takes queries by POST or not.
    pub fn new(registry: Arc<Registry>, transformer: Transformer, method_override: bool) -> Self {
        Self {
            registry,
            transformer,
            method_override,
            openrpc: OnceLock::new(),
            openapi: OnceLock::new(),
            page: OnceLock::new(),
        }
    }

    fn contract(&self) -> Contract<'_> {
        Contract::new(&self.registry)
    }

    /// What `rpc.discover` answers.
    pub fn openrpc(&self) -> Arc<RawValue> {
        let write = || {
            let document = openrpc::document(&self.contract());
            // A document that was made of values can be written.
            to_raw_value(&document).unwrap_or_default().into()
        };
        self.openrpc.get_or_init(write).clone()
    }

    /// The OpenAPI document, as JSON text.
    pub fn openapi(&self) -> Bytes {
        let document =
            || openapi::document(&self.contract(), self.transformer, self.method_override);
        let write = || pretty(&document()).into();
        self.openapi.get_or_init(write).clone()
    }

    /// The body of the documentation page, as HTML.
    pub fn page(&self) -> &str {
        let write = || page::body(&self.contract(), self.transformer);
        self.page.get_or_init(write)
    }
}

/// The files of the contract: names within the folder, and texts.
pub fn files(registry: &Registry) -> Vec<(&'static str, String)> {
    let contract = Contract::new(registry);
    vec![
        ("app-router.ts", router::v11(&contract)),
        ("app-router.v10.ts", router::v10(&contract)),
        ("procedures.json", procedures::document(&contract)),
        ("openrpc.json", pretty(&openrpc::document(&contract))),
        (
            "openapi.json",
            pretty(&openapi::document(&contract, Transformer::Superjson, true)),
        ),
        ("access.md", access::table(registry)),
        ("settings.md", settings_markdown()),
        ("package.json", package::manifest()),
    ]
}

fn pretty(document: &serde_json::Value) -> String {
    format!("{document:#}\n")
}

/// Writes files into `folder`, which is made where it is missing.
pub fn write(folder: &Path, files: &[(&'static str, String)]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, text) in files {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}

/// Compares the folder with what [`write()`] would write into it; every file that differs.
pub fn check(folder: &Path, files: &[(&'static str, String)]) -> Vec<StaleFile> {
    files
        .iter()
        .filter_map(|(name, expected)| {
            let line = match fs::read_to_string(folder.join(name)) {
                Ok(found) => Some(first_difference(expected, &found)?),
                Err(_) => None,
            };
            Some(StaleFile { file: name, line })
        })
        .collect()
}

/// A file that is not as the code has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleFile {
    /// Its name in the folder.
    pub file: &'static str,
    /// The first line that differs, counted from 1; `None` where the file cannot be read.
    pub line: Option<usize>,
}

impl fmt::Display for StaleFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "`{}` differs from the code at line {line}", self.file),
            None => write!(f, "`{}` is missing or cannot be read", self.file),
        }
    }
}

fn first_difference(expected: &str, found: &str) -> Option<usize> {
    if expected == found {
        return None;
    }
    let same = expected
        .lines()
        .zip(found.lines())
        .take_while(|(expected, found)| expected == found)
        .count();
    Some(same + 1)
}

#[cfg(test)]
mod tests;
