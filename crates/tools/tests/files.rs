//! The file tools, on real folders.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use chela_agent::Undo;
use chela_agent::tool::{Args, Output, Registry, ToolCtx, ToolResult};
use chela_protocol::{ResultStatus, SessionId, TurnId};
use chela_tools::files::{Files, tools};
use chela_tools::undo::UndoLog;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

struct Room {
    _folder: TempDir,
    tools: Registry,
    undo: Arc<UndoLog>,
    ctx: ToolCtx,
}

impl Room {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("w")).unwrap();
        let undo = Arc::new(UndoLog::new(root.join("undo")));
        let files = Files::new(Arc::clone(&undo), Some(root.join("home")));
        let ctx = ToolCtx {
            workspace: root.join("w"),
            session: SessionId::new(),
            turn: TurnId::new(),
            call: "c".into(),
            limit: 8_000,
            rights: Arc::from(vec![]),
            protected: Arc::from(vec![root.join("w/.chela")]),
            cancel: CancellationToken::new(),
            output: Output::new("c", mpsc::channel(1).0),
        };
        Self { _folder: folder, tools: Registry::new(tools(&files)), undo, ctx }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.ctx.workspace.join(name)
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
    }

    fn get(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    async fn call(&self, tool: &str, args: Value) -> ToolResult {
        let args: Args = args.as_object().unwrap().clone();
        let tool = self.tools.get(tool).unwrap();
        let mut ctx = self.ctx.clone();
        match tool.rights(&ctx, &args) {
            Ok(rights) => ctx.rights = rights.into(),
            Err(text) => return ToolResult::error(text),
        }
        tool.call(&ctx, args).await
    }

    async fn ok(&self, tool: &str, args: Value) -> String {
        let result = self.call(tool, args).await;
        assert_eq!(result.status, ResultStatus::Ok, "{}", result.content);
        result.content
    }

    async fn error(&self, tool: &str, args: Value) -> String {
        let result = self.call(tool, args).await;
        assert_eq!(result.status, ResultStatus::Error, "{}", result.content);
        result.content
    }
}

fn numbered(count: usize) -> String {
    (1..=count).map(|n| format!("line {n}\n")).collect()
}

#[tokio::test]
async fn read_gives_lines_and_says_how_to_go_on() {
    let room = Room::new();
    room.put("a.txt", "one\ntwo\nthree\n");
    assert_eq!(room.ok("read", json!({"path": "a.txt"})).await, "one\ntwo\nthree");
    let part = room.ok("read", json!({"path": "a.txt", "offset": 2, "limit": 1})).await;
    assert_eq!(part, "two\n[lines 2-2 of 3; for more, offset=3]");
    let end = room.ok("read", json!({"path": "a.txt", "offset": 3})).await;
    assert_eq!(end, "three\n[lines 3-3 of 3]");
    let past = room.error("read", json!({"path": "a.txt", "offset": 9})).await;
    assert_eq!(past, "error: offset 9 is past the end; a.txt has 3 lines");
}

/// A limit of 0 once read nothing and looked like an empty file.
#[tokio::test]
async fn limits_without_sense_mean_the_default() {
    let room = Room::new();
    room.put("a.txt", "one\ntwo\n");
    for args in [
        json!({"path": "a.txt", "limit": 0}),
        json!({"path": "a.txt", "offset": 0}),
        json!({"path": "a.txt", "offset": -4, "limit": -1}),
        json!({"path": "a.txt", "limit": 1_000_000}),
    ] {
        assert_eq!(room.ok("read", args).await, "one\ntwo");
    }
}

#[tokio::test]
async fn a_long_file_is_read_in_pages_that_lose_nothing() {
    let room = Room::new();
    let text = numbered(3_000);
    room.put("long.txt", &text);
    let mut all = String::new();
    let mut offset = 1;
    loop {
        let page = room.ok("read", json!({"path": "long.txt", "offset": offset})).await;
        assert!(page.len() < 8_200);
        let (lines, note) = page.rsplit_once('\n').unwrap();
        all.push_str(lines);
        all.push('\n');
        match note.split_once("offset=") {
            Some((_, next)) => offset = next.trim_end_matches(']').parse().unwrap(),
            None => break,
        }
    }
    assert_eq!(all, text);
}

