//! `chela sessions`.

use chela_agent::Undo;
use chela_protocol::{Compaction, Finish, Item, Provenance, Record};
use chela_store::{SessionInfo, Store, StoreError};
use chela_tools::undo::UndoLog;
use serde_json::{Value, json};

use crate::args;
use crate::chat;
use crate::commands::agent;
use crate::context::{Context, runtime};
use crate::exit::{Code, Failure, Outcome};
use crate::front::usage_line;
use crate::output::{self, say, tokens};
use crate::sessions::{self, failure, now};

/// Places that a search prints at most.
const HITS: usize = 50;
/// What stands for the newest session of a folder.
const LAST: &str = "last";

/// Runs the command.
pub fn run(command: args::Sessions, context: &Context) -> Outcome {
    let store = sessions::store(context)?;
    let named = |name: String| named(&store, context, name);
    match command {
        args::Sessions::List { json } => list(&store, json),
        args::Sessions::Show { session, json } => show(&store, &named(session)?, json),
        args::Sessions::Resume { session, message, json } => {
            let session = named(session.unwrap_or_else(|| LAST.to_owned()))?;
            store
                .get(&session)
                .map_err(failure)?
                .ok_or_else(|| failure(StoreError::Missing(session.clone())))?;
            resume(session, message, json, context)
        }
        args::Sessions::Search { words, json } => search(&store, &words.join(" "), json),
        args::Sessions::Undo { session, json } => undo(&store, context, &named(session)?, json),
        args::Sessions::Delete { session, json } => delete(&store, context, &named(session)?, json),
    }
}

/// A name as the store takes it: `last` is the newest session of this folder.
fn named(store: &Store, context: &Context, name: String) -> Result<String, Failure> {
    if name != LAST {
        return Ok(name);
    }
    let folder = context.workspace()?.display().to_string();
    match store.last(&folder).map_err(failure)? {
        Some(info) => Ok(info.row.id.to_string()),
        None => Err(Failure::usage(format!("there is no session of {folder} yet"))),
    }
}

fn resume(session: String, message: Option<String>, json: bool, context: &Context) -> Outcome {
    if message.is_none() {
        return chat::run(args::Chat { session: Some(session), ..args::Chat::default() }, context);
    }
    let args = args::Agent { message, session: Some(session), json, ..args::Agent::default() };
    agent::run(args, context)
}

fn list(store: &Store, as_json: bool) -> Outcome {
    let sessions = store.list().map_err(failure)?;
    if as_json {
        return output::json(&sessions.iter().map(info_json).collect::<Vec<_>>());
    }
    if sessions.is_empty() {
        say("no sessions yet");
        return Ok(());
    }
    let mut rows = vec![["NAME", "AGE", "ITEMS", "TOKENS", "COST", "TITLE"].map(str::to_owned).to_vec()];
    rows.extend(sessions.iter().map(|info| {
        let usage = &info.row.usage;
        let title = match &info.damaged {
            Some(why) => format!("damaged: {why}"),
            None => output::printable(&info.row.title),
        };
        vec![
            info.row.name.clone().unwrap_or_else(|| info.row.id.to_string()),
            age(now().saturating_sub(info.row.updated)),
            info.row.items.to_string(),
            tokens(usage.prompt + usage.completion),
            usage.cost.map(|cost| format!("{cost:.4}")).unwrap_or_default(),
            title,
        ]
    }));
    output::answer(&output::table(&rows))
}

fn info_json(info: &SessionInfo) -> Value {
    let mut value = serde_json::to_value(&info.row).unwrap_or_default();
    value["folder"] = json!(info.folder);
    value["agent"] = json!(info.agent);
    value["parent"] = json!(info.parent.map(|id| id.to_string()));
    value["created"] = json!(info.created);
    value["damaged"] = json!(info.damaged);
    value
}

