//! The table of settings for people: a page of documentation and the two templates.

use std::fmt::Write;

use super::settings::{AnySetting, SECTIONS};

/// Every setting, for `schema/settings.md`.
pub fn settings_markdown() -> String {
    let mut page = String::from(
        "# Settings\n\n\
         Generated from the table in `server/config/settings.rs`; do not edit.\n\n\
         From the weakest source to the strongest: the defaults below; a TOML file (`--config`, or \
         `MODELRAMP_CONFIG`) with these names as flat keys in either case; `.env` in the working \
         folder; `.env.dev` there in development and test, `.env.prod` in staging and production; \
         the environment. An empty value counts as not set. All faults are reported together and \
         the server does not start.\n\n\
         Any other variable whose name ends in `_API_KEY` can be named by a catalog of models \
         (`api_key_env`); such keys come from the environment or an `.env` file.\n",
    );
    for section in SECTIONS {
        let title = section.title;
        let _ = write!(
            page,
            "\n## {title}\n\n| Variable | Takes | Unit | Default | Meaning |\n|---|---|---|---|---|\n"
        );
        for setting in section.settings {
            let row = setting.row();
            let default = match row.default {
                "" => "not set".to_owned(),
                default => format!("`{default}`"),
            };
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {default} | {}{} |",
                row.name,
                setting.expected(),
                setting.unit(),
                meaning(*setting),
                remarks(*setting),
            );
        }
    }
    page
}

/// File names and contents of the two templates.
pub fn templates() -> [(&'static str, String); 2] {
    [
        (
            ".env.dev.template",
            template(
                "Settings of development. Copy to `.env.dev`; it works as it is.",
                |setting| setting.row().dev,
                |_| false,
            ),
        ),
        (
            ".env.prod.template",
            template(
                "Settings of production. Copy to `.env.prod`, set APP_ENV=production in the\n\
                 # environment, and fill in what is marked `required`.",
                |setting| setting.row().prod,
                |setting| setting.row().required,
            ),
        ),
    ]
}

fn template(
    head: &str,
    special: fn(&dyn AnySetting) -> Option<&'static str>,
    required: fn(&dyn AnySetting) -> bool,
) -> String {
    let mut text = format!(
        "# {head}\n\
         #\n\
         # Generated from the table in server/config/settings.rs. An empty value counts as not\n\
         # set. Values that hold blanks, `#` or `$` belong in single quotes.\n"
    );
    for section in SECTIONS {
        let _ = write!(text, "\n\n# === {} ===\n", section.title);
        for setting in section.settings {
            let row = setting.row();
            let unit = match setting.unit() {
                "" => String::new(),
                unit => format!(" ({unit})"),
            };
            let mark = if required(*setting) { "required; " } else { "" };
            let default = match row.default {
                "" => "not set",
                default => default,
            };
            text.push('\n');
            comment(&mut text, &meaning(*setting));
            comment(
                &mut text,
                &format!(
                    "{mark}takes {}{unit}; default: {default}",
                    setting.expected()
                ),
            );
            let value = special(*setting).unwrap_or(row.default);
            let _ = writeln!(text, "{}={value}", row.name);
        }
    }
    text
}

/// The doc comment on one line.
fn meaning(setting: &dyn AnySetting) -> String {
    let words = setting.row().meaning.split_whitespace();
    words.collect::<Vec<_>>().join(" ")
}

fn remarks(setting: &dyn AnySetting) -> &'static str {
    match (setting.secret(), setting.row().required) {
        (true, true) => " Secret. Required in staging and production.",
        (true, false) => " Secret.",
        (false, true) => " Required in staging and production.",
        (false, false) => "",
    }
}

/// Adds a comment, wrapped.
fn comment(text: &mut String, words: &str) {
    const WIDTH: usize = 96;
    let mut line = String::from("#");
    for word in words.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            let _ = writeln!(text, "{line}");
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path};

    use super::super::{Config, Sources, settings};
    use super::*;
    use crate::_core::environment::Environment;

    fn variables(template: &str) -> BTreeMap<String, String> {
        dotenvy::from_read_iter(template.as_bytes())
            .collect::<Result<_, _>>()
            .expect("a template is an `.env` file")
    }

    fn sources(environment: BTreeMap<String, String>) -> (tempfile::TempDir, Sources) {
        let folder = tempfile::tempdir().expect("a folder");
        let working_dir = folder.path().to_owned();
        let sources = Sources {
            environment,
            working_dir,
            config_file: None,
        };
        (folder, sources)
    }

    #[test]
    fn the_templates_in_the_repository_are_those_of_the_table() {
        for (name, template) in templates() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
            let written = fs::read_to_string(path).expect("a template");
            assert!(written == template, "{name} is not what `templates` makes");
        }
    }

    #[test]
    fn both_templates_hold_every_setting_and_no_other() {
        let names: Vec<_> = settings::all().map(|setting| setting.row().name).collect();
        for (file, template) in templates() {
            let mut variables = variables(&template);
            for name in &names {
                assert!(
                    variables.remove(*name).is_some(),
                    "{name} is missing in {file}"
                );
            }
            assert!(variables.is_empty(), "unknown in {file}: {variables:?}");
        }
    }

    #[test]
    fn the_template_of_development_loads_as_it_is() {
        let [(_, dev), _] = templates();
        let (_folder, sources) = sources(variables(&dev));
        let config = Config::load(&sources).expect("good settings");
        assert_eq!(config.environment, Environment::Development);
    }

    #[test]
    fn the_template_of_production_loads_once_what_is_required_is_filled_in() {
        let [_, (_, prod)] = templates();
        let (_folder, empty) = sources(variables(&prod));
        let faults = Config::load(&empty).expect_err("nothing filled in");
        let refused: Vec<_> = faults.iter().map(|fault| fault.name.clone()).collect();

        // What is marked, and only that, is what is refused.
        let mut lines = prod.lines();
        let mut marked = Vec::new();
        while let Some(line) = lines.next() {
            if line.starts_with("# required;") {
                let setting = lines.find(|line| !line.starts_with('#'));
                marked.extend(setting.and_then(|line| line.split('=').next()));
            }
        }
        assert_eq!(marked, refused);

        let mut filled = variables(&prod);
        for name in refused {
            filled.insert(name, "0123456789abcdef0123456789abcdef".into());
        }
        let (_folder, filled) = sources(filled);
        let config = Config::load(&filled).expect("good settings");
        assert_eq!(config.environment, Environment::Production);
    }

    #[test]
    fn the_page_names_every_setting_and_no_cell_breaks_it() {
        let page = settings_markdown();
        for setting in settings::all() {
            assert!(page.contains(&format!("| `{}` |", setting.row().name)));
        }
        for row in page.lines().filter(|line| line.starts_with('|')) {
            assert_eq!(row.matches('|').count(), 6, "{row}");
        }
    }
}
