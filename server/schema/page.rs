//! The documentation page: every procedure with its words, types and errors, and a form to call it.

use std::{collections::BTreeMap, fmt::Write as _};

use maud::{Markup, PreEscaped, html};

use super::{
    contract::{Contract, ContractEntry},
    example::example,
    typescript::Types,
};
use crate::{
    _core::{
        caller::Role,
        procedure::{Accepts, Access, ProcedureKind},
    },
    config::Transformer,
};

/// The style sheet of the page.
pub const STYLE: &str = include_str!("page/style.css");
/// The script of the page: filter, forms, curl.
pub const SCRIPT: &str = include_str!("page/script.js");

/// What stands in the body of the page.
pub fn body(contract: &Contract<'_>, transformer: Transformer) -> String {
    let types = Types::new(&contract.definitions, &contract.sent);
    let mut namespaces: BTreeMap<&str, Vec<&ContractEntry<'_>>> = BTreeMap::new();
    for entry in &contract.procedures {
        namespaces.entry(entry.namespace()).or_default().push(entry);
    }
    let superjson = transformer == Transformer::Superjson;
    let page = html! {
        a.skip href="#procedures" { "Skip to the procedures" }
        div #app data-superjson=(superjson) {
            header.top {
                h1 { "modelramp" small { (env!("CARGO_PKG_VERSION")) } }
                input #filter type="search" placeholder="Filter procedures" autocomplete="off"
                    aria-label="Filter procedures" aria-keyshortcuts="/";
                a href="/api/openapi.json" { "OpenAPI" }
            }
            nav aria-label="Procedures" {
                @for (namespace, entries) in &namespaces {
                    section {
                        h2 { (namespace) }
                        ul {
                            @for entry in entries {
                                li data-of=(entry.procedure.path) {
                                    a href={ "#" (entry.procedure.path) } {
                                        span.dot.(entry.procedure.kind.name()) {}
                                        (entry.name())
                                    }
                                }
                            }
                        }
                    }
                }
                section {
                    h2 { "Reference" }
                    ul { li { a href="#types" { "Types" } } }
                }
            }
            main #procedures tabindex="-1" {
                p.lead {
                    "Every call here is a real one, made as you. Queries only read. "
                    "Mutations change something and ask first."
                }
                p #nothing hidden { "No procedure matches." }
                @for entry in &contract.procedures { (procedure(entry, contract, &types)) }
                section #types {
                    h2 { "Types" }
                    @for (name, text) in types.declarations() {
                        pre.type id={ "type-" (name) } tabindex="0" { (linked(&text, &types, Some(name))) }
                    }
                }
            }
        }
        dialog #sure aria-labelledby="sure-title" {
            form method="dialog" {
                h2 #sure-title { "Call " code #sure-path {} "?" }
                p { "It is a mutation: it changes something on this server." }
                menu {
                    button value="no" { "Cancel" }
                    button.primary value="yes" { "Call it" }
                }
            }
        }
    };
    page.into_string()
}

fn procedure(entry: &ContractEntry<'_>, contract: &Contract<'_>, types: &Types<'_>) -> Markup {
    let procedure = entry.procedure;
    let kind = procedure.kind.name();
    let access = match procedure.access {
        Access::Public => "public",
        Access::SignedIn => "signed in",
        Access::Viewer => "viewer",
        Access::Admin => "admin",
    };
    let input = match &entry.input {
        None => "void".to_owned(),
        Some(schema) if entry.input_optional => {
            format!("{} | undefined", types.sent().show(schema, ""))
        }
        Some(schema) => types.sent().show(schema, ""),
    };
    let output = types.got().show(&entry.output, "");
    html! {
        article id=(procedure.path) data-path=(procedure.path) data-kind=(kind) {
            h3 {
                a href={ "#" (procedure.path) } {
                    span.namespace { (entry.namespace()) "." } wbr; (entry.name())
                }
                span.badge.(kind) { (kind) }
                span.badge.access[procedure.access.role() == Some(Role::User)]
                    .admin[procedure.access.role() > Some(Role::User)] { (access) }
            }
            @for paragraph in entry.docs.join("\n").split("\n\n") { p { (paragraph) } }
            dl {
                dt { "Input" }
                dd { code { (linked(&input, types, None)) } }
                dt { @if procedure.kind == ProcedureKind::Subscription { "Events" } @else { "Output" } }
                dd {
                    code { (linked(&output, types, None)) }
                    @if procedure.tracked { " with ids to resume from" }
                }
            }
            details {
                summary { "Errors" }
                table {
                    thead { tr { th { "Status" } th { "Code" } th { "When" } } }
                    tbody {
                        @for error in &entry.errors {
                            tr {
                                td { (error.error.code.http_status()) }
                                td { code { (error.error.data_code) } }
                                td {
                                    (error.error.when)
                                    @if let Some(details) = &error.details {
                                        " Details: "
                                        code { (linked(&types.got().show(details, ""), types, None)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
            (form(entry, contract))
        }
    }
}

/// The form, and beside it the same call with curl.
fn form(entry: &ContractEntry<'_>, contract: &Contract<'_>) -> Markup {
    let procedure = entry.procedure;
    let id = |part: &str| format!("{part}-{}", procedure.path);
    let text = entry.input.as_ref().map(|schema| {
        let example = example(schema, &contract.definitions);
        format!("{example:#}")
    });
    let submit = match procedure.kind {
        ProcedureKind::Query => "Ask",
        ProcedureKind::Mutation => "Call…",
        ProcedureKind::Subscription => "Listen",
    };
    html! {
        @if matches!(procedure.accepts, Accepts::Json | Accepts::Nothing) {
            form.call {
                div.try {
                    @if let Some(text) = &text {
                        label for=(id("input")) {
                            "Input, as JSON"
                            @if entry.input_optional { " (may be empty)" }
                        }
                        textarea id=(id("input")) name="input" spellcheck="false" autocapitalize="off"
                            rows=(text.lines().count().clamp(2, 16)) { (text) }
                    }
                    p.buttons {
                        button.primary type="submit" { (submit) }
                        button.stop type="button" hidden { "Stop" }
                        output.state aria-live="polite" {}
                    }
                }
                div.curl {
                    p { span { "curl" } button.copy type="button" { "Copy" } }
                    pre tabindex="0" { code {} }
                }
                pre.answer hidden tabindex="0" aria-label="Answer" {}
            }
        } @else {
            p { "It takes a file, which this page cannot send." }
        }
    }
}

/// TypeScript with its names as links to their declarations; comments are left alone.
fn linked(text: &str, types: &Types<'_>, own: Option<&str>) -> Markup {
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let start = line.trim_start();
        if start.starts_with('*') || start.starts_with("/*") {
            let _ = write!(out, "{}", html! { span.comment { (line) } }.into_string());
            continue;
        }
        let mut rest = line;
        while !rest.is_empty() {
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let in_word = rest.starts_with(is_part);
            let end = rest.find(|c| is_part(c) != in_word).unwrap_or(rest.len());
            let (piece, after) = rest.split_at(end);
            let piece = if in_word && own != Some(piece) && types.declares(piece) {
                html! { a href={ "#type-" (piece) } { (piece) } }
            } else {
                html! { (piece) }
            };
            out.push_str(&piece.into_string());
            rest = after;
        }
    }
    PreEscaped(out)
}
