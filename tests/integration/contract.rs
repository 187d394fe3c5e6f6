//! The generated contract: what is in it, and that the sample in `tests/types` is what the code makes.

mod sample;

use std::path::Path;

use modelramp::schema::{self, Contract, StaleFile};
use serde_json::Value;

pub(crate) use sample::{registry, sample_exotic};

/// The folder that the type tests read.
fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/types/sample")
}

#[test]
fn the_sample_of_the_type_tests_is_what_the_code_makes() {
    let mut files = schema::files(&registry());
    files.retain(|(name, _)| name.ends_with(".ts") || *name == "package.json");
    if std::env::var_os("WRITE_SAMPLE").is_some() {
        schema::write(&folder(), &files).unwrap();
    }
    assert_eq!(
        schema::check(&folder(), &files),
        [],
        "run with WRITE_SAMPLE=1"
    );
}

#[test]
fn two_runs_write_the_same() {
    assert_eq!(schema::files(&registry()), schema::files(&registry()));
}

#[test]
fn a_change_is_found_in_the_file_and_line_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let files = schema::files(&registry());
    schema::write(folder.path(), &files).unwrap();
    assert_eq!(schema::check(folder.path(), &files), []);

    let path = folder.path().join("app-router.ts");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\n", "\n// by hand\n", 1)).unwrap();
    std::fs::remove_file(folder.path().join("procedures.json")).unwrap();
    assert_eq!(
        schema::check(folder.path(), &files),
        [
            StaleFile {
                file: "app-router.ts",
                line: Some(2)
            },
            StaleFile {
                file: "procedures.json",
                line: None
            }
        ]
    );
}

#[test]
fn every_document_names_the_licence_that_lies_at_the_top() {
    let licence = "MIT OR Apache-2.0";
    for (name, text) in schema::files(&registry()) {
        let stated = match name {
            "openrpc.json" => "/info/license/name",
            "package.json" => "/license",
            _ => continue,
        };
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document.pointer(stated).unwrap(), licence, "{name}");
    }
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name));
        assert!(text.unwrap().len() > 500, "{name}");
    }
}

#[test]
fn every_reference_leads_to_a_definition() {
    let registry = registry();
    let contract = Contract::new(&registry);
    let mut references = Vec::new();
    for entry in &contract.procedures {
        collect(&entry.output, &mut references);
        entry
            .input
            .iter()
            .for_each(|input| collect(input, &mut references));
    }
    for schema in contract.definitions.values() {
        collect(schema, &mut references);
    }
    assert!(!references.is_empty());
    for reference in references {
        let name = reference.strip_prefix("#/$defs/").unwrap();
        assert!(contract.definitions.contains_key(name), "{reference}");
    }
}

fn collect(schema: &Value, references: &mut Vec<String>) {
    match schema {
        Value::Object(schema) => {
            if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
                references.push(reference.to_owned());
            }
            schema
                .values()
                .for_each(|schema| collect(schema, references));
        }
        Value::Array(schemas) => schemas
            .iter()
            .for_each(|schema| collect(schema, references)),
        _ => {}
    }
}
