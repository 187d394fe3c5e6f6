//! Holds the files of the server, and its folders, to an order: what a file needs does not need that file in turn.
//!
//! What a module and its own submodules need of each other does not count. What is seen are `use` lines and paths: a method
//! whose type another file defines is called without one, and names of `use super::*` are not looked up.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// From the crate's root; empty for the root itself.
type ModulePath = Vec<String>;

/// Files and folders below one parent that need each other, to be parted: what an attempt at a model needs, and what it costs.
const KNOWN_FOLDERS: &[&[&str]] = &[&[
    "model_router/breakers",
    "model_router/call",
    "model_router/catalog",
    "model_router/catalog_in_use",
    "model_router/clients",
    "model_router/keys",
    "model_router/privacy",
    "model_router/quota",
    "model_router/repeats",
    "model_router/route",
    "model_router/trail",
]];

#[test]
fn no_two_files_need_each_other() {
    let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("server");
    let mut files = BTreeMap::new();
    read(&server, &[], &mut files);
    // Of some hundreds, or the test has not looked at the server.
    let needs = Modules::of(&files).needs();
    assert!(needs.len() > 300, "{} files", needs.len());
    let app = &needs["app"];
    assert!(app.iter().any(|it| it.starts_with("config")), "{app:?}");
    let circles = circles(&needs);
    assert!(circles.is_empty(), "they need each other: {circles:?}");
}

#[test]
fn no_two_folders_need_each_other() {
    let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("server");
    let mut files = BTreeMap::new();
    read(&server, &[], &mut files);
    assert_eq!(
        circles(&of_folders(&Modules::of(&files).needs())),
        KNOWN_FOLDERS
    );
}

#[test]
fn a_circle_is_seen_through_the_parents_names() {
    let files = [
        (
            "a",
            "mod b;\nmod c;\npub use self::b::{Thing, other as more};",
        ),
        ("a/b", "use super::c;"),
        ("a/c", "fn f() { super::more() }"),
        ("a/b/c", ""),
        ("a/b/d", "fn f() { super::super::c::g() }"),
        ("d", "// use crate::a;\nuse crate::a::Thing;"),
    ];
    let path = |name: &str| name.split('/').map(String::from).collect::<ModulePath>();
    let files = files.map(|(name, text)| (path(name), text.to_owned()));
    let needs = Modules::of(&files.into()).needs();
    assert_eq!(needs["d"], BTreeSet::from(["a/b".to_owned()]));
    assert_eq!(needs["a/b/d"], BTreeSet::from(["a/c".to_owned()]));
    assert_eq!(circles(&needs), [["a/b", "a/c"]]);
}

/// The text of each file but tests, without comments.
fn read(folder: &Path, above: &[String], files: &mut BTreeMap<ModulePath, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let mut module = above.to_vec();
        if !(above.is_empty() && name == "lib") {
            module.push(name.clone());
        }
        if name == "tests" || (above.is_empty() && name == "main") {
            continue;
        } else if path.is_dir() {
            read(&path, &module, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.insert(module, fs::read_to_string(path).unwrap());
        }
    }
}

/// Every module with the names that its `use` lines give, and all paths in its code.
struct Modules {
    names: BTreeMap<ModulePath, BTreeMap<String, Vec<String>>>,
    paths: BTreeMap<ModulePath, Vec<Vec<String>>>,
}

impl Modules {
    fn of(files: &BTreeMap<ModulePath, String>) -> Self {
        let (mut names, mut paths) = (BTreeMap::new(), BTreeMap::new());
        for (module, text) in files {
            let code = code(text);
            let mut used = Vec::new();
            for statement in code.split(';') {
                let (before, tree) = statement.rsplit_once("use ").unwrap_or((statement, ""));
                if !before.ends_with(|it: char| it.is_alphanumeric() || it == '_') {
                    expand(tree, &[], &mut used);
                }
            }
            let inline = ["crate::", "super::", "self::"].into_iter();
            let inline = inline.flat_map(|first| code.match_indices(first));
            // `super::super::a` is one path.
            let inline = inline.filter(|(at, _)| !code[..*at].ends_with("::"));
            let inline = inline.map(|(at, _)| {
                let is_of_path = |it: char| it.is_alphanumeric() || "_:".contains(it);
                let end = code[at..].find(|it| !is_of_path(it));
                parts(&code[at..end.map_or(code.len(), |end| at + end)]).collect()
            });
            let all = used.iter().map(|(path, _)| path.clone()).chain(inline);
            paths.insert(module.clone(), all.collect());
            let given = used.into_iter().map(|(path, name)| (name, path));
            names.insert(module.clone(), given.collect());
        }
        Self { names, paths }
    }