#[tokio::test]
async fn what_is_no_text_is_told() {
    let room = Room::new();
    room.put("p.png", b"\x89PNG\r\n\x1a\n\0\0\0");
    room.put("latin.txt", b"caf\xe9\n");
    room.put("empty.txt", "");
    fs::create_dir(room.path("d")).unwrap();
    room.put("d/x", "1");
    assert_eq!(
        room.error("read", json!({"path": "p.png"})).await,
        "error: p.png is binary (a PNG picture): 11 bytes, beginning 89 50 4e 47 0d 0a 1a 0a. It cannot be shown as text."
    );
    assert_eq!(
        room.ok("read", json!({"path": "latin.txt"})).await,
        "caf\u{fffd}\n[not UTF-8, first at byte 3: wrong bytes are shown as \u{fffd}]"
    );
    assert_eq!(room.ok("read", json!({"path": "empty.txt"})).await, "(empty.txt is empty)");
    assert_eq!(room.ok("read", json!({"path": "d"})).await, "d is a folder:\nx (1 B)");
}

#[tokio::test]
async fn a_line_that_does_not_fit_is_cut_and_the_cut_is_told() {
    let room = Room::new();
    room.put("min.js", "x".repeat(50_000) + "\nnext\n");
    let page = room.ok("read", json!({"path": "min.js"})).await;
    assert!(page.contains("[this line goes on for 42080 bytes; grep finds in it]"), "{page}");
    assert!(page.ends_with("]\nnext"), "{page}");
}

#[tokio::test]
async fn a_file_too_large_to_hold_is_read_in_parts() {
    let room = Room::new();
    room.put("big.log", "0123456789abcde\n".repeat((17 << 20) / 16));
    let page = room.ok("read", json!({"path": "big.log", "offset": 1_000_000, "limit": 2})).await;
    assert_eq!(
        page,
        "0123456789abcde\n0123456789abcde\n[lines 1000000-1000001 of a file of 17825792 bytes; for more, offset=1000002]"
    );
}

#[tokio::test]
async fn a_missing_file_names_its_neighbours() {
    let room = Room::new();
    room.put("src/main.rs", "");
    room.put("docs/guide.md", "");
    assert_eq!(
        room.error("read", json!({"path": "src/mian.rs"})).await,
        "error: src/mian.rs does not exist. Did you mean src/main.rs?"
    );
    assert_eq!(
        room.error("read", json!({"path": "src/guide.md"})).await,
        "error: src/guide.md does not exist. There is docs/guide.md."
    );
    assert_eq!(
        room.error("ls", json!({"path": "zzz"})).await,
        "error: zzz does not exist. The folder . holds docs, src."
    );
}

#[tokio::test]
async fn ls_lists() {
    let room = Room::new();
    room.put("b.txt", "12345");
    room.put("sub/c", "");
    std::os::unix::fs::symlink("b.txt", room.path("link")).unwrap();
    assert_eq!(room.ok("ls", json!({})).await, "b.txt (5 B)\nlink -> b.txt\nsub/");
    assert_eq!(room.ok("ls", json!({"path": ""})).await, "b.txt (5 B)\nlink -> b.txt\nsub/");
    assert_eq!(room.ok("ls", json!({"path": "b.txt"})).await, "b.txt is a file of 5 bytes");
}

/// The policy decides about a path; what the path leads to may change before the call.
#[tokio::test]
async fn a_path_that_leads_elsewhere_after_the_decision_is_refused() {
    let room = Room::new();
    room.put("a", "mine");
    fs::write(room.ctx.workspace.parent().unwrap().join("secret"), "s").unwrap();
    let args: Args = json!({"path": "a"}).as_object().unwrap().clone();
    let tool = room.tools.get("read").unwrap();
    let mut ctx = room.ctx.clone();
    ctx.rights = tool.rights(&ctx, &args).unwrap().into();
    fs::remove_file(room.path("a")).unwrap();
    std::os::unix::fs::symlink("../secret", room.path("a")).unwrap();
    let result = tool.call(&ctx, args).await;
    assert_eq!(result.status, ResultStatus::Error);
    assert!(result.content.contains("which was not allowed"), "{}", result.content);
}

