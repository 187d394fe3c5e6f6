//! schema/commands.md: every command with its options, as `--help` shows them.

use clap::{Command, CommandFactory};

use super::Arguments;

/// Columns of a page.
const WIDTH: usize = 100;

/// The name of the page in schema/, and its text.
pub(super) fn page() -> (&'static str, String) {
    let mut text = "# Every command\n\n\
         Generated from the program by `modelramp schema`; `modelramp COMMAND --help` prints the same.\n"
        .to_owned();
    let mut program = Arguments::command().term_width(WIDTH);
    program.build();
    describe(&mut text, &mut program, "modelramp");
    ("commands.md", text)
}

/// A command, and then those below it.
fn describe(text: &mut String, command: &mut Command, name: &str) {
    let help = command.render_long_help().to_string();
    // Lines that end in blanks would differ by the editor that saved them.
    let lines: Vec<_> = help.lines().map(str::trim_end).collect();
    let help = lines.join("\n");
    text.push_str(&format!(
        "\n## {name}\n\n```text\n{}\n```\n",
        help.trim_end()
    ));
    for below in command.get_subcommands_mut() {
        if below.get_name() != "help" && !below.is_hide_set() {
            let name = format!("{name} {}", below.get_name());
            describe(text, below, &name);
        }
    }
}
