//! `memory` on real folders.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use chela_agent::tool::{Args, Output, Tool, ToolCtx, ToolResult};
use chela_agent::{Recall, Undo};
use chela_protocol::{ResultStatus, SessionId, TurnId};
use chela_tools::memory::{Memory, Notes};
use chela_tools::undo::UndoLog;
use jiff::tz::TimeZone;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

struct Room {
    _folder: TempDir,
    root: PathBuf,
    undo: Arc<UndoLog>,
    notes: Arc<Notes>,
    tool: Memory,
    ctx: ToolCtx,
}

impl Room {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("w")).unwrap();
        let undo = Arc::new(UndoLog::new(root.join("undo")));
        let notes = Notes::new(root.join("w"), Arc::clone(&undo), TimeZone::UTC);
        let ctx = ToolCtx {
            workspace: root.join("w"),
            session: SessionId::new(),
            turn: TurnId::new(),
            call: "c".into(),
            limit: 8_000,
            rights: Arc::from(vec![]),
            protected: Arc::from(vec![]),
            cancel: CancellationToken::new(),
            output: Output::new("c", mpsc::channel(1).0),
        };
        Self { _folder: folder, root, undo, tool: Memory::new(Arc::clone(&notes)), notes, ctx }
    }

    fn put(&self, name: &str, content: &str) {
        let path = self.root.join("w").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    async fn call(&self, action: &str, text: &str) -> ToolResult {
        let args: Args = json!({"action": action, "text": text}).as_object().unwrap().clone();
        let mut ctx = self.ctx.clone();
        match self.tool.rights(&ctx, &args) {
            Ok(rights) => ctx.rights = rights.into(),
            Err(text) => return ToolResult::error(text),
        }
        self.tool.call(&ctx, args).await
    }

    async fn add(&self, text: &str) -> String {
        let result = self.call("add", text).await;
        assert_eq!(result.status, ResultStatus::Ok, "{}", result.content);
        result.content
    }

    async fn search(&self, text: &str) -> String {
        let result = self.call("search", text).await;
        assert_eq!(result.status, ResultStatus::Ok, "{}", result.content);
        result.content
    }

    async fn error(&self, action: &str, text: &str) -> String {
        let result = self.call(action, text).await;
        assert_eq!(result.status, ResultStatus::Error, "{}", result.content);
        result.content
    }

    /// The one file of today, with its name.
    fn today(&self) -> (String, String) {
        let mut files = fs::read_dir(self.root.join("w/memory")).unwrap().flatten();
        let file = files.next().unwrap();
        assert!(files.next().is_none());
        (file.file_name().to_string_lossy().into_owned(), fs::read_to_string(file.path()).unwrap())
    }

    async fn undo(&self) -> (Vec<String>, Vec<String>) {
        let undone = self.undo.undo(self.ctx.session, None).await.unwrap();
        (undone.files, undone.kept)
    }
}

#[tokio::test]
async fn a_note_is_markdown_that_is_found_again() {
    let room = Room::new();
    assert_eq!(room.search("dog").await, "there are no notes yet");
    let said = room.add("The dog is called Rex.\n\n# not a heading\n- nor an item").await;
    let (name, content) = room.today();
    let day = name.strip_suffix(".md").unwrap();
    assert_eq!(said, format!("noted in memory/{name}"));
    let (head, note) = content.split_once("\n\n").unwrap();
    assert_eq!(head, format!("# {day}"));
    assert_eq!(&note[..2], "- ");
    assert_eq!(&note[7..], " The dog is called Rex.\n  # not a heading\n  - nor an item\n");
    assert_eq!(
        room.search("dogs").await,
        format!("memory/{name}:3: {} The dog is called Rex. # not a heading - nor an item", &note[2..7])
    );
    assert_eq!(room.search("cat").await, "no note has any of the words cat; there are 1 notes");
    assert!(room.call("search", "dog").await.taint.private);
}

#[tokio::test]
async fn what_the_user_writes_or_takes_out_counts_at_once() {
    let room = Room::new();
    room.put("MEMORY.md", "# Me\n\n## Likes\n\n- green tea\n");
    room.put("memory/2020-01-01.md", "# 2020-01-01\n\n- 10:00 coffee is out\n");
    room.put("memory/deep/er.md", "tea with Anna\n");
    assert_eq!(room.search("tea").await, "memory/deep/er.md:1: tea with Anna\nMEMORY.md:5: Likes: green tea");
    room.put("memory/deep/er.md", "lunch with Anna, no tea today\nand none tomorrow\n");
    assert!(room.search("lunch").await.starts_with("memory/deep/er.md:1: lunch with Anna"));
    fs::remove_file(room.root.join("w/memory/deep/er.md")).unwrap();
    assert_eq!(room.search("tea").await, "MEMORY.md:5: Likes: green tea");
    assert_eq!(room.search("").await.lines().count(), 2);
}

#[tokio::test]
async fn a_note_is_not_written_twice() {
    let room = Room::new();
    room.add("Rex is a dog.").await;
    let (name, before) = room.today();
    assert_eq!(
        room.add(" Rex  is a dog. ").await,
        format!("already noted in memory/{name}:3; nothing was written")
    );
    assert_eq!(room.today().1, before);
    room.add("Rex is a dog").await;
    assert_eq!(room.today().1.lines().count(), 4);
}

