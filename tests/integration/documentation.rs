//! What the README and docs/ tell a newcomer to type works as it stands.
//!
//! Every command line of ours in a page is given to the command line's own parser, those within a sentence too, and
//! the README's front end is installed by its own line, type-checked and run against a server. `tests/pages` runs every
//! block of every page.

mod front_end_snippet;

use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use modelramp::cli;

/// The top of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages that people read, with their texts.
fn pages() -> Vec<(PathBuf, String)> {
    let mut files: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"]
        .map(|name| root().join(name))
        .into();
    for folder in ["docs", "docs/decisions"] {
        let entries = std::fs::read_dir(root().join(folder)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    files.retain(|file| file.extension().is_some_and(|ending| ending == "md"));
    let read = |file: PathBuf| (file.clone(), std::fs::read_to_string(file).unwrap());
    files.into_iter().map(read).collect()
}

/// The text of the fenced blocks of a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in page.lines() {
        match (line.trim().strip_prefix("```"), &mut open) {
            (Some(opening), None) => open = Some((opening == language, String::new())),
            (Some(_), Some(_)) => {
                let (is_wanted, text) = open.take().unwrap();
                blocks.extend(is_wanted.then_some(text));
            }
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// What stands between single backticks outside of blocks.
fn inline(page: &str) -> Vec<String> {
    let mut prose = String::new();
    let mut is_block = false;
    for line in page.lines() {
        if line.trim().starts_with("```") {
            is_block = !is_block;
        } else if !is_block {
            prose.push_str(line);
            prose.push(' ');
        }
    }
    prose
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn files_that_pages_name_are_there() {
    let mut missing = Vec::new();
    for (page, text) in pages() {
        for span in inline(&text) {
            let is_path = [
                "server/", "tests/", "docs/", "benches/", "scripts/", "schema/",
            ]
            .iter()
            .any(|folder| span.starts_with(folder));
            let is_pattern = span.contains([' ', '*', '{', '<']) || span.contains("NAME");
            // The example of docs/new-procedure.md.
            let is_pattern = is_pattern || span.ends_with("greetings_router.rs");
            if is_path && !is_pattern && !root().join(&span).exists() {
                missing.push(format!("{}: `{span}`", page.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// A name of five words and more is a test's, unless it is a series of OpenTelemetry.
fn is_test_name(span: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    !span.starts_with("gen_ai_")
        && span.chars().all(is_of_name)
        && span.split('_').filter(|word| !word.is_empty()).count() > 4
}

/// All Rust files below a folder, as one text.
fn rust_below(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_below(&path, text);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn tests_that_pages_name_are_there() {
    let mut code = String::new();
    for folder in ["server", "tests/integration"] {
        rust_below(&root().join(folder), &mut code);
    }
    let mut missing = Vec::new();
    for (page, text) in pages() {
        for span in inline(&text).into_iter().filter(|span| is_test_name(span)) {
            let is_listed =
                code.contains(&format!("fn {span}(")) || code.contains(&format!("    {span},"));
            if !is_listed {
                missing.push(format!("{}: `{span}`", page.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// The words after `modelramp` of each call in a shell text: alone, after `cargo run --`, inside
/// `$(…)`, and with variables set in front.
fn commands(shell: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for line in shell.replace("\\\n", " ").lines() {
        let words = words(line);
        let mut rest = words.as_slice();
        while let Some(at) = rest.iter().position(|word| is_program(word)) {
            let before = words.len() - rest.len() + at;
            rest = &rest[at + 1..];
            if !begins_command(&words[..before]) {
                continue;
            }
            let cargo = words_of_cargo(&words, rest.len());
            if cargo == Cargo::Build {
                continue;
            }
            let end = rest
                .iter()
                .position(|word| ["|", "||", "&&", ";", ")", "&", ">"].contains(&word.as_str()));
            let arguments = &rest[..end.unwrap_or(rest.len())];
            let skipped = match cargo {
                // What cargo itself takes ends at `--`; without it the server is started.
                Cargo::Run => arguments
                    .iter()
                    .position(|word| word == "--")
                    .map_or(arguments.len(), |at| at + 1),
                _ => 0,
            };
            found.push(arguments[skipped..].to_vec());
        }
    }
    found
}

#[derive(PartialEq)]
enum Cargo {
    No,
    Run,
    Build,
}

/// Whether the program before the last `left` words is `cargo run` or another `cargo`.
fn words_of_cargo(words: &[String], left: usize) -> Cargo {
    let at = words.len() - left;
    match (words[at - 1].as_str(), words.get(at).map(String::as_str)) {
        ("cargo", Some("run")) => Cargo::Run,
        ("cargo", _) => Cargo::Build,
        _ => Cargo::No,
    }
}

/// Whether a command begins after these words: none, variables, or a sign of the shell.
fn begins_command(before: &[String]) -> bool {
    before.last().is_none_or(|word| {
        ["(", "|", "||", "&&", ";", "until", "while", "if", "!"].contains(&word.as_str())
            || word.contains('=')
    })
}

fn is_program(word: &str) -> bool {
    word == "cargo" || word == "modelramp" || word.ends_with("/modelramp")
}

/// Splits as a shell does: at blanks, but for quotes; comments end a line.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for letter in line.chars() {
        match (quote, letter) {
            (Some(mark), _) if letter == mark => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            // A substitution begins a command of its own, in double quotes as well.
            (None | Some('"'), '(' | ')') => {
                quote = None;
                words.push(std::mem::take(&mut word));
                words.push(letter.to_string());
            }
            (None, '#') if word.is_empty() => break,
            (None, _) if letter.is_whitespace() => words.push(std::mem::take(&mut word)),
            _ => word.push(letter),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_command_of_the_docs_is_one() {
    let mut checked = 0;
    let mut wrong = Vec::new();
    for (page, text) in pages() {
        let page = page.strip_prefix(root()).unwrap().display().to_string();
        let shell = blocks(&text, "sh").concat();
        let whole = commands(&shell).into_iter().map(|words| (words, true));
        // Prose may name a command without all that it needs.
        let named = inline(&text);
        let named = named
            .iter()
            .flat_map(|code| commands(code))
            .map(|words| (words, false));
        for (words, is_whole) in whole.chain(named) {
            // What the shell fills in is known when the page is run.
            if words.iter().any(|word| word.contains('$')) {
                continue;
            }
            checked += 1;
            let mut words: Vec<_> = words.iter().map(String::as_str).collect();
            // In prose `…` stands for the rest, but not where it is a flag's value.
            if let [.., before, "…"] = words[..]
                && !is_whole
                && !before.starts_with('-')
            {
                words.pop();
            }
            let Err(error) = cli::check(words.iter().copied()) else {
                continue;
            };
            let is_fine = match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => true,
                ErrorKind::MissingRequiredArgument
                | ErrorKind::MissingSubcommand
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => !is_whole,
                _ => false,
            };
            if !is_fine {
                wrong.push(format!("{page}: modelramp {}\n{error}", words.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 30, "only {checked} commands were found");
}

#[test]
fn commands_are_found_where_people_type_them() {
    let found = commands(
        "cargo run\ncargo run -q -- token --user 1 # a comment\nA=1 modelramp demo | cat\n\
         export T=$(modelramp token --user 1 --role admin)\ncargo install --path .\n\
         install -m 755 target/release/modelramp /usr/local/bin/\nsystemctl stop modelramp\n\
         curl -H \"Authorization: Bearer $(target/debug/modelramp token \\\n  --user 2)\" url",
    );
    let found: Vec<String> = found.iter().map(|words| words.join(" ")).collect();
    assert_eq!(
        found,
        [
            "",
            "token --user 1",
            "demo",
            "token --user 1 --role admin",
            "token --user 2"
        ]
    );
    assert!(cli::check(["rollout", "strat", "x"]).is_err());
    assert!(cli::check(["token", "--usr", "1"]).is_err());
}
