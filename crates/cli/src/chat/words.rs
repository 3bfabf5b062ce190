//! What the chat says in words: greeting, status, lists, figures.

use chela_protocol::{
    ApproveMode, Item, Listing, ModelRow, Record, SessionId, SessionRow, Status, Thinking, ToolRow,
};

use super::Figures;
use super::calls::{Asked, Page};
use super::commands::COMMANDS;
use super::screen::{fit, wrapped};
use super::style::Style;
use crate::commands::sessions::age;
use crate::front::usage_line;
use crate::output::{count, printable, table, tokens};
use crate::sessions::now;

/// Sessions that `/sessions` lists.
const SESSIONS: usize = 20;

/// Enough of an id to name it: its time to the millisecond.
pub fn short_id(id: SessionId) -> String {
    id.to_string().chars().take(13).collect()
}

/// What stands above the first prompt.
pub fn greeting(status: &Status, page: Page) -> Vec<String> {
    let name = format!("Chela {}", env!("CARGO_PKG_VERSION"));
    let mut lines = vec![wrapped(&format!("{name} {}", model(status)), page.width)];
    // Only what it is called stands out.
    if let Some(rest) = lines[0].strip_prefix(&name) {
        lines[0] = Style::BOLD.paint(page.styled, &name) + &Style::DIM.paint(page.styled, rest);
    }
    let folder = format!("folder {}; {}", printable(&status.workspace), approve(status.approve));
    for line in [folder.as_str(), "/help lists the commands; Ctrl-C stops the model, Ctrl-D leaves"] {
        lines.push(Style::DIM.paint(page.styled, &wrapped(line, page.width)));
    }
    lines
}

fn model(status: &Status) -> String {
    let window = tokens(status.window);
    format!("with {} {}, window {window} tokens", printable(&status.model), place(status))
}

fn place(status: &Status) -> &'static str {
    if status.provenance.local { "on this machine" } else { "on another machine" }
}

/// What may happen without asking.
pub fn approve(mode: ApproveMode) -> String {
    let words = match mode {
        ApproveMode::Ask => "writes and commands ask first",
        ApproveMode::Edits => "writes in the folder and sandboxed commands go ahead",
        ApproveMode::All => "writes and commands go ahead, but for policy, keys and instructions",
        ApproveMode::None => "what would ask is refused",
    };
    format!("approve {mode}: {words}")
}

/// How much the model thinks, and whether that shows.
pub fn thinking(level: Thinking, shown: bool) -> String {
    format!("thinking {level}; thoughts are {}", if shown { "shown" } else { "hidden" })
}

/// `context 1,234 of 32,768 tokens (4%)`; without `exact` with the word `about`.
pub fn context((used, window, exact): (u64, u64, bool)) -> String {
    let about = if exact { "" } else { "about " };
    let percent = (used * 100 + window / 2).checked_div(window).unwrap_or(0);
    format!("context {about}{} of {} tokens ({percent}%)", tokens(used), tokens(window))
}

/// What a turn took.
pub fn figures(figures: &Figures, meter: (u64, u64, bool)) -> String {
    let mut line = context(meter);
    if figures.usage.completion > 0 {
        line.push_str(&format!("; {} answer tokens", tokens(figures.usage.completion)));
    }
    line.push_str(&format!("; {:.1} s", figures.took.as_secs_f64()));
    if figures.steps > 1 {
        line.push_str(&format!("; {} requests", figures.steps));
    }
    line
}

/// The answer to `/status`.
pub fn status(
    status: &Status,
    meter: Option<(u64, u64, bool)>,
    session: &str,
    name: Option<&str>,
    thoughts_shown: bool,
    page: Page,
) -> Vec<String> {
    let who = &status.provenance;
    let meter = context(meter.unwrap_or((status.used, status.window, false)));
    let name = name.map(|name| format!("{} ({session})", printable(name)));
    let rows = [
        ("model", printable(&status.model)),
        ("server", format!("{} {}", printable(&who.endpoint), place(status))),
        ("context", meter.trim_start_matches("context ").to_owned()),
        ("used", usage_line(&status.usage)),
        ("thinking", thinking(status.thinking, thoughts_shown).trim_start_matches("thinking ").to_owned()),
        ("approve", approve(status.approve).trim_start_matches("approve ").to_owned()),
        ("folder", printable(&status.workspace)),
        (
            "session",
            format!("{}, {}", name.as_deref().unwrap_or(session), count(status.items as usize, "item")),
        ),
    ];
    rows.map(|(label, value)| format!("{} {value}", Style::DIM.paint(page.styled, &format!("{label:9}"))))
        .to_vec()
}

