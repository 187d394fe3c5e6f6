//! Where settings come from, and which of several values counts.
//!
//! From the weakest: the table's defaults; the TOML file; `.env`; `.env.dev` in development and test
//! or `.env.prod` in staging and production; the environment. So the more special of the two `.env`
//! files wins, as with `dotenv`, which never replaces what is set already.
//!
//! A blank value is no value: what is below shows through.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::{Path, PathBuf},
};

use config::{File, FileFormat, Map, Source, Value, ValueKind};

use super::{
    faults::{ConfigFault, ConfigFaults},
    settings::{self, APP_ENV, MODEL_CATALOGUE, MODELRAMP_CONFIG, NODE_ENV, Setting},
};
use crate::_core::{
    environment::Environment,
    suggest::{Near, nearest},
    text_file,
};

/// The variable that holds a session token. Only commands read it, from the environment alone: a
/// token that lies in a file beside the settings would be there for whoever reads them.
pub const TOKEN_VARIABLE: &str = "MODELRAMP_TOKEN";
/// Variables that end so may be named by a catalog.
const API_KEY_SUFFIX: &str = "_API_KEY";
/// As they are named in messages.
const FROM_ENVIRONMENT: &str = "the environment";
/// What people put before a setting's name because other programs want it so.
const PREFIX: &str = "MODELRAMP_";

/// What [`super::Config::load`] reads; built once, at the edge.
#[derive(Clone, Default)]
pub struct Sources {
    /// The process's variables.
    pub environment: BTreeMap<String, String>,
    /// Where the `.env` files are, and what relative paths start from.
    pub working_dir: PathBuf,
    /// `--config`; wins over `MODELRAMP_CONFIG`.
    pub config_file: Option<PathBuf>,
}

impl Sources {
    /// The environment and the working folder of this process, which nothing else of ours asks for,
    /// and the file of `--config`.
    pub fn from_process(config_file: Option<PathBuf>) -> Result<Self, ConfigFaults> {
        let working_dir = std::env::current_dir().map_err(|error| {
            ConfigFault::new(
                "the working folder",
                format!("cannot be told: {error}"),
                "one that exists",
            )
        })?;
        let mut environment = BTreeMap::new();
        let mut faults = Vec::new();
        for (name, value) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            match value.into_string() {
                Ok(value) => {
                    environment.insert(name, value);
                }
                Err(_) if is_ours(&name) => {
                    faults.push(ConfigFault::new(name, "is not UTF-8", "a text in UTF-8"));
                }
                Err(_) => {}
            }
        }
        ConfigFaults::check(faults)?;
        Ok(Self {
            environment,
            working_dir,
            config_file,
        })
    }
}

/// Without values, which may be secret.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("working_dir", &self.working_dir)
            .field("config_file", &self.config_file)
            .finish_non_exhaustive()
    }
}

/// One source's values by the settings' names; nothing blank, nothing of other programs.
#[derive(Clone)]
struct Layer {
    origin: String,
    values: BTreeMap<String, String>,
}

impl Layer {
    fn new(origin: &str, pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let values = pairs
            .into_iter()
            .filter(|(name, value)| is_ours(name) && !value.trim().is_empty())
            .map(|(name, value)| (name, value.trim().to_owned()))
            .collect();
        Self {
            origin: origin.to_owned(),
            values,
        }
    }

    fn get(&self, name: &str) -> Option<&String> {
        self.values.get(name)
    }
}

/// Without values, which may be secret.
impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Layer").field(&self.origin).finish()
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        let value = |text: &String| Value::new(Some(&self.origin), text.as_str());
        Ok(self
            .values
            .iter()
            .map(|(name, text)| (name.clone(), value(text)))
            .collect())
    }
}

/// A value and where it came from.
pub(super) struct Given {
    pub text: String,
    pub origin: String,
}

/// All layers in one, the strongest value of each variable.
pub(super) struct Merged {
    values: BTreeMap<String, Given>,
    /// Which of the two special `.env` files was read.
    pub profile: &'static str,
    /// What is odd but does not hinder a start.
    pub warnings: Vec<String>,
}