/// `12 s`, `5 min`, `3 h`, `2 d`.
pub fn age(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0..=59 => format!("{seconds} s"),
        60..=3599 => format!("{} min", seconds / 60),
        3600..=86_399 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn show(store: &Store, name: &str, as_json: bool) -> Outcome {
    let records = store.read(name).map_err(failure)?;
    if as_json {
        return output::json(&records);
    }
    records.iter().filter_map(text).try_for_each(|text| output::answer(&text))
}

/// An item as people read it; none for what is only bookkeeping.
fn text(record: &Record) -> Option<String> {
    let shown = match &record.item {
        Item::User { text, attachments, images, .. } => {
            let files =
                attachments.iter().map(|file| &file.name).chain(images.iter().map(|image| &image.name));
            let files: String = files.map(|name| format!("[with {}]\n", output::printable(name))).collect();
            format!("> {}\n{files}", output::printable(text).replace('\n', "\n> "))
        }
        Item::Assistant { text, calls, usage, provenance, finish, .. } => {
            let mut shown = output::printable(text);
            for call in calls {
                shown.push_str(&format!("\n[{} {}]", call.name, output::printable(&call.arguments)));
            }
            let cut = if *finish == Finish::Cut { ", interrupted" } else { "" };
            let usage = usage.as_ref().map(|usage| format!("; {}", usage_line(usage))).unwrap_or_default();
            shown.push_str(&format!("\n({}{cut}{usage})", who(provenance)));
            shown.trim_start().to_owned() + "\n"
        }
        Item::ToolResult { name, content, .. } => format!("[{name}]\n{}\n", output::printable(content)),
        Item::Interrupted { reason } => format!("[{reason}]\n"),
        Item::Compaction(compaction) => compacted(compaction),
        Item::Prefix { .. } | Item::Nudge { .. } | Item::CallStarted { .. } => return None,
    };
    Some(shown + "\n")
}

/// `vllm/Qwen/Qwen3-8B at http://127.0.0.1:8000/v1, local`.
fn who(provenance: &Provenance) -> String {
    let Provenance { provider, model, endpoint, local } = provenance;
    let place = if *local { "local" } else { "not local" };
    format!("{provider}/{model} at {endpoint}, {place}")
}

fn compacted(compaction: &Compaction) -> String {
    let (before, after) = (tokens(compaction.before), tokens(compaction.after));
    let mut shown =
        format!("[context compacted from {before} to {after} tokens; what was said stays here]\n");
    if let Some(summary) = &compaction.summary {
        let by = compaction.provenance.as_ref().map_or("made without a model".to_owned(), who);
        shown.push_str(&format!("[summary, {by}]\n{}\n", output::printable(summary)));
    }
    shown
}

fn search(store: &Store, words: &str, as_json: bool) -> Outcome {
    let hits = store.search(words, HITS).map_err(failure)?;
    if as_json {
        let row = |hit: &chela_store::Hit| {
            json!({"session": hit.session.to_string(), "name": hit.name, "item": hit.item, "time": hit.time,
                "excerpt": hit.excerpt})
        };
        return output::json(&hits.iter().map(row).collect::<Vec<_>>());
    }
    if hits.is_empty() {
        say(format_args!("no item has all of: {words}"));
        return Err(Failure::new(Code::Failed, ""));
    }
    let rows: Vec<Vec<String>> = hits
        .iter()
        .map(|hit| {
            let name = hit.name.clone().unwrap_or_else(|| hit.session.to_string());
            let excerpt = output::printable(&hit.excerpt).replace('\n', " ");
            vec![name, hit.item.to_string(), age(now().saturating_sub(hit.time)), excerpt]
        })
        .collect();
    output::answer(&output::table(&rows))
}

fn undo(store: &Store, context: &Context, name: &str, as_json: bool) -> Outcome {
    let info =
        store.get(name).map_err(failure)?.ok_or_else(|| failure(StoreError::Missing(name.to_owned())))?;
    let log = UndoLog::new(context.paths.undo());
    let undone =
        runtime()?.block_on(log.undo(info.row.id, None)).map_err(|why| Failure::new(Code::Failed, why))?;
    if as_json {
        return output::json(
            &json!({"turn": undone.turn.to_string(), "files": undone.files, "kept": undone.kept}),
        );
    }
    for file in &undone.files {
        output::answer(&format!("as it was: {file}\n"))?;
    }
    for kept in &undone.kept {
        say(format_args!("not taken back: {kept}"));
    }
    Ok(())
}

/// Removes what is kept of the session's commands, whatever folder it worked in.
fn forget_outputs(context: &Context, session: chela_protocol::SessionId) -> Outcome {
    for folder in std::fs::read_dir(context.paths.outputs()).into_iter().flatten().flatten() {
        chela_tools::exec::Outputs::new(folder.path()).forget(session)?;
    }
    Ok(())
}

fn delete(store: &Store, context: &Context, name: &str, as_json: bool) -> Outcome {
    let info = store.delete(name).map_err(failure)?;
    UndoLog::new(context.paths.undo()).forget(info.row.id)?;
    forget_outputs(context, info.row.id)?;
    if as_json {
        return output::json(&info_json(&info));
    }
    say(format_args!("removed {}", info.row.name.unwrap_or_else(|| info.row.id.to_string())));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn ages_are_short() {
        let table =
            [(999, "0 s"), (59_000, "59 s"), (60_000, "1 min"), (7_200_000, "2 h"), (172_800_000, "2 d")];
        for (millis, wanted) in table {
            assert_eq!(age(millis), wanted);
        }
    }
}
