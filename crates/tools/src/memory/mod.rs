//! `memory`: notes across sessions.
//!
//! The notes are Markdown in the workspace, for the user to read and to change: one file a day
//! below `memory/`, and `MEMORY.md`, which the user writes. They are the truth; the index over
//! them is made anew when they change. What the tool adds, an undo takes back.

mod folder;
mod markdown;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use chela_agent::tool::{Args, Tool, ToolCtx, ToolResult, ToolSpec, floor};
use chela_agent::{Quote, Recall};
use chela_protocol::Right;
use chela_store::{NoteHit, NoteIndex, words};
use futures_util::future::BoxFuture;
use jiff::tz::TimeZone;
use serde_json::json;

use self::folder::{Folder, Stamp};
use self::markdown::Note;
use crate::undo::UndoLog;

/// Bytes of a note.
const LONGEST: usize = 2_000;
/// Notes that a search shows.
const SHOWN: usize = 10;
/// Bytes that a search shows of a note.
const EXCERPT: usize = 400;

/// The notes of a workspace.
pub struct Notes {
    folder: Folder,
    undo: Arc<UndoLog>,
    loaded: Mutex<Option<Loaded>>,
}

/// Notes as they were read, with their index.
struct Loaded {
    stamp: Stamp,
    notes: Arc<[Note]>,
    index: NoteIndex,
}

impl Notes {
    /// The notes of a workspace (absolute, symlinks resolved). `zone` is the user's.
    #[must_use]
    pub fn new(workspace: PathBuf, undo: Arc<UndoLog>, zone: TimeZone) -> Arc<Self> {
        Arc::new(Self { folder: Folder::new(workspace, zone), undo, loaded: Mutex::default() })
    }

    /// All notes, and those that have any of the words, the best first.
    fn find(&self, words: &[String]) -> Result<(Arc<[Note]>, Vec<NoteHit>), String> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.folder.stamp()?;
        let fresh = match loaded.take().filter(|loaded| loaded.stamp == stamp) {
            Some(fresh) => fresh,
            None => {
                let notes: Arc<[Note]> = self.folder.notes(&stamp).into();
                let index = NoteIndex::new(notes.iter().map(|note| note.whole.as_str()));
                let index =
                    index.map_err(|error| format!("error: the notes could not be indexed: {error}"))?;
                Loaded { stamp, notes, index }
            }
        };
        let hits = fresh.index.search(words).map_err(|error| format!("error: {error}"));
        let notes = Arc::clone(&fresh.notes);
        *loaded = Some(fresh);
        Ok((notes, hits?))
    }

    fn add(&self, ctx: &ToolCtx, text: &str) -> Result<ToolResult, String> {
        if !ctx.granted(&Right::Remember) {
            return Err("error: adding to the memory was not allowed".into());
        }
        let text = checked(text)?;
        let (notes, _) = self.find(&[])?;
        if let Some(same) = notes.iter().find(|note| markdown::same(&note.text, &text)) {
            return Ok(ToolResult::ok(format!("already noted in {}; nothing was written", same.origin)));
        }
        let entry = self.folder.entry(&text);
        self.folder.append(&entry, |text, head| {
            self.undo.keep_append(ctx.session, ctx.turn, &entry.path, text, head)
        })?;
        let diff = self.folder.diff(&entry);
        Ok(ToolResult::ok(format!("noted in {}", entry.shown)).with_diff(diff))
    }

    fn search(&self, ctx: &ToolCtx, query: &str) -> Result<ToolResult, String> {
        if !ctx.granted(&self.folder.read_right()) {
            return Err("error: the notes moved meanwhile. Try again.".into());
        }
        let words = words(query);
        let (notes, hits) = self.find(&words)?;
        if notes.is_empty() {
            return Ok(ToolResult::ok("there are no notes yet"));
        }
        // Without words the newest, which stand last.
        let found: Vec<usize> = match words.is_empty() {
            true => (0..notes.len()).rev().collect(),
            false => hits.iter().map(|hit| hit.note).collect(),
        };
        if found.is_empty() {
            let text =
                format!("no note has any of the words {}; there are {} notes", words.join(", "), notes.len());
            return Ok(ToolResult::ok(text).private());
        }
        let mut text = String::new();
        let mut shown = 0;
        for note in found.iter().take(SHOWN).map(|at| &notes[*at]) {
            let line = format!("{}: {}\n", note.origin, clip(&note.whole, EXCERPT));
            if shown > 0 && text.len() + line.len() + 80 > ctx.limit {
                break;
            }
            text.push_str(&line);
            shown += 1;
        }
        if shown < found.len() {
            text.push_str(&format!("[{shown} of {} notes shown; more words narrow it]", found.len()));
        }
        Ok(ToolResult::ok(text.trim_end()).private())
    }
}