#[tokio::test]
async fn rights_name_what_a_path_leads_to() {
    let room = Room::new();
    let outside = room.ctx.workspace.parent().unwrap().join("out");
    fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, room.path("link")).unwrap();
    std::os::unix::fs::symlink("../fresh", room.path("dangling")).unwrap();
    let right = |tool: &str, path: &str| {
        let args: Args = json!({"path": path, "content": ""}).as_object().unwrap().clone();
        let rights = room.tools.get(tool).unwrap().rights(&room.ctx, &args).unwrap();
        serde_json::to_value(&rights[0]).unwrap()["path"].as_str().unwrap().to_owned()
    };
    let at = |path: &Path| path.display().to_string();
    assert_eq!(right("read", "link/x"), at(&outside.join("x")));
    assert_eq!(right("read", "link/../w/a"), at(&room.path("a")));
    assert_eq!(right("write", "dangling"), at(&outside.with_file_name("fresh")));
    assert!(right("read", "../../etc/passwd").ends_with("/etc/passwd"));
    assert_eq!(right("read", "~/x"), at(&room.ctx.workspace.with_file_name("home").join("x")));
    assert_eq!(right("read", "@a"), at(&room.path("a")));
}

#[tokio::test]
async fn write_creates_and_does_not_overwrite_blindly() {
    let room = Room::new();
    assert_eq!(
        room.ok("write", json!({"path": "x/y.txt", "content": "a\nb\n"})).await,
        "created x/y.txt (2 lines)"
    );
    assert_eq!(room.get("x/y.txt"), "a\nb\n");
    room.put("old.txt", "mine\n");
    let refused = room.error("write", json!({"path": "old.txt", "content": "yours\n"})).await;
    assert_eq!(
        refused,
        "error: old.txt was not read yet. Call read on old.txt first. Or change a part of it with edit."
    );
    assert_eq!(room.get("old.txt"), "mine\n");
    room.ok("read", json!({"path": "old.txt"})).await;
    let result = room.call("write", json!({"path": "old.txt", "content": "yours\n"})).await;
    assert_eq!(result.content, "changed old.txt\n@@ -1 +1 @@\n-mine\n+yours");
    assert!(result.diff.unwrap().starts_with("--- a/old.txt\n+++ b/old.txt\n"));
    room.put("old.txt", "changed by someone\n");
    let refused = room.error("write", json!({"path": "old.txt", "content": "x"})).await;
    assert!(refused.starts_with("error: old.txt has changed since it was read."), "{refused}");
}

#[tokio::test]
async fn edit_wants_a_read_and_one_place() {
    let room = Room::new();
    room.put("a.rs", "fn a() {}\nfn b() {}\nfn a() {}\n");
    let args = json!({"path": "a.rs", "oldText": "fn b()", "newText": "fn c()"});
    assert!(room.error("edit", args.clone()).await.contains("was not read yet"));
    room.ok("read", json!({"path": "a.rs"})).await;
    let done = room.ok("edit", args).await;
    assert_eq!(done, "changed a.rs\n@@ -1,3 +1,3 @@\n fn a() {}\n-fn b() {}\n+fn c() {}\n fn a() {}");
    let many = room.error("edit", json!({"path": "a.rs", "oldText": "fn a()", "newText": "x"})).await;
    assert_eq!(
        many,
        "error: oldText occurs more than once in a.rs, at lines 1, 3. Take in more lines around the one that you mean."
    );
    let none = room.error("edit", json!({"path": "a.rs", "oldText": "fn c() { 1 }", "newText": "x"})).await;
    assert!(
        none.starts_with(
            "error: oldText does not occur in a.rs. The most similar place, from line 2 on:\nfn c() {}"
        ),
        "{none}"
    );
}