impl Merged {
    /// Reads everything there is; what cannot be read is left out and noted in `faults`.
    pub(super) fn read(sources: &Sources, faults: &mut Vec<ConfigFault>) -> Self {
        let mut reader = SourceReader {
            folder: &sources.working_dir,
            faults,
            slips: Vec::new(),
        };
        let variables: Vec<_> = sources.environment.clone().into_iter().collect();
        reader.note_slips(FROM_ENVIRONMENT, &variables);
        let environment = Layer::new(FROM_ENVIRONMENT, variables);
        let general = reader.env_file(".env");

        let named = |layer: &Layer| layer.get(MODELRAMP_CONFIG.row.name).map(PathBuf::from);
        let path = sources.config_file.clone();
        let mut path = path.or_else(|| named(&environment).or_else(|| named(&general)));
        let mut file = path.as_deref().map(|path| reader.toml_file(path));

        // The file that is special to an environment cannot say which environment that is.
        let known = [Some(&environment), Some(&general), file.as_ref()];
        let profile = profile_file(environment_of(&known).unwrap_or(Environment::Development));
        let special = reader.env_file(profile);
        if path.is_none() {
            path = named(&special);
            file = path.as_deref().map(|path| reader.toml_file(path));
        }

        let layers = [file, Some(general), Some(special), Some(environment)];
        let slips = reader.slips;
        let values = merge(layers.into_iter().flatten());
        // A catalog may name any key, so one that is like another is no slip then.
        let has_catalog = values.contains_key(MODEL_CATALOGUE.row.name);
        let is_named = |variable: &str| has_catalog && variable.ends_with(API_KEY_SUFFIX);
        let slips = slips
            .into_iter()
            .filter(|(variable, _)| !is_named(variable));
        Self {
            values,
            profile,
            warnings: slips.map(|(_, note)| note).collect(),
        }
    }

    /// The text of a variable.
    pub(super) fn get(&self, name: &str) -> Option<&Given> {
        self.values.get(name)
    }

    /// The variables that a catalog may name.
    pub(super) fn api_keys(&self) -> impl Iterator<Item = (&str, &str)> {
        let keys = self
            .values
            .iter()
            .filter(|(name, _)| name.ends_with(API_KEY_SUFFIX));
        keys.map(|(name, given)| (name.as_str(), given.text.as_str()))
    }
}

/// `.env.dev` or `.env.prod`.
pub(super) fn profile_file(environment: Environment) -> &'static str {
    if environment.is_local() {
        ".env.dev"
    } else {
        ".env.prod"
    }
}

fn environment_of(layers: &[Option<&Layer>]) -> Option<Environment> {
    let first = |setting: &Setting<_>| {
        let mut texts = layers
            .iter()
            .flatten()
            .filter_map(|layer| layer.get(setting.row.name));
        texts.next().cloned()
    };
    let text = first(&APP_ENV).or_else(|| first(&NODE_ENV))?;
    settings::environment(&text)
}

/// Later layers win.
fn merge(layers: impl Iterator<Item = Layer>) -> BTreeMap<String, Given> {
    let builder = layers.fold(config::Config::builder(), |builder, layer| {
        builder.add_source(layer)
    });
    // Our layers cannot fail: they hold texts that were read before.
    let merged = builder.build().and_then(|config| config.collect());
    let values = merged.unwrap_or_default().into_iter();
    let given = values.filter_map(|(name, value)| {
        let origin = value.origin().unwrap_or_default().to_owned();
        let text = value.into_string().ok()?;
        Some((name, Given { text, origin }))
    });
    given.collect()
}

/// Reads files, collecting what is wrong with them.
struct SourceReader<'a> {
    folder: &'a Path,
    faults: &'a mut Vec<ConfigFault>,
    /// By the variable that they are about.
    slips: Vec<(String, String)>,
}

impl SourceReader<'_> {
    fn env_file(&mut self, name: &str) -> Layer {
        let text = match text_file::read(&self.folder.join(name)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                self.unreadable(name, &error);
                String::new()
            }
        };
        let mut pairs = Vec::new();
        for entry in dotenvy::from_read_iter(text.as_bytes()) {
            match entry {
                Ok(pair) => pairs.push(pair),
                // The line itself may hold a secret.
                Err(dotenvy::Error::LineParse(line, _)) => {
                    let number = text.lines().position(|l| l.trim() == line.trim());
                    let place = number.map(|n| format!(" at line {}", n + 1));
                    self.faults.push(ConfigFault::new(
                        name,
                        format!("cannot be parsed{}", place.unwrap_or_default()),
                        "lines `NAME=value`; quote values that hold blanks, `#` or quotes",
                    ));
                }
                Err(error) => self.unreadable(name, &error),
            }
        }
        self.note_slips(&format!("`{name}`"), &pairs);
        Layer::new(&format!("`{name}`"), pairs)
    }

    /// Other programs keep their variables here too, so only what is very like a setting is noted.
    fn note_slips<'v>(
        &mut self,
        place: &str,
        variables: impl IntoIterator<Item = &'v (String, String)>,
    ) {
        for (variable, value) in variables {
            if variable == TOKEN_VARIABLE && place != FROM_ENVIRONMENT {
                let note = format!(
                    "`{variable}` in {place} is not read; commands take it from the environment only"
                );
                self.slips.push((variable.clone(), note));
            } else if !value.trim().is_empty()
                && let Some(meant) = meant(variable)
            {
                let note =
                    format!("`{variable}` in {place} is not a setting; did you mean `{meant}`?");
                self.slips.push((variable.clone(), note));
            }
        }
    }

    fn toml_file(&mut self, path: &Path) -> Layer {
        let origin = path.display().to_string();
        let text = match text_file::read(&self.folder.join(path)) {
            Ok(text) => text,
            Err(error) => {
                self.faults.push(ConfigFault::new(
                    &origin,
                    format!("cannot be read: {error}"),
                    "a file in UTF-8 that this user may read, as `--config` or `MODELRAMP_CONFIG` names it",
                ));
                String::new()
            }
        };
        let table = File::from_str(&text, FileFormat::Toml).collect();
        let table = table.unwrap_or_else(|error| {
            let found = toml_fault(&error, &text);
            self.faults
                .push(ConfigFault::new(&origin, found, "settings in TOML"));
            Map::new()
        });

        let mut pairs = Vec::new();
        let mut seen = BTreeSet::new();
        // Sorted, so that faults come in the same order each time.
        for (key, value) in table.into_iter().collect::<BTreeMap<_, _>>() {
            let name = key.to_ascii_uppercase();
            if let Some(fault) = key_fault(&key, &name, !seen.insert(name.clone()), &origin) {
                self.faults.push(fault);
            } else {
                match text_of(value) {
                    Some(text) => pairs.push((name, text)),
                    None => self.faults.push(ConfigFault::new(
                        name,
                        format!("is a table in `{origin}`"),
                        "a text, a number, a boolean or a list of them",
                    )),
                }
            }
        }
        Layer::new(&format!("`{origin}`"), pairs)
    }

    fn unreadable(&mut self, name: &str, error: &dyn fmt::Display) {
        self.faults.push(ConfigFault::new(
            name,
            format!("cannot be read: {error}"),
            "a file in UTF-8 that this user may read",
        ));
    }
}

