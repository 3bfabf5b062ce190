//! The JSON Schema and the reference page, both made from the shapes of the types.

use std::fmt::Write;

use serde_json::Value;

use crate::decode::Decode;
use crate::env::VARIABLES;
use crate::load::Config;
use crate::paths::LAYOUT;
use crate::shape::{Field, ObjectShape, Shape, one_line};

/// The JSON Schema (draft 2020-12) of the config. Keys that it does not know are allowed: they are
/// warned about, not refused.
pub fn json_schema() -> Value {
    let mut schema = Config::shape().schema();
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "chela.json5".into();
    schema
}

/// The reference page of the config, in Markdown.
pub fn reference_markdown() -> String {
    let mut page = include_str!("reference.md").to_owned();
    let mut sections = Vec::new();
    collect("", &Config::shape(), &mut sections);
    page.push_str("\n## Keys\n");
    for (path, object) in &sections {
        section(&mut page, path, object);
    }
    page.push_str("\n## Environment variables\n\n| variable | meaning |\n| --- | --- |\n");
    for (name, doc) in VARIABLES {
        row(&mut page, &[&format!("`{name}`"), &one_line(doc)]);
    }
    page.push_str(
        "\n## Chela's folder\n\n`$CHELA_HOME`, else `~/.chela`.\n\n| name | what it is |\n| --- | --- |\n",
    );
    for (name, doc) in LAYOUT {
        row(&mut page, &[&format!("`{name}`"), &one_line(doc)]);
    }
    page
}

/// Every object of the config with the path at which it stands.
fn collect(path: &str, shape: &Shape, sections: &mut Vec<(String, ObjectShape)>) {
    match shape {
        Shape::Object(object) => {
            sections.push((path.to_owned(), object.clone()));
            for field in &object.fields {
                let dot = if path.is_empty() { "" } else { "." };
                collect(&format!("{path}{dot}{}", field.key), &field.shape, sections);
            }
        }
        Shape::List(item) => collect(&format!("{path}[]"), item, sections),
        Shape::Map { value, .. } => collect(&format!("{path}.*"), value, sections),
        Shape::OneOf(shapes) => shapes.iter().for_each(|shape| collect(path, shape, sections)),
        _ => {}
    }
}

fn section(page: &mut String, path: &str, object: &ObjectShape) {
    let title = if path.is_empty() { "The file".to_owned() } else { format!("`{path}`") };
    // Writing to a string does not fail.
    let _ = write!(page, "\n### {title}\n\n{}\n\n", one_line(object.doc));
    page.push_str("| key | takes | meaning |\n| --- | --- | --- |\n");
    for field in &object.fields {
        let required = if field.required { " (required)" } else { "" };
        row(page, &[&format!("`{}`{required}", field.key), &field.shape.words(), &meaning(field)]);
    }
    if !object.elsewhere.is_empty() {
        let keys: Vec<String> = object.elsewhere.iter().map(|key| format!("`{key}`")).collect();
        let _ = write!(page, "\nKnown from OpenClaw, without effect here: {}.\n", keys.join(", "));
    }
}

fn meaning(field: &Field) -> String {
    let mut meaning = one_line(field.doc);
    let mut shape = &field.shape;
    while let Shape::List(item) = shape {
        shape = item;
    }
    if let Shape::Choice(choices) = shape {
        for (name, doc) in choices {
            let _ = write!(meaning, " `\"{name}\"`: {}", one_line(doc));
        }
    }
    meaning
}

fn row(page: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    let _ = writeln!(page, "| {} |", cells.join(" | "));
}