#[tokio::test]
async fn edit_forgives_what_models_get_wrong() {
    let cases = [
        // file, old, new, after, words
        (
            "    let x = 1;\n    go();\n",
            "let x = 1;\ngo();",
            "let x = 2;\ngo();",
            "    let x = 2;\n    go();\n",
            "ignoring indentation",
        ),
        ("a  \nb\n", "a\nb", "c\nd", "c\nd\n", "ignoring white space at line ends"),
        ("say “hi” – now\n", "say \"hi\" - now", "bye", "bye\n", "typographic"),
        ("a\nb\n", "a\\nb", "c\\nd", "c\nd\n", "escapes"),
        ("x = 1\n", "x = 1\n\n", "x = 2\n\n", "x = 2\n", "ignoring"),
        ("a\n  b\nc\n", "b  ", "", "a\nc\n", "ignoring"),
    ];
    for (file, old, new, after, words) in cases {
        let room = Room::new();
        room.put("f", file);
        room.ok("read", json!({"path": "f"})).await;
        let done = room.ok("edit", json!({"path": "f", "oldText": old, "newText": new})).await;
        assert_eq!(room.get("f"), after, "{old:?}");
        assert!(done.contains(words), "{done}");
    }
}

#[tokio::test]
async fn edit_keeps_line_ends_and_byte_order_mark() {
    let room = Room::new();
    room.put("dos.txt", "\u{feff}one\r\ntwo\r\n");
    assert_eq!(room.ok("read", json!({"path": "dos.txt"})).await, "one\ntwo");
    room.ok("edit", json!({"path": "dos.txt", "oldText": "one\ntwo", "newText": "1\n2"})).await;
    assert_eq!(room.get("dos.txt"), "\u{feff}1\r\n2\r\n");
}

