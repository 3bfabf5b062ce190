//! What is generated from the types.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use chela_config::{json_schema, reference_markdown};

#[test]
fn the_reference_page_is_up_to_date() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.md");
    let committed = std::fs::read_to_string(page).unwrap();
    assert!(
        committed == reference_markdown(),
        "docs/config.md is stale: cargo run -p chela-config --example reference > docs/config.md"
    );
}

#[test]
fn the_schema_describes_every_level() {
    let schema = json_schema();
    let provider = &schema["properties"]["models"]["properties"]["providers"]["additionalProperties"];
    assert_eq!(provider["properties"]["timeoutSeconds"]["exclusiveMinimum"], 0);
    assert_eq!(provider["properties"]["models"]["items"]["required"], serde_json::json!(["id"]));
    assert!(provider["properties"]["authHeader"]["description"].as_str().unwrap().contains("no effect"));
    let model = &schema["properties"]["agents"]["properties"]["defaults"]["properties"]["model"];
    assert_eq!(model["anyOf"][0]["type"], "string");
    assert!(model["anyOf"][1]["properties"]["fallbacks"].is_object());
    let mode = &schema["properties"]["models"]["properties"]["mode"]["enum"];
    assert_eq!(*mode, serde_json::json!(["merge", "replace"]));
}
