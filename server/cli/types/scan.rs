//! Finds calls of procedures in the sources of a front end.
//!
//! A call is a chain that begins with a client and ends with a method of tRPC's: `trpc.chat.getMessages.useQuery(`. Clients
//! are the variables that are made by a function of tRPC's anywhere in the folder, or by `useUtils` of another
//! client. Comments, texts and regular expressions are passed over. What is computed (`trpc[name]`) is counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// Larger files are no sources.
const MAX_BYTES: u64 = 4 << 20;
/// Folders below which nobody wrote anything.
const SKIPPED: [&str; 5] = ["node_modules", "dist", "build", "coverage", ".git"];
const SOURCES: [&str; 8] = ["ts", "tsx", "mts", "cts", "js", "jsx", "mjs", "cjs"];
/// By which clients are made.
const MAKERS: [&str; 6] = [
    "createTRPCReact",
    "createTRPCNext",
    "createTRPCClient",
    "createTRPCProxyClient",
    "createTRPCOptionsProxy",
    "useTRPC",
];
/// By which a client makes another one.
const OFFSPRING: [&str; 4] = ["useUtils", "useContext", "createCaller", "useTRPCClient"];
/// By which a procedure is called.
const METHODS: [&str; 20] = [
    "ensureData",
    "fetch",
    "fetchInfinite",
    "infiniteQueryOptions",
    "mutate",
    "mutationOptions",
    "prefetch",
    "prefetchInfinite",
    "query",
    "queryOptions",
    "subscribe",
    "subscriptionOptions",
    "useInfiniteQuery",
    "useMutation",
    "usePrefetchInfiniteQuery",
    "usePrefetchQuery",
    "useQuery",
    "useSubscription",
    "useSuspenseInfiniteQuery",
    "useSuspenseQuery",
];

/// What a folder calls.
#[derive(Debug, Default)]
pub(super) struct ScannedCalls {
    /// By procedure, where it is called: `src/Chat.tsx:12`.
    pub(super) calls: BTreeMap<String, Vec<String>>,
    /// Where a name is computed.
    pub(super) computed: Vec<String>,
    /// The files that were read.
    pub(super) files: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Sign(char),
}

/// Reads all sources below a folder.
pub(super) fn folder(folder: &Path, clients: Vec<String>) -> anyhow::Result<ScannedCalls> {
    let mut paths = Vec::new();
    walk(folder, &mut paths)?;
    let mut sources = Vec::new();
    for path in paths {
        let text = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let shown = path.strip_prefix(folder).unwrap_or(&path);
        let tokens = tokens(&String::from_utf8_lossy(&text));
        sources.push((shown.display().to_string(), tokens));
    }
    let mut names: BTreeSet<String> = clients.into_iter().collect();
    // A client of a client may be made in a file that is read before.
    loop {
        let before = names.len();
        for (_, tokens) in &sources {
            add_clients(tokens, &mut names);
        }
        if names.len() == before {
            break;
        }
    }
    anyhow::ensure!(
        !names.is_empty(),
        "no client of tRPC's is made below `{}`; `--client NAME` names one",
        folder.display()
    );
    let mut found = ScannedCalls {
        files: sources.len(),
        ..ScannedCalls::default()
    };
    for (file, tokens) in &sources {
        add_calls(file, tokens, &names, &mut found);
    }
    Ok(found)
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let shown = folder.display();
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read `{shown}`"))?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        // Links are not followed, so that no circle is walked.
        let kind = entry.file_type()?;
        if kind.is_dir() && !SKIPPED.iter().any(|it| name == *it) {
            walk(&path, paths)?;
        }
        let ending = path.extension().and_then(|it| it.to_str());
        let is_source = ending.is_some_and(|it| SOURCES.contains(&it));
        if kind.is_file() && is_source && entry.metadata()?.len() <= MAX_BYTES {
            paths.push(path);
        }
    }
    Ok(())
}

