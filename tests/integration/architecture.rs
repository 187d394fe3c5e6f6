//! Holds the `crate::` paths of the server to the table of who may import whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Module → the modules it may import. ARCHITECTURE.md explains the table.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("_core", &[]),
    ("config", &["_core"]),
    ("accounts", &["_core"]),
    ("alerting", &["_core", "config"]),
    ("keys", &["_core"]),
    ("live_flags", &["_core", "alerting"]),
    ("migration", &["_core", "alerting", "trial"]),
    ("providers", &["_core"]),
    ("recording", &["_core", "providers"]),
    ("ai_metrics", &["_core", "providers", "recording"]),
    (
        "rollout",
        &["_core", "ai_metrics", "alerting", "providers", "recording"],
    ),
    ("fleet", &["_core", "recording", "rollout"]),
    ("telemetry", &["_core", "config", "recording"]),
    (
        "model_router",
        &[
            "_core",
            "ai_metrics",
            "config",
            "providers",
            "recording",
            "telemetry",
        ],
    ),
    (
        "chat",
        &["_core", "config", "model_router", "providers", "recording"],
    ),
    (
        "email_intelligence",
        &["_core", "model_router", "providers"],
    ),
    (
        "storage",
        &[
            "_core",
            "accounts",
            "ai_metrics",
            "alerting",
            "chat",
            "dashboard",
            "email_intelligence",
            "fleet",
            "keys",
            "live_flags",
            "migration",
            "model_router",
            "providers",
            "recording",
            "rollout",
        ],
    ),
    (
        "routers",
        &[
            "_core",
            "accounts",
            "ai_metrics",
            "alerting",
            "chat",
            "config",
            "dashboard",
            "email_intelligence",
            "fleet",
            "keys",
            "live_flags",
            "migration",
            "model_router",
            "providers",
            "recording",
            "rollout",
            "trial",
        ],
    ),
    ("trial", &["_core", "providers", "rollout"]),
    (
        "dashboard",
        &[
            "_core",
            "ai_metrics",
            "keys",
            "live_flags",
            "migration",
            "providers",
            "recording",
            "rollout",
            "transport",
        ],
    ),
    ("schema", &["_core", "config"]),
    ("legacy", &["_core", "config"]),
    (
        "transport",
        &["_core", "config", "legacy", "migration", "schema"],
    ),
    (
        "gateway",
        &["_core", "keys", "model_router", "providers", "transport"],
    ),
];

/// These put everything together.
const ROOTS: &[&str] = &["app", "cli", "lib", "main"];

#[test]
fn modules_import_only_what_the_architecture_allows() {
    let allowed: BTreeMap<_, BTreeSet<_>> = MAY_IMPORT
        .iter()
        .map(|(module, imports)| (*module, imports.iter().copied().collect()))
        .collect();
    let mut faults = Vec::new();
    for (file, module, imports) in sources() {
        let Some(allowed) = allowed.get(module.as_str()) else {
            faults.push(format!("{file}: `{module}` is not in the table"));
            continue;
        };
        for import in imports {
            if import != module && !allowed.contains(import.as_str()) {
                faults.push(format!("{file}: `{module}` imports `{import}`"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_table_allows_nothing_that_no_file_needs() {
    let mut needed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (_, module, imports) in sources() {
        needed.entry(module).or_default().extend(imports);
    }
    for (module, allowed) in MAY_IMPORT {
        let needed = needed.remove(*module).unwrap_or_default();
        let unused: Vec<_> = allowed.iter().filter(|it| !needed.contains(**it)).collect();
        assert!(unused.is_empty(), "`{module}` may import {unused:?}");
    }
}

#[test]
fn an_import_in_braces_is_seen() {
    let text = "use crate::{\n    _core::{auth::User, errors},\n    chat::send,\n};\nfn f() { crate::storage::x() }";
    assert_eq!(
        imports(text),
        ["_core", "chat", "storage"].map(String::from).into()
    );
}

/// A newer release may add a column while this one runs beside it. PostgreSQL then refuses each statement of
/// before that gives all columns, on each connection that knows it.
#[test]
fn statements_name_their_columns() {
    let storage = Path::new(env!("CARGO_MANIFEST_DIR")).join("server/storage");
    for file in rust_files(&storage) {
        // It reads what another program made.
        if file.components().any(|it| it.as_os_str() == "import") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for line in text.lines() {
            let is_all = line.contains("RETURNING *")
                || line.contains(".*, ")
                // Of a statement that names them itself.
                || line.contains("SELECT * ") && !line.contains("SELECT * FROM (");
            assert!(!is_all, "{}: {line}", file.display());
        }
    }
}

/// Every file of a room: its path, its room, and the rooms that it imports.
fn sources() -> Vec<(String, String, BTreeSet<String>)> {
    let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("server");
    let source = |file: PathBuf| {
        let relative = file.strip_prefix(&server).unwrap();
        let imports = imports(&fs::read_to_string(&file).unwrap());
        (relative.display().to_string(), module_of(relative), imports)
    };
    let all = rust_files(&server).into_iter().map(source);
    all.filter(|(_, module, _)| !ROOTS.contains(&module.as_str()))
        .collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn module_of(relative: &Path) -> String {
    let first = relative
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.strip_suffix(".rs").map(String::from).unwrap_or(first)
}

/// The top-level modules that a source file names by `crate::`, doc comments left out.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut found = BTreeSet::new();
    for (position, _) in code.match_indices("crate::") {
        let rest = &code[position + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => found.extend(top_level_names(list)),
            None => found.extend(identifier(rest)),
        }
    }
    // Macros are exported at the root of the crate, whichever module they stand in.
    found.remove("procedures");
    found
}

/// The first name of each item of a `{…}` list, whose opening brace is already read.
fn top_level_names(list: &str) -> Vec<String> {
    let (mut depth, mut at_start, mut names) = (0, true, Vec::new());
    for (position, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            c if at_start && !c.is_whitespace() => {
                names.extend(identifier(&list[position..]));
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

fn identifier(text: &str) -> Option<String> {
    let name: String = text
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    (!name.is_empty()).then_some(name)
}
