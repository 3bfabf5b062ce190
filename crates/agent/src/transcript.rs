//! Items in, messages out.
//!
//! Messages are built from items by appending only: while no compaction comes between, the
//! messages of one request are the first messages of the next, byte for byte. User and
//! assistant alternate whatever the items are, because strict chat templates refuse anything
//! else; where an answer is missing, a short assistant message stands in its place.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::sync::Arc;

use chela_protocol::{Call, Compaction, Finish, Image, Item, Record, ResultStatus, Taint, TurnId, Usage};

/// One message of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The system text; always the first and the only one.
    System(String),
    /// A user message.
    User {
        /// Its text.
        text: String,
        /// Its pictures.
        images: Vec<Image>,
    },
    /// An assistant message.
    Assistant {
        /// Its text; empty only beside calls.
        text: String,
        /// Its reasoning, for families that want it back; else empty.
        reasoning: String,
        /// Its calls.
        calls: Vec<Call>,
    },
    /// The result of a call.
    Tool {
        /// The id of the call.
        call: String,
        /// The tool's name.
        name: String,
        /// The result.
        content: String,
    },
}

impl Message {
    /// Bytes of its text, with a flat charge for the markup around it. Pictures count by a flat
    /// charge each: servers turn them into a number of tokens that does not follow their size.
    #[must_use]
    pub fn weight(&self) -> usize {
        const MARKUP: usize = 16;
        const PICTURE: usize = 3_000;
        MARKUP
            + match self {
                Self::System(text) => text.len(),
                Self::User { text, images } => text.len() + images.len() * PICTURE,
                Self::Assistant { text, reasoning, calls } => {
                    let call = |call: &Call| MARKUP + call.name.len() + call.arguments.len();
                    text.len() + reasoning.len() + calls.iter().map(call).sum::<usize>()
                }
                Self::Tool { content, .. } => content.len(),
            }
    }
}

/// What requests are built from: the items since the last compaction, and what is known of
/// those before.
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    prefix: Option<(String, String)>,
    summary: Option<String>,
    pinned: Vec<String>,
    items: Vec<Arc<Record>>,
    count: u64,
    taint: Taint,
    usage: Usage,
    call_ids: HashSet<String>,
}

impl Transcript {
    /// The transcript with these records.
    #[must_use]
    pub fn from_records(records: Vec<Record>) -> Self {
        let mut transcript = Self::default();
        records.into_iter().for_each(|record| transcript.push(record));
        transcript
    }

    /// Adds one record.
    pub fn push(&mut self, record: Record) {
        self.count += 1;
        match &record.item {
            Item::Prefix { system, tools } => {
                self.prefix = Some((system.clone(), tools.clone()));
                return;
            }
            Item::Compaction(compaction) => {
                let compaction = compaction.clone();
                self.compact(&compaction);
                return;
            }
            Item::User { taint, .. } => self.taint = self.taint.union(*taint),
            Item::Assistant { calls, usage, .. } => {
                self.call_ids.extend(calls.iter().map(|call| call.id.clone()));
                if let Some(usage) = usage {
                    self.usage.add(usage);
                }
            }
            Item::ToolResult { taint, .. } => self.taint = self.taint.union(*taint),
            _ => {}
        }
        self.items.push(Arc::new(record));
    }

    fn compact(&mut self, compaction: &Compaction) {
        for short in &compaction.shortened {
            let found = self.items.iter_mut().find(|record| record.id == short.item);
            if let Some(Item::ToolResult { content, .. }) =
                found.map(|record| &mut Arc::make_mut(record).item)
            {
                content.clone_from(&short.content);
            }
        }
        if let Some(summary) = &compaction.summary {
            self.summary = Some(summary.clone());
            self.pinned.clone_from(&compaction.pinned);
            match compaction.keep_from {
                Some(from) => self.items.retain(|record| record.id >= from),
                None => self.items.clear(),
            }
        }
    }

    /// Leaves the first `count` of [`Transcript::items`].
    pub fn truncate(&mut self, count: usize) {
        self.items.truncate(count);
    }

    /// The stored prefix: system text and tools.
    #[must_use]
    pub fn prefix(&self) -> Option<(&str, &str)> {
        self.prefix.as_ref().map(|(system, tools)| (system.as_str(), tools.as_str()))
    }

    /// What stands in for the items before a compaction.
    #[must_use]
    pub fn summary(&self) -> Option<&str> {
        self.summary.as_deref()
    }