#[tokio::test]
async fn wrong_arguments_of_edit_are_explained() {
    let room = Room::new();
    room.put("a", "x");
    for (args, words) in [
        (json!({"path": "a", "oldText": "", "newText": "y"}), "oldText is empty"),
        (json!({"path": "a", "oldText": "x", "newText": "x"}), "are the same"),
        (json!({"path": "a", "newText": "x"}), "oldText is missing"),
        (json!({"path": "a", "oldText": "x"}), "newText is missing"),
        (json!({"oldText": "x", "newText": "y"}), "path is empty"),
    ] {
        let error = room.error("edit", args).await;
        assert!(error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn grep_finds_and_says_what_it_left_out() {
    let room = Room::new();
    room.put("src/a.rs", "fn one() {}\nfn two() {}\n");
    room.put("b.txt", "ONE\n");
    room.put(".env", "one=secret\n");
    room.put(".gitignore", "ignored/\n");
    room.put("ignored/c.rs", "fn one() {}\n");
    let found = room.ok("grep", json!({"pattern": "fn o\\w+"})).await;
    assert_eq!(found, "src/a.rs:1: fn one() {}\n\n[1 files that may hold secrets were left out]");
    assert!(
        room.ok("grep", json!({"pattern": "ONE", "path": "src"}))
            .await
            .contains("found in another]\nsrc/a.rs:1")
    );
    assert!(room.ok("grep", json!({"pattern": "two() {"})).await.contains("searched literally]\nsrc/a.rs:2"));
    let none = room.ok("grep", json!({"pattern": "zebra", "path": "b.txt"})).await;
    assert_eq!(none, "no line in b.txt matches \"zebra\"");
    room.put("many.txt", "hit\n".repeat(500));
    // The workspace may be the home folder, with Chela's own folder in it.
    room.put(".chela/auth.json", "hit\n");
    let own = room.ok("grep", json!({"pattern": "hit", "path": "."})).await;
    assert!(!own.contains("auth.json"), "{own}");
    assert!(!room.ok("glob", json!({"pattern": "*.json"})).await.contains("auth.json"));
    let many = room.ok("grep", json!({"pattern": "hit", "path": "many.txt"})).await;
    assert!(
        many.ends_with("[200 of 500 matches in 1 files shown; narrow the pattern or the path]"),
        "{many}"
    );
    assert!(room.error("grep", json!({"pattern": ""})).await.contains("pattern is empty"));
}

#[tokio::test]
async fn glob_finds_by_name_anywhere_and_by_path() {
    let room = Room::new();
    for name in ["a.rs", "src/b.rs", "src/deep/c.rs", "src/d.txt"] {
        room.put(name, "");
    }
    assert_eq!(room.ok("glob", json!({"pattern": "*.rs"})).await, "a.rs\nsrc/b.rs\nsrc/deep/c.rs");
    assert_eq!(room.ok("glob", json!({"pattern": "src/*.rs"})).await, "src/b.rs\nsrc/deep/c.rs");
    assert_eq!(room.ok("glob", json!({"pattern": "src/**/c.*"})).await, "src/deep/c.rs");
    assert_eq!(room.ok("glob", json!({"pattern": "*.py"})).await, "no file in . matches *.py");
}

#[tokio::test]
async fn undo_restores_byte_for_byte() {
    use std::os::unix::fs::PermissionsExt;
    let room = Room::new();
    let before = "\u{feff}#!/bin/sh\r\necho caf\u{e9}\r\n";
    room.put("run.sh", before);
    fs::set_permissions(room.path("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    room.ok("read", json!({"path": "run.sh"})).await;
    room.ok("edit", json!({"path": "run.sh", "oldText": "echo", "newText": "printf"})).await;
    room.ok("edit", json!({"path": "run.sh", "oldText": "printf", "newText": "cat"})).await;
    room.ok("write", json!({"path": "new/deep/file", "content": "x"})).await;
    room.undo.remark(room.ctx.session, room.ctx.turn, "the command `make` ran").unwrap();
    let mode = fs::metadata(room.path("run.sh")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o755);
    let undone = room.undo.undo(room.ctx.session, None).await.unwrap();
    assert_eq!(fs::read(room.path("run.sh")).unwrap(), before.as_bytes());
    assert!(!room.path("new").exists());
    assert_eq!(undone.turn, room.ctx.turn);
    assert_eq!(undone.files.len(), 2);
    assert_eq!(undone.kept, ["the command `make` ran"]);
    let again = room.undo.undo(room.ctx.session, None).await.unwrap_err();
    assert_eq!(again, "there is no change of a file to take back");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever a turn does to a file of whatever bytes of text, an undo gives the bytes back.
    #[test]
    fn undo_is_the_inverse_of_any_turn(
        before in "[a-c \t\r\n\u{e9}]{0,40}",
        edits in prop::collection::vec(("[a-c \n]{1,6}", "[a-c \n]{0,6}"), 0..6),
        whole in prop::option::of("[a-z\n]{0,20}"),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let room = Room::new();
            room.put("f", &before);
            room.call("read", json!({"path": "f"})).await;
            for (old, new) in edits {
                room.call("edit", json!({"path": "f", "oldText": old, "newText": new})).await;
            }
            if let Some(content) = whole {
                room.ok("write", json!({"path": "f", "content": content})).await;
            }
            let changed = room.get("f") != before;
            let undone = room.undo.undo(room.ctx.session, None).await;
            assert!(undone.is_ok() || !changed);
            assert_eq!(room.get("f"), before);
        });
    }
}

#[tokio::test]
async fn undo_does_not_overwrite_what_someone_else_wrote() {
    let room = Room::new();
    room.put("a", "1");
    room.ok("read", json!({"path": "a"})).await;
    room.ok("write", json!({"path": "a", "content": "2"})).await;
    room.put("a", "mine");
    let undone = room.undo.undo(room.ctx.session, None).await.unwrap();
    assert!(undone.files.is_empty());
    assert!(undone.kept[0].contains("was changed by something else since"));
    assert_eq!(room.get("a"), "mine");
}

#[tokio::test]
async fn without_the_original_kept_nothing_is_changed() {
    let room = Room::new();
    room.put("a", "1");
    room.ok("read", json!({"path": "a"})).await;
    // A file where the journal's folder should be.
    fs::write(room.ctx.workspace.with_file_name("undo"), "").unwrap();
    let refused = room.error("write", json!({"path": "a", "content": "2"})).await;
    assert!(refused.contains("so nothing was changed"), "{refused}");
    assert_eq!(room.get("a"), "1");
}