    /// For each file those that it needs, its own submodules and the modules around it left out.
    fn needs(&self) -> BTreeMap<String, BTreeSet<String>> {
        let needed = |module: &ModulePath, paths: &Vec<Vec<String>>| {
            let all = paths.iter().filter_map(|path| self.absolute(module, path));
            let all = all.map(|path| self.defining(&path, 0));
            all.filter(|it| !it.starts_with(module) && !module.starts_with(it))
                .map(|it| it.join("/"))
                .collect()
        };
        let each = self.paths.iter();
        each.map(|(module, paths)| (module.join("/"), needed(module, paths)))
            .collect()
    }

    /// A path from the root; `None` where it leads out of the crate.
    fn absolute(&self, module: &ModulePath, path: &[String]) -> Option<Vec<String>> {
        let mut base = module.clone();
        let mut rest = path;
        while let Some((first, after)) = rest.split_first() {
            match first.as_str() {
                "crate" => base.clear(),
                "self" => {}
                "super" => _ = base.pop(),
                _ => break,
            }
            rest = after;
        }
        let is_relative = rest.len() == path.len();
        base.extend(rest.iter().cloned());
        let leads_to_a_module = base
            .get(..=module.len())
            .is_some_and(|it| self.is_module(it));
        (!is_relative || leads_to_a_module).then_some(base)
    }

    fn is_module(&self, path: &[String]) -> bool {
        self.names.contains_key(path)
    }

    /// The module in which what a path names is defined, where others hand the name on.
    fn defining(&self, path: &[String], handed_on: u8) -> ModulePath {
        let longest = (0..=path.len())
            .rev()
            .find(|it| self.is_module(&path[..*it]));
        let (module, rest) = path.split_at(longest.unwrap_or(0));
        let given = rest
            .first()
            .and_then(|name| self.names.get(module)?.get(name));
        let target = given.and_then(|it| self.absolute(&module.to_vec(), it));
        match target {
            Some(target) if handed_on < 8 => {
                self.defining(&[&target[..], &rest[1..]].concat(), handed_on + 1)
            }
            _ => module.to_vec(),
        }
    }
}

/// Without comments, and without the tests at the end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The paths of a `use` tree, each with the name that it gives.
fn expand(tree: &str, before: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let mut path = before.to_vec();
    if let Some((head, list)) = tree.split_once('{') {
        path.extend(parts(head));
        for item in items(list) {
            expand(item, &path, found);
        }
        return;
    }
    let (tree, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
    path.extend(parts(tree));
    path.pop_if(|last| last == "self");
    if let Some(last) = path.last().cloned() {
        let name = if alias.is_empty() {
            last
        } else {
            alias.trim().to_owned()
        };
        found.push((path, name));
    }
}

fn parts(path: &str) -> impl Iterator<Item = String> {
    let parts = path.split("::").map(str::trim);
    parts.filter(|it| !it.is_empty()).map(String::from)
}

/// The items of a list in braces, whose opening one is already read.
fn items(list: &str) -> Vec<&str> {
    let (mut depth, mut from, mut items) = (0_u32, 0, Vec::new());
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                items.push(&list[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    items
}

/// The same for neighbours: files and folders below one parent, of which each stands for all below it.
fn of_folders(needs: &BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, BTreeSet<String>> {
    let mut folders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, all) in needs {
        for needed in all {
            let both = file.split('/').zip(needed.split('/'));
            let above = both.take_while(|(one, other)| one == other).count();
            let neighbour = |of: &str| of.split('/').take(above + 1).collect::<Vec<_>>().join("/");
            folders
                .entry(neighbour(file))
                .or_default()
                .insert(neighbour(needed));
        }
    }
    folders
}

/// Files that reach each other, each circle once.
fn circles(needs: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let all: BTreeMap<_, _> = needs
        .keys()
        .map(|file| (file, reached(file, needs)))
        .collect();
    let circle = |file: &String| -> Vec<String> {
        let leads_back = |it: &&&String| all.get(**it).is_some_and(|back| back.contains(file));
        let members = all[file].iter().filter(leads_back);
        members.map(|it| (*it).clone()).collect()
    };
    let circles: BTreeSet<_> = needs.keys().map(circle).collect();
    circles.into_iter().filter(|it| !it.is_empty()).collect()
}

/// All that a file needs, and what these need in turn.
fn reached<'a>(
    file: &'a str,
    needs: &'a BTreeMap<String, BTreeSet<String>>,
) -> BTreeSet<&'a String> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![file]);
    while let Some(file) = next.pop() {
        for needed in needs.get(file).into_iter().flatten() {
            if reached.insert(needed) {
                next.push(needed);
            }
        }
    }
    reached
}