    /// Words of the user that stand behind the summary.
    #[must_use]
    pub fn pinned(&self) -> &[String] {
        &self.pinned
    }

    /// The items that requests are built from, in order.
    #[must_use]
    pub fn items(&self) -> &[Arc<Record>] {
        &self.items
    }

    /// How many records there are, compacted ones included.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What has come into the session so far. A compaction does not clean it.
    #[must_use]
    pub fn taint(&self) -> Taint {
        self.taint
    }

    /// What all answers took.
    #[must_use]
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// An id for a call that no call of this session has: the server's own where it gave one,
    /// since servers check the form of the ids that they make.
    #[must_use]
    pub fn call_id(&self, given: &str, taken: &[Call]) -> String {
        let free = |id: &str| {
            !id.is_empty() && !self.call_ids.contains(id) && taken.iter().all(|call| call.id != id)
        };
        if free(given) {
            return given.to_owned();
        }
        // Nine letters and digits: the one form that Mistral's template takes too.
        let start = self.call_ids.len() + taken.len();
        let id = |n: usize| format!("call{n:05}");
        (start..).map(id).find(|id| free(id)).unwrap_or_else(|| given.to_owned())
    }

    /// The messages of the next request.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        let mut builder = Builder::default();
        if let Some((system, _)) = &self.prefix {
            builder.messages.push(Message::System(system.clone()));
        }
        if let Some(summary) = &self.summary {
            builder.user(summary_text(summary, &self.pinned), Vec::new());
            builder.merge_next_user = true;
        }
        self.items.iter().for_each(|record| builder.item(&record.item));
        builder.close_calls();
        builder.messages
    }
}

#[derive(Default)]
struct Builder {
    messages: Vec<Message>,
    open: Vec<(String, String)>,
    merge_next_user: bool,
}

impl Builder {
    fn item(&mut self, item: &Item) {
        if !matches!(item, Item::ToolResult { .. } | Item::CallStarted { .. }) {
            self.close_calls();
        }
        match item {
            Item::Prefix { .. } | Item::CallStarted { .. } | Item::Compaction(_) => {}
            Item::User { images, .. } => self.user(user_text(item), images.clone()),
            Item::Nudge { text } => self.user(text.clone(), Vec::new()),
            Item::Assistant { .. } => self.assistant(item),
            Item::ToolResult { call, name, content, note, .. } => {
                let Some(at) = self.open.iter().position(|(id, _)| id == call) else {
                    return;
                };
                self.open.remove(at);
                self.messages.push(Message::Tool {
                    call: call.clone(),
                    name: name.clone(),
                    content: with_note(content, note),
                });
            }
            Item::Interrupted { reason } => {
                if !matches!(self.messages.last(), Some(Message::Assistant { .. })) {
                    self.stand_in(&format!("[no answer: {reason}]"));
                }
            }
        }
    }

    fn user(&mut self, text: String, new_images: Vec<Image>) {
        match self.messages.last_mut() {
            Some(Message::User { text: before, images }) if self.merge_next_user => {
                before.push_str("\n\n");
                before.push_str(&text);
                images.extend(new_images);
                self.merge_next_user = false;
                return;
            }
            Some(Message::User { .. } | Message::Tool { .. }) => self.stand_in("[no answer]"),
            _ => {}
        }
        self.merge_next_user = false;
        self.messages.push(Message::User { text, images: new_images });
    }

    fn assistant(&mut self, item: &Item) {
        let Item::Assistant { text, reasoning, resend_reasoning, calls, finish, .. } = item else {
            return;
        };
        self.merge_next_user = false;
        let mut text = text.clone();
        if *finish == Finish::Cut {
            text.push_str(if text.is_empty() { "[interrupted]" } else { "\n\n[interrupted]" });
        } else if text.is_empty() && calls.is_empty() {
            text.push_str("[no answer]");
        }
        self.open = calls.iter().map(|call| (call.id.clone(), call.name.clone())).collect();
        self.messages.push(Message::Assistant {
            text,
            reasoning: if *resend_reasoning { reasoning.clone() } else { String::new() },
            calls: calls.clone(),
        });
    }

    fn stand_in(&mut self, text: &str) {
        self.messages.push(Message::Assistant {
            text: text.to_owned(),
            reasoning: String::new(),
            calls: Vec::new(),
        });
    }