#[tokio::test]
async fn an_undo_takes_notes_back_byte_for_byte() {
    let mut room = Room::new();
    room.add("one").await;
    assert!(room.undo().await.1.is_empty());
    assert!(!room.root.join("w/memory").exists(), "the folder was made for it");
    let (name, _) = {
        room.add("two").await;
        room.today()
    };
    let path = format!("memory/{name}");
    for before in ["mine", "", "mine\n", "\u{ff}"] {
        room.put(&path, before);
        room.ctx.turn = TurnId::new();
        room.add("three").await;
        room.add("four").await;
        let text = room.today().1;
        assert!(text.starts_with(before) && text.ends_with("four\n"), "{text}");
        assert!(room.undo().await.1.is_empty());
        assert_eq!(room.today().1, before);
    }
}

/// Another session noted something on the same day: its note stays.
#[tokio::test]
async fn an_undo_takes_back_only_its_own_notes() {
    let room = Room::new();
    room.add("mine").await;
    let before = room.today().1;
    let other = Room { ctx: ToolCtx { session: SessionId::new(), ..room.ctx.clone() }, ..Room::new() };
    let other = Memory::new(Notes::new(room.root.join("w"), Arc::clone(&room.undo), TimeZone::UTC))
        .call(
            &ToolCtx { rights: Arc::from(vec![chela_protocol::Right::Remember]), ..other.ctx.clone() },
            json!({"action": "add", "text": "theirs"}).as_object().unwrap().clone(),
        )
        .await
        .content;
    assert!(other.starts_with("noted in "), "{other}");
    let (files, kept) = room.undo().await;
    assert_eq!((files.len(), kept.len()), (1, 0), "{kept:?}");
    let left = room.today().1;
    assert!(left.contains("theirs") && !left.contains("mine") && left.starts_with(&before[..14]), "{left}");
    // A note that the user has rewritten is the user's.
    room.add("wrogn").await;
    let (name, text) = room.today();
    room.put(&format!("memory/{name}"), &text.replace("wrogn", "right"));
    let (files, kept) = room.undo().await;
    assert!(files.is_empty() && kept[0].contains("was changed by something else since"), "{kept:?}");
    assert!(room.today().1.contains("right"));
}

#[tokio::test]
async fn processes_that_note_at_the_same_time_lose_nothing() {
    let room = Arc::new(Room::new());
    let add = |n: usize| {
        let room = Arc::clone(&room);
        async move { room.add(&format!("note {n}")).await }
    };
    futures_util::future::join_all((0..20).map(add)).await;
    let (_, text) = room.today();
    assert_eq!(text.lines().count(), 22, "{text}");
    assert!((0..20).all(|n| text.contains(&format!("note {n}\n"))));
    assert_eq!(text.matches("# ").count(), 1);
}

#[tokio::test]
async fn notes_do_not_leave_the_workspace() {
    let room = Room::new();
    fs::create_dir(room.root.join("home")).unwrap();
    fs::write(room.root.join("home/secret.md"), "the password is hunter2\n").unwrap();
    std::os::unix::fs::symlink("../home", room.root.join("w/memory")).unwrap();
    for action in ["add", "search"] {
        let error = room.error(action, "password").await;
        assert!(error.contains("notes have to lie in the workspace itself"), "{error}");
    }
    fs::remove_file(room.root.join("w/memory")).unwrap();
    room.add("x").await;
    let (name, _) = room.today();
    for link in ["w/MEMORY.md", &format!("w/memory/{name}"), "w/memory/a.md"] {
        let _ = fs::remove_file(room.root.join(link));
        std::os::unix::fs::symlink(room.root.join("home/secret.md"), room.root.join(link)).unwrap();
    }
    assert_eq!(room.search("password").await, "there are no notes yet");
    assert!(room.error("add", "password").await.contains("notes have to lie in the workspace itself"));
    assert_eq!(fs::read_to_string(room.root.join("home/secret.md")).unwrap(), "the password is hunter2\n");
}

#[tokio::test]
async fn what_is_no_note_says_so() {
    let room = Room::new();
    assert!(room.error("add", " \u{200b}\n").await.contains("text is empty"));
    assert!(room.error("add", &"x".repeat(2_001)).await.contains("the limit is 2000"));
    assert!(room.error("delete", "x").await.contains("expected \"add\" or \"search\""));
    assert!(!room.root.join("w/memory").exists());
    let args: Args = json!({"action": "add", "text": "tea"}).as_object().unwrap().clone();
    let diff = room.tool.preview(&room.ctx, &args).unwrap();
    assert!(diff.contains("+- ") && diff.contains(" tea\n"), "{diff}");
}

#[tokio::test]
async fn only_notes_that_bear_on_a_message_are_recalled() {
    let room = Room::new();
    room.put(
        "MEMORY.md",
        "- My dog is called Rex.\n- Anna is vegetarian and likes Italian food.\n- The meeting room has no projector.\n\
         - Deploy with make release, never by hand.\n- I read files with less.\n",
    );
    let table: &[(&str, &[&str])] = &[
        ("What's my dog called?", &["My dog is called Rex."]),
        ("Who is Anna?", &["Anna is vegetarian and likes Italian food."]),
        ("How do we deploy a release?", &["Deploy with make release, never by hand."]),
        (
            "Please book a table for dinner with Anna at the Italian",
            &["Anna is vegetarian and likes Italian food."],
        ),
        ("Read the file notes.txt and tell me what it says about the budget", &[]),
        ("hello", &[]),
        ("", &[]),
    ];
    for (message, want) in table {
        let quotes: Vec<String> =
            room.notes.recall(message).await.into_iter().map(|quote| quote.text).collect();
        assert_eq!(quotes, *want, "{message}");
    }
    room.put("memory/a.md", &format!("- {} dog dog\n", "word ".repeat(200)));
    assert!(room.notes.recall("the dog word").await.iter().all(|quote| quote.text.len() <= 204));
}
