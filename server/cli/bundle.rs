//! `modelramp bundle …`: the bundles of the catalog, and how two of them differ. Needs no server.

use std::{fmt::Write as _, io::Write as _, path::PathBuf, sync::Arc};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use similar::TextDiff;

use super::table::{TextTable, clean};
use crate::{
    _core::suggest,
    app::catalog,
    config::Config,
    model_router::{
        bundle::Bundle,
        catalog::{Catalog, Model},
    },
};

/// Arguments of `modelramp bundle`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the bundles: name and version, the model, and which tasks begin with them.
    List,
    /// Shows one: its model, its parameters and its prompt.
    Show {
        /// Its name, with or without its version.
        name: String,
    },
    /// Shows how one differs from another, line by line.
    Diff {
        /// The name of one.
        from: String,
        /// The name of the other.
        to: String,
        /// The catalog that the other is in, such as the one of before; the same where it is not given.
        #[arg(long, value_name = "FILE")]
        with: Option<PathBuf>,
    },
}

/// Reads the catalog, and prints.
pub(super) fn run(config: &Config, arguments: Arguments) -> anyhow::Result<()> {
    let own = catalog::load(config)?;
    let text = match arguments.command {
        Command::List => list(&own),
        Command::Show { name } => text_of(&*find(&own, &name)?),
        Command::Diff { from, to, with } => {
            let other = with.map(|file| {
                let mut config = config.clone();
                config.models.catalog = Some(file);
                catalog::load(&config)
            });
            let other = other.transpose()?;
            let from = find(&own, &from)?;
            let to = find(other.as_ref().unwrap_or(&own), &to)?;
            diff(&from, &to)
        }
    };
    write!(std::io::stdout(), "{text}").context("cannot print")
}

fn bundles(catalog: &Catalog) -> impl Iterator<Item = (&Arc<Model>, &Arc<Bundle>)> + Clone {
    let models = catalog.models.iter();
    models.filter_map(|model| Some((model, model.bundle.as_ref()?)))
}

fn list(catalog: &Catalog) -> String {
    let mut table = TextTable::new(&["BUNDLE", "MODEL", "PROMPT", "TASKS"]);
    for (model, bundle) in bundles(catalog) {
        let begins = |route: &[Arc<Model>]| route.first().is_some_and(|it| it.name == model.name);
        let tasks = catalog.tasks.iter();
        let tasks = tasks.filter(|it| begins(&it.control) || begins(&it.candidate));
        let tasks: Vec<_> = tasks.map(|it| &*it.name).collect();
        let prompt = bundle.prompt.as_ref().map_or("-".to_owned(), |it| {
            format!("{} characters", it.chars().count())
        });
        let tasks = if tasks.is_empty() {
            "-".to_owned()
        } else {
            tasks.join(", ")
        };
        table.row([
            model.name.to_string(),
            bundle.model.to_string(),
            prompt,
            tasks,
        ]);
    }
    table.to_string()
}

/// A bundle, or a model, which is one that says nothing.
fn find(catalog: &Catalog, name: &str) -> anyhow::Result<Arc<Model>> {
    catalog.model(name).cloned().with_context(|| {
        let known = bundles(catalog).map(|(_, bundle)| &*bundle.name);
        let hint = suggest::hint(name, known.clone());
        let known: Vec<_> = known.collect();
        match &*known {
            [] => format!("there is no bundle `{name}`: the catalog has none (`[bundles.NAME]`)"),
            known => format!(
                "there is no bundle `{name}`; known are {}{hint}",
                known.join(", ")
            ),
        }
    })
}

/// All of a bundle but its name, so that two can be compared.
fn text_of(model: &Model) -> String {
    let mut text = String::new();
    // Nothing is written to a text in vain.
    let _ = writeln!(text, "model: {}", model.base());
    let Some(bundle) = &model.bundle else {
        return text;
    };
    if let Some(max_tokens) = bundle.max_tokens {
        let _ = writeln!(text, "max_tokens: {max_tokens}");
    }
    for (name, value) in &bundle.parameters {
        let _ = writeln!(text, "{name}: {value}");
    }
    for line in bundle.prompt.iter().flat_map(|it| it.lines()) {
        let _ = writeln!(text, "prompt: {}", clean(line));
    }
    text
}

fn diff(from: &Model, to: &Model) -> String {
    let (old, new) = (text_of(from), text_of(to));
    if old == new {
        return format!("`{}` and `{}` do not differ\n", from.name, to.name);
    }
    let diff = TextDiff::from_lines(&old, &new);
    let mut shown = diff.unified_diff();
    shown.header(&from.name, &to.name).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_are_listed_and_compared() {
        let catalog = Catalog::parse(
            r#"
            [providers.p]
            base_url = "http://127.0.0.1:1/v1"
            [models.m]
            provider = "p"
            id = "m"
            context = 8192
            [bundles.one]
            model = "m"
            prompt = "Be brief.\nBe kind."
            parameters = { temperature = 0.2 }
            [bundles.two]
            model = "m"
            prompt = "Be brief.\nBe rude."
            max_tokens = 7
            [tasks.chat]
            control = ["m"]
            candidate = ["two", "m"]
            "#,
        )
        .unwrap();
        let one = find(&catalog, "one").unwrap();
        let two = find(&catalog, "two").unwrap();
        assert_eq!(find(&catalog, &two.name).unwrap().name, two.name);
        let list = list(&catalog);
        let line = list.lines().find(|it| it.starts_with("two@")).unwrap();
        assert!(
            line.ends_with("chat") && line.contains("18 characters"),
            "{list}"
        );
        let told = diff(&one, &two);
        for line in [
            "-temperature: 0.2",
            "+max_tokens: 7",
            " prompt: Be brief.",
            "-prompt: Be kind.",
            "+prompt: Be rude.",
        ] {
            assert!(told.lines().any(|it| it == line), "{line}: {told}");
        }
        assert!(told.starts_with(&format!("--- {}\n+++ {}\n", one.name, two.name)));
        assert!(diff(&one, &one).contains("do not differ"));
        let plain = find(&catalog, "m").unwrap();
        assert!(diff(&plain, &one).contains("+temperature: 0.2"));
        let error = find(&catalog, "twoo").unwrap_err().to_string();
        assert!(
            error.ends_with("known are one, two; did you mean `two`?"),
            "{error}"
        );
    }
}