    /// A server refuses calls without results, so a missing one is said to be missing.
    fn close_calls(&mut self) {
        for (call, name) in std::mem::take(&mut self.open) {
            self.messages.push(Message::Tool { call, name, content: "[interrupted: no result]".to_owned() });
        }
    }
}

fn summary_text(summary: &str, pinned: &[String]) -> String {
    // The model's words must not end where the user's begin.
    let summary = summary.replace("</summary>", "");
    let mut text = format!("<summary>\nThe conversation so far, shortened:\n{summary}\n</summary>");
    if !pinned.is_empty() {
        text.push_str("\n\nMy words so far, verbatim; what they ask for still holds:");
        for words in pinned {
            text.push_str("\n> ");
            text.push_str(&words.replace('\n', "\n> "));
        }
    }
    text
}

fn with_note(content: &str, note: &str) -> String {
    match (content.is_empty(), note.is_empty()) {
        (_, true) => content.to_owned(),
        (true, false) => note.to_owned(),
        (false, false) => format!("{content}\n\n{note}"),
    }
}

fn user_text(item: &Item) -> String {
    let Item::User { text, context, attachments, .. } = item else {
        return String::new();
    };
    let mut out = String::new();
    if !context.is_empty() {
        out.push_str("<context>\n");
        out.push_str(context);
        out.push_str("\n</context>\n\n");
    }
    for attachment in attachments {
        let newline = if attachment.text.ends_with('\n') { "" } else { "\n" };
        out.push_str(&format!(
            "<file name=\"{}\">\n{}{newline}</file>\n\n",
            attachment.name, attachment.text
        ));
    }
    out.push_str(text);
    out
}

/// What has to be appended to a transcript that ends in the middle of a turn, whose end has this
/// reason: a result for every call that has none, and a word in place of an answer that never
/// came.
#[must_use]
pub fn repair<R: Borrow<Record>>(records: &[R], reason: &str) -> Vec<(TurnId, Item)> {
    let mut open: Vec<(&Call, bool)> = Vec::new();
    let mut answered = true;
    let mut turn = None;
    for record in records.iter().map(Borrow::borrow) {
        turn = Some(record.turn);
        match &record.item {
            Item::Assistant { calls, .. } => {
                open = calls.iter().map(|call| (call, false)).collect();
                answered = calls.is_empty();
            }
            Item::CallStarted { call } => {
                for (_, started) in open.iter_mut().filter(|(open, _)| open.id == *call) {
                    *started = true;
                }
            }
            Item::ToolResult { call, .. } => open.retain(|(open, _)| open.id != *call),
            Item::User { .. } | Item::Nudge { .. } => answered = false,
            Item::Interrupted { .. } => answered = true,
            Item::Prefix { .. } | Item::Compaction(_) => {}
        }
    }
    let Some(turn) = turn.filter(|_| !answered) else {
        return Vec::new();
    };
    let mut items: Vec<Item> =
        open.into_iter().map(|(call, started)| interrupted(call, started, reason)).collect();
    items.push(Item::Interrupted { reason: reason.to_owned() });
    items.into_iter().map(|item| (turn, item)).collect()
}

/// The result of a call that was cut off.
#[must_use]
pub fn interrupted(call: &Call, started: bool, reason: &str) -> Item {
    let content = if started {
        format!("[interrupted: {reason} while this call ran; what it had done may stand]")
    } else {
        format!("[interrupted: {reason} before this call started; it did nothing]")
    };
    Item::ToolResult {
        call: call.id.clone(),
        name: call.name.clone(),
        content,
        note: String::new(),
        status: ResultStatus::Interrupted,
        diff: None,
        taint: Taint::default(),
        millis: 0,
    }
}

/// The beginning of the first message, for a list.
#[must_use]
pub fn title(records: &[Record]) -> String {
    let text = records.iter().find_map(|record| match &record.item {
        Item::User { text, .. } => Some(text.as_str()),
        _ => None,
    });
    let line = text.unwrap_or_default().split_whitespace();
    let mut title = line.collect::<Vec<_>>().join(" ");
    if let Some((at, _)) = title.char_indices().nth(60) {
        title.truncate(at);
        title.push('…');
    }
    title
}

/// What all answers took together; none where no server said.
#[must_use]
pub fn usage(records: &[Record]) -> Option<Usage> {
    let mut total = None;
    for record in records {
        if let Item::Assistant { usage: Some(usage), .. } = &record.item {
            total.get_or_insert_with(Usage::default).add(usage);
        }
    }
    total
}