/// A note's text as it can be written.
fn checked(text: &str) -> Result<String, String> {
    let text = crate::web::visible(text);
    let text = text.trim();
    if text.is_empty() {
        return Err("error: text is empty; expected the note".into());
    }
    if text.len() > LONGEST {
        return Err(format!(
            "error: the note has {} bytes; the limit is {LONGEST}. Write a file for more, and note where it is.",
            text.len()
        ));
    }
    Ok(text.to_owned())
}

/// A text on one line, cut with a sign.
fn clip(text: &str, limit: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.len() > limit {
        true => format!("{} …", line[..floor(&line, limit)].trim_end()),
        false => line,
    }
}

/// The tool.
pub struct Memory {
    spec: ToolSpec,
    notes: Arc<Notes>,
}

impl Memory {
    /// A tool over these notes.
    #[must_use]
    pub fn new(notes: Arc<Notes>) -> Self {
        let spec = ToolSpec {
            name: "memory".into(),
            description: "Keep notes across sessions: add one, or search them.".into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "action": {"type": "string", "enum": ["add", "search"]},
                    "text": {"type": "string", "description": "the note, or the words to find"}
                },
                "required": ["action", "text"]
            }),
            read_only: false,
        };
        Self { spec, notes }
    }
}

enum Action {
    Add(String),
    Search(String),
}

fn action(args: &Args) -> Result<Action, String> {
    let word = |key| args.get(key).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
    match word("action").trim().to_ascii_lowercase().as_str() {
        "add" => Ok(Action::Add(word("text"))),
        "search" => Ok(Action::Search(word("text"))),
        other => Err(format!("error: action is {other:?}; expected \"add\" or \"search\"")),
    }
}

impl Tool for Memory {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn rights(&self, _: &ToolCtx, args: &Args) -> Result<Vec<Right>, String> {
        Ok(match action(args)? {
            Action::Add(text) => {
                checked(&text)?;
                vec![Right::Remember]
            }
            Action::Search(_) => vec![self.notes.folder.read_right()],
        })
    }

    fn preview(&self, _: &ToolCtx, args: &Args) -> Option<String> {
        let Ok(Action::Add(text)) = action(args) else { return None };
        Some(self.notes.folder.diff(&self.notes.folder.entry(&checked(&text).ok()?)))
    }

    fn call<'a>(&'a self, ctx: &'a ToolCtx, args: Args) -> BoxFuture<'a, ToolResult> {
        let (notes, ctx) = (Arc::clone(&self.notes), ctx.clone());
        Box::pin(crate::files::blocking(move || match action(&args)? {
            Action::Add(text) => notes.add(&ctx, &text),
            Action::Search(query) => notes.search(&ctx, &query),
        }))
    }
}

/// Quotes of a message at most, and their bytes: a small model reads all of them, every time.
const QUOTES: usize = 3;
const QUOTE: usize = 200;
/// Words of a message that are looked at.
const WORDS: usize = 24;

impl Recall for Notes {
    /// Few, and only what clearly bears on the message: two of its words and a third of what it
    /// is about, or half of it where it is one word. A quote that does not help does harm: it
    /// costs tokens, leads astray, and makes the turn private.
    fn recall<'a>(&'a self, message: &'a str) -> BoxFuture<'a, Vec<Quote>> {
        Box::pin(async move {
            let mut words = words(message);
            words.truncate(WORDS);
            let bears = |hit: &&NoteHit| match hit.words {
                1 => hit.share >= 0.5 && words.len() <= 2,
                _ => hit.share >= 0.34,
            };
            // Notes that cannot be read are no reason to stop; a search says why.
            let Ok((notes, hits)) = self.find(&words) else { return Vec::new() };
            let quote = |hit: &NoteHit| {
                let note = &notes[hit.note];
                Quote { origin: note.origin.clone(), text: clip(&note.whole, QUOTE) }
            };
            hits.iter().filter(bears).take(QUOTES).map(quote).collect()
        })
    }
}