/// Where and why, without the text there, which may be secret.
fn toml_fault(error: &config::ConfigError, text: &str) -> String {
    let config::ConfigError::FileParse { cause, .. } = error else {
        return "is not TOML".to_owned();
    };
    match cause.downcast_ref::<toml::de::Error>() {
        Some(error) => {
            let start = error.span().map_or(0, |span| span.start);
            let before = text.bytes().take(start);
            let line = before.filter(|byte| *byte == b'\n').count() + 1;
            format!("is not TOML at line {line} ({})", error.message())
        }
        None => format!("is not TOML ({cause})"),
    }
}

fn key_fault(key: &str, name: &str, again: bool, origin: &str) -> Option<ConfigFault> {
    let place = format!("in `{origin}`");
    if settings::find(name).is_none() {
        let known = settings::all().map(|setting| setting.row().name);
        let hint = match nearest(name, known) {
            Some(near) => format!("a setting's name; did you mean `{}`?", near.word),
            None if name.ends_with(API_KEY_SUFFIX) => {
                "the keys of a catalog's providers in the environment or an `.env` file".to_owned()
            }
            None => "a setting's name, as in `schema/settings.md`".to_owned(),
        };
        Some(ConfigFault::new(key, format!("{place} is unknown"), hint))
    } else if again {
        Some(ConfigFault::new(
            key,
            format!("{place} is given twice, once in upper and once in lower case"),
            "each setting once",
        ))
    } else if name == MODELRAMP_CONFIG.row.name {
        Some(ConfigFault::new(
            key,
            format!("{place} names a file from within one"),
            "it in the environment or an `.env` file, or `--config`",
        ))
    } else {
        None
    }
}

/// Scalars as they would be written in a variable, lists with commas.
fn text_of(value: Value) -> Option<String> {
    match value.kind {
        ValueKind::Table(_) => None,
        ValueKind::Array(items) => {
            let items: Option<Vec<_>> = items.into_iter().map(text_of).collect();
            items.map(|items| items.join(","))
        }
        _ => value.into_string().ok(),
    }
}

fn is_ours(name: &str) -> bool {
    name.ends_with(API_KEY_SUFFIX) || settings::find(name).is_some()
}

/// Variables of other programs that are very like one of ours.
const OF_OTHERS: [&str; 1] = ["OLLAMA_MODELS"];

/// The variable that was probably meant by one of the environment or an `.env` file.
///
/// A name that ends in `_API_KEY` is read, but only where a catalog names it, so it can be a slip
/// as well.
fn meant(variable: &str) -> Option<&'static str> {
    let is_known = settings::find(variable).is_some() || variable == TOKEN_VARIABLE;
    if is_known || OF_OTHERS.contains(&variable) {
        return None;
    }
    let known = || settings::all().map(|setting| setting.row().name);
    let unprefixed = variable
        .strip_prefix(PREFIX)
        .and_then(|rest| nearest(rest, known()));
    nearest(variable, known().chain([TOKEN_VARIABLE]))
        .filter(Near::is_close)
        .or(unprefixed)
        .map(|near| near.word)
}
