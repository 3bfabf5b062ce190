//! What stands before the conversation.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use chela_agent::prompt::{SYSTEM, context, system_text, workspace_files};
use jiff::tz::TimeZone;
use tempfile::TempDir;

/// The system text's share of 4,000 bytes for text and default tools together.
#[test]
fn the_system_text_is_short() {
    assert!(SYSTEM.len() <= 1_300, "{}", SYSTEM.len());
    assert!(SYSTEM.is_ascii());
}

#[test]
fn workspace_files_are_loaded_in_order_and_within_the_budget() {
    let folder = TempDir::new().unwrap();
    assert_eq!(workspace_files(folder.path(), 100).sections, []);
    fs::write(folder.path().join("SOUL.md"), "be kind\n").unwrap();
    fs::write(folder.path().join("AGENTS.md"), "run the tests\nnever push\n").unwrap();
    fs::write(folder.path().join("USER.md"), " \n").unwrap();
    let files = workspace_files(folder.path(), 100);
    let names: Vec<&str> = files.sections.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["AGENTS.md", "SOUL.md"]);
    assert!(files.notices.is_empty());
    let text = system_text(&files.sections);
    assert!(text.starts_with(SYSTEM));
    assert!(text.ends_with("# SOUL.md, instructions of this workspace\nbe kind"));
    let cut = workspace_files(folder.path(), 20);
    assert_eq!(cut.sections[0].text, "run the tests");
    assert_eq!(cut.notices[0], "AGENTS.md: 13 of 24 bytes loaded; instruction files have 20 bytes together");
}

#[test]
fn the_date_is_told_when_it_is_news() {
    const HOUR: u64 = 3_600_000;
    let now = 1_764_000_000_000; // 2025-11-24 16:00 UTC
    let folder = Path::new("/w");
    let zone = TimeZone::fixed(jiff::tz::offset(2));
    let first = context(now, None, &zone, folder, &[]);
    assert_eq!(first, "date: Mon 2025-11-24 18:00 +02:00\nworkspace: /w");
    assert_eq!(context(now, Some(now - 60_000), &zone, folder, &[]), "");
    assert_eq!(context(now, Some(now - HOUR), &zone, folder, &[]), "date: Mon 2025-11-24 18:00 +02:00");
    assert_eq!(context(now, Some(now), &zone, folder, &["hint".into()]), "hint");
}