/// Adds the variables that are set to a client: `const trpc = createTRPCReact`, `const utils = trpc.useUtils`.
fn add_clients(tokens: &[(Token, usize)], names: &mut BTreeSet<String>) {
    for window in tokens.windows(5) {
        let [(Token::Name(variable), _), (Token::Sign('='), _), rest @ ..] = window else {
            continue;
        };
        let is_client = match rest {
            [(Token::Name(maker), _), ..] if MAKERS.contains(&maker.as_str()) => true,
            [
                (Token::Name(of), _),
                (Token::Sign('.'), _),
                (Token::Name(method), _),
            ] => names.contains(of) && OFFSPRING.contains(&method.as_str()),
            _ => false,
        };
        if is_client {
            names.insert(variable.clone());
        }
    }
}

fn add_calls(
    file: &str,
    tokens: &[(Token, usize)],
    names: &BTreeSet<String>,
    found: &mut ScannedCalls,
) {
    let mut at = 0;
    while let Some((token, line)) = tokens.get(at) {
        at += 1;
        let Token::Name(client) = token else { continue };
        let is_part = at >= 2 && tokens[at - 2].0 == Token::Sign('.');
        if !names.contains(client) || is_part {
            continue;
        }
        let mut chain = Vec::new();
        while let [(Token::Sign('.'), _), (Token::Name(name), _), ..] = &tokens[at..] {
            chain.push(name.as_str());
            at += 2;
        }
        let place = format!("{file}:{line}");
        match (chain.split_last(), tokens.get(at).map(|(token, _)| token)) {
            (_, Some(Token::Sign('['))) => found.computed.push(place),
            (Some((method, path)), Some(Token::Sign('(' | '<')))
                if !path.is_empty() && METHODS.contains(method) =>
            {
                // Of `useUtils`: the plain client below it.
                let path = match path {
                    ["client", path @ ..] if path.len() > 1 => path,
                    path => path,
                };
                found.calls.entry(path.join(".")).or_default().push(place);
            }
            _ => {}
        }
    }
}

/// The names and signs of a source, each with its line; `?.` and `!.` are `.`.
fn tokens(text: &str) -> Vec<(Token, usize)> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens: Vec<(Token, usize)> = Vec::new();
    // Of template texts in whose `${…}` we are: how many braces are open there.
    let mut templates: Vec<usize> = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied();
        let from = at;
        at += 1;
        match c {
            '/' if next == Some('/') => at = skip_to(&chars, at, |rest| rest[0] == '\n'),
            '/' if next == Some('*') => {
                at = (skip_to(&chars, at + 1, |rest| rest.starts_with(&['*', '/'])) + 2)
                    .min(chars.len());
            }
            '/' if begins_regex(tokens.last().map(|(token, _)| token)) => {
                at = skip_text(&chars, at, '/');
            }
            // Of a word in JSX, such as `don't`.
            '\'' if from > 0 && chars[from - 1].is_alphanumeric() => {}
            '\'' | '"' => at = skip_text(&chars, at, c),
            '`' => at = skip_template(&chars, at, &mut templates),
            '}' if templates.last() == Some(&0) => {
                templates.pop();
                at = skip_template(&chars, at, &mut templates);
            }
            '?' | '!' if next == Some('.') => {}
            c if c.is_alphabetic() || c == '_' || c == '$' => {
                let is_name = |c: &char| c.is_alphanumeric() || *c == '_' || *c == '$';
                at = skip_to(&chars, at, |rest| !is_name(&rest[0]));
                tokens.push((Token::Name(chars[from..at].iter().collect()), line));
            }
            c if c.is_whitespace() => {}
            c => {
                if let Some(open) = templates.last_mut() {
                    *open = match c {
                        '{' => *open + 1,
                        '}' => *open - 1,
                        _ => *open,
                    };
                }
                tokens.push((Token::Sign(c), line));
            }
        }
        line += chars[from..at].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