/// The answer to `/help`.
pub fn help(page: Page) -> Vec<String> {
    let left = |command: &super::commands::Listed| format!("/{} {}", command.name, command.argument);
    let widest = COMMANDS.iter().map(|command| left(command).chars().count()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for command in COMMANDS {
        let left = left(command);
        let bold = Style::BOLD.paint(page.styled, &left);
        if page.width >= 70 {
            let space = " ".repeat(widest + 2 - left.chars().count());
            lines.push(format!("{bold}{space}{}", command.what));
        } else {
            lines.extend([bold, format!("    {}", command.what)]);
        }
    }
    lines.push(String::new());
    lines.extend(
        [
            "A line that ends with \\ goes on in the next one, and so does a block between lines of ```.",
            "What you type while the model works is sent to it at once. Ctrl-C stops the model.",
        ]
        .map(|line| Style::DIM.paint(page.styled, &wrapped(line, page.width))),
    );
    lines
}

/// The choices of an approval.
pub fn choices(asked: &Asked) -> String {
    format!("y once, a in this session, n no; no answer in {} s is no: ", tokens(asked.timeout))
}

/// The names by which sessions are continued.
pub fn session_names(rows: &[SessionRow]) -> Vec<String> {
    rows.iter().take(SESSIONS).map(|row| row.name.clone().unwrap_or_else(|| short_id(row.id))).collect()
}

/// A list that was asked for.
pub fn listing(listing: &Listing, open: Option<SessionId>, page: Page) -> Vec<String> {
    match listing {
        Listing::Models(rows) => models(rows, page),
        Listing::Sessions(rows) => sessions(rows, open, page),
        Listing::Tools(rows) => tools(rows, page),
    }
}

fn models(rows: &[ModelRow], page: Page) -> Vec<String> {
    let row = |row: &ModelRow| {
        vec![
            if row.current { "*" } else { " " }.to_owned(),
            printable(&row.model),
            row.window.map(|window| format!("{} tokens", tokens(window))).unwrap_or_default(),
            if row.local { "on this machine" } else { "" }.to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = rows.iter().map(row).collect();
    let mut lines = columns(&rows, page);
    lines.push(Style::DIM.paint(page.styled, "/model NAME uses another one"));
    lines
}

fn sessions(rows: &[SessionRow], open: Option<SessionId>, page: Page) -> Vec<String> {
    let said: Vec<&SessionRow> = rows.iter().filter(|row| row.items > 0).collect();
    let hidden = said.len().saturating_sub(SESSIONS);
    let row = |row: &&SessionRow| {
        vec![
            if Some(row.id) == open { "*" } else { " " }.to_owned(),
            row.name.clone().unwrap_or_else(|| short_id(row.id)),
            age(now().saturating_sub(row.updated)),
            tokens(row.usage.prompt + row.usage.completion),
            printable(&row.title).replace('\n', " "),
        ]
    };
    let rows: Vec<Vec<String>> = said.iter().take(SESSIONS).map(row).collect();
    let mut lines = columns(&rows, page);
    if rows.is_empty() {
        return vec!["nothing was said in any session yet".to_owned()];
    }
    if hidden > 0 {
        lines.push(format!("  and {} more: chela sessions list", tokens(hidden as u64)));
    }
    lines.push(Style::DIM.paint(page.styled, "/sessions NAME continues one"));
    lines
}

fn tools(rows: &[ToolRow], page: Page) -> Vec<String> {
    let row = |row: &ToolRow| {
        let kind = if row.read_only { "only reads" } else { "" };
        vec![row.name.clone(), kind.to_owned(), printable(&row.description).replace('\n', " ")]
    };
    columns(&rows.iter().map(row).collect::<Vec<_>>(), page)
}

fn columns(rows: &[Vec<String>], page: Page) -> Vec<String> {
    table(rows).lines().map(|line| fit(line, page.width)).collect()
}

/// The last message of the user and the answer to it.
pub fn last_exchange(records: &[Record]) -> (Option<&str>, Option<&str>) {
    let user = records.iter().rposition(|record| matches!(record.item, Item::User { .. }));
    let Some(at) = user else { return (None, None) };
    let Item::User { text: user, .. } = &records[at].item else { return (None, None) };
    let answer = records[at..].iter().rev().find_map(|record| match &record.item {
        Item::Assistant { text, .. } if !text.trim().is_empty() => Some(text.as_str()),
        _ => None,
    });
    (Some(user), answer)
}