fn skip_to(chars: &[char], from: usize, is_end: impl Fn(&[char]) -> bool) -> usize {
    let ends = (from..chars.len()).find(|at| is_end(&chars[*at..]));
    ends.unwrap_or(chars.len())
}

/// Past a text in quotes, or a regular expression; neither goes over a line's end.
fn skip_text(chars: &[char], mut at: usize, quote: char) -> usize {
    while let Some(&c) = chars.get(at) {
        at += match c {
            '\\' => 2,
            '\n' => return at,
            c if c == quote => return at + 1,
            _ => 1,
        };
    }
    chars.len()
}

/// To the end of a template text, or into its next `${`.
fn skip_template(chars: &[char], mut at: usize, templates: &mut Vec<usize>) -> usize {
    while let Some(&c) = chars.get(at) {
        at += match c {
            '\\' => 2,
            '`' => return at + 1,
            '$' if chars.get(at + 1) == Some(&'{') => {
                templates.push(0);
                return at + 2;
            }
            _ => 1,
        };
    }
    chars.len()
}

/// Whether a `/` after this begins a regular expression and divides nothing.
fn begins_regex(before: Option<&Token>) -> bool {
    match before {
        Some(Token::Sign(c)) => "(,=:[!&|?;{+".contains(*c),
        Some(Token::Name(name)) => name == "return",
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> ScannedCalls {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a.tsx"), text).expect("a file");
        fs::create_dir(folder.path().join("node_modules")).expect("a folder");
        fs::write(
            folder.path().join("node_modules/b.ts"),
            "trpc.never.seen.query()",
        )
        .expect("a file");
        super::folder(folder.path(), Vec::new()).expect("it is read")
    }

    #[test]
    fn calls_are_found_in_every_form_and_nothing_else() {
        let found = found(
            r#"
            import { createTRPCReact } from "@trpc/react-query";
            export const trpc = createTRPCReact<AppRouter>();
            // trpc.in.comment.useQuery()
            /* trpc.in.other.useQuery() */
            const text = "trpc.in.text.useQuery()" + 'it\'s trpc.in.text.query()';
            const utils = trpc.useUtils();
            function Chat() {
              const { data } = trpc.chat.getMessages.useQuery({ id: 1 });
              const send = trpc.chat
                .sendMessage
                .useMutation();
              utils.chat.getMessages.invalidate();
              await utils.client.a.b.c.query();
              trpc?.deep!.down.below.useSuspenseQuery<number>();
              const label = `a ${x.map((y) => { return { y }; })} ${trpc.in.template.useQuery()} trpc.in.text.query()`;
              const regex = /trpc.in."regex.query()/; trpc.after.regex.useQuery();
              const half = 4 / 2; trpc.after.division.useQuery(); const more = 4 / 2;
              other.trpc.not.client.query();
              trpc[name].useQuery();
              return <p>don't <b>{trpc.in.jsx.useQuery().data}</b></p>;
            }
            "#,
        );
        let names: Vec<&str> = found.calls.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "a.b.c",
                "after.division",
                "after.regex",
                "chat.getMessages",
                "chat.sendMessage",
                "deep.down.below",
                "in.jsx",
                "in.template",
            ]
        );
        assert_eq!(found.calls["chat.getMessages"], ["a.tsx:9"]);
        assert_eq!(found.computed, ["a.tsx:20"]);
        assert_eq!(found.files, 1);
    }

    #[test]
    fn a_folder_without_a_client_is_told_so() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a.ts"), "api.a.b.query()").expect("a file");
        let error = super::folder(folder.path(), Vec::new()).expect_err("no client");
        assert!(error.to_string().contains("--client"), "{error}");
        let found = super::folder(folder.path(), vec!["api".into()]).expect("one");
        assert_eq!(found.calls["a.b"], ["a.ts:1"]);
    }
}
