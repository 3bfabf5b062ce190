//! Making room in the window. First what is old and long is shortened, without a model; if that
//! is not enough, the model writes a summary of everything but the newest part. The user's own
//! words stay verbatim. Afterwards at most half of the window is used; where the model's summary
//! does not get there, a digest that needs no model does, and the user is told.

use std::sync::Arc;

use chela_protocol::{
    Compaction, Event, Finish, Item, ItemId, Level, Outcome, Provenance, Record, Shortened, Thinking, Usage,
};
use futures_util::StreamExt;

use crate::core::now;
use crate::meter::Count;
use crate::model::{Model, ModelEvent, Request};
use crate::tool::{floor, head_and_tail};
use crate::transcript::Transcript;
use crate::turn::Turn;

/// A tool result longer than this is worth shortening, to about half of it.
const LONG_RESULT: usize = 600;

/// Words by which a line of the user's is taken for a standing order.
const ORDERS: &[&str] =
    &["always", "never", "must", "only", "don't", "do not", "before", "confirm", "ask me", "remember"];

const SUMMARISE: &str = "\
Summarise the conversation so far for your own later use: what I want, what was done and found (files, \
commands, facts, figures), what is still open. Plain text, short. Call no tool.";

impl Turn<'_> {
    /// Compacts when the next request would leave too little room for an answer.
    pub async fn make_room(&mut self, model: &dyn Model) -> Result<(), Outcome> {
        let info = model.info();
        let reserve = info.max_output.min(info.window / 4);
        if self.tokens(model, info.window).await? + reserve <= info.window {
            return Ok(());
        }
        self.compact(model, info.window).await?;
        let tokens = self.tokens(model, info.window).await?;
        if tokens + info.window / 16 > info.window {
            return Err(Outcome::Failed {
                kind: chela_protocol::FailureKind::ContextOverflow,
                message: format!(
                    "the message needs about {tokens} tokens and the window of {} has {}; send less, or use \
                     a model with a larger window",
                    info.reference, info.window
                ),
            });
        }
        Ok(())
    }

    /// Tokens of the next request; counted by the server where it matters and it can.
    async fn tokens(&mut self, model: &dyn Model, window: u64) -> Result<u64, Outcome> {
        let request = self.session.request(true, self.thinking());
        let count = self.session.meter.count(&request);
        if count.exact || count.tokens < window / 2 {
            return Ok(count.tokens);
        }
        let exact = self.counted(model, &request).await?;
        if let Some(tokens) = exact {
            self.session.meter.learn(request.weight(), tokens);
        }
        Ok(exact.unwrap_or(count.tokens))
    }

    /// Compacts now.
    pub async fn compact(&mut self, model: &dyn Model, window: u64) -> Result<(), Outcome> {
        let target = window / 2;
        let before = self.size(model, &self.session.transcript).await?.tokens;
        let items = self.session.transcript.items();
        let newest = newest_batch(items);
        let mut compaction = Compaction {
            shortened: shorten(&items[..newest], LONG_RESULT),
            summary: None,
            pinned: Vec::new(),
            keep_from: None,
            before,
            after: 0,
            provenance: None,
        };
        if !compaction.shortened.is_empty() {
            let after = self.try_out(model, &mut compaction).await?;
            if after.tokens <= target {
                return self.commit(compaction, after, "old tool results were shortened").await;
            }
        }
        let items = self.session.transcript.items();
        let keep = keep_from(items, self.session.meter.bytes(window / 5));
        compaction.keep_from = items.get(keep).map(|record| record.id);
        compaction.pinned = self.pinned(&items[..keep], window);
        let dropped = items[..keep].to_vec();
        let mut why = None;
        if !dropped.is_empty() {
            match self.summarise(model, &dropped, &compaction.shortened, window).await? {
                Ok((summary, provenance)) => {
                    compaction.summary = Some(summary);
                    compaction.provenance = Some(provenance);
                    let after = self.try_out(model, &mut compaction).await?;
                    if after.tokens <= target {
                        return self.commit(compaction, after, "the model summarised it").await;
                    }
                    why = Some("the summary left too much".to_owned());
                }
                Err(error) => why = Some(error),
            }
        }
        self.fall_back(model, compaction, &dropped, window, why).await
    }

    /// Without the model: a digest, and everything long shortened.
    async fn fall_back(
        &mut self,
        model: &dyn Model,
        mut compaction: Compaction,
        dropped: &[Arc<Record>],
        window: u64,
        why: Option<String>,
    ) -> Result<(), Outcome> {
        let items = self.session.transcript.items();
        compaction.shortened = shorten(items, LONG_RESULT);
        compaction.provenance = None;
        if !dropped.is_empty() {
            compaction.summary = Some(digest(dropped, self.session.meter.bytes(window / 16)));
        }
        let mut counted = self.try_out(model, &mut compaction).await?;
        if counted.tokens > window / 2 && compaction.summary.is_some() {
            compaction.pinned = pin(compaction.pinned, self.session.meter.bytes(window / 32));
            counted = self.try_out(model, &mut compaction).await?;
        }
        let after = counted.tokens;
        if after >= compaction.before {
            self.notice(Level::Warn, "there is nothing left to compact").await;
            return Ok(());
        }
        if let Some(why) = why {
            let text = format!("compacted without the model's summary: {why}");
            self.notice(Level::Warn, text).await;
        }
        if after > window / 2 {
            let text = format!(
                "after compaction {after} of {window} tokens are still in use: the newest message is that long"
            );
            self.notice(Level::Warn, text).await;
        }
        self.commit(compaction, counted, "older parts were replaced by a digest").await
    }

    /// The tokens that would be in use afterwards.
    async fn try_out(&self, model: &dyn Model, compaction: &mut Compaction) -> Result<Count, Outcome> {
        let mut trial = self.session.transcript.clone();
        let item = Item::Compaction(compaction.clone());
        trial.push(Record { id: ItemId::new(), turn: self.id, time: now(), item });
        let after = self.size(model, &trial).await?;
        compaction.after = after.tokens;
        Ok(after)
    }

    /// Tokens of a transcript, counted by the server where it can.
    async fn size(&self, model: &dyn Model, transcript: &Transcript) -> Result<Count, Outcome> {
        let request = self.session.request_of(transcript.messages(), true, self.thinking());
        Ok(match self.counted(model, &request).await? {
            Some(tokens) => Count { tokens, exact: true },
            None => Count { tokens: self.session.meter.tokens(request.weight()), exact: false },
        })
    }

    /// What the server counts; none where it cannot.
    async fn counted(&self, model: &dyn Model, request: &Request) -> Result<Option<u64>, Outcome> {
        tokio::select! {
            biased;
            () = self.control.cancel.cancelled() => Err(Outcome::Stopped),
            tokens = model.count(request) => Ok(tokens),
        }
    }

    async fn commit(&mut self, compaction: Compaction, counted: Count, how: &str) -> Result<(), Outcome> {
        let (before, after) = (compaction.before, compaction.after);
        self.append(vec![Item::Compaction(compaction)]).await?;
        self.emit(Event::Compacted { before, after, how: how.to_owned() }).await;
        let window = self.core.model().info().window;
        self.emit(Event::ContextMeter { used: after, window, exact: counted.exact }).await;
        Ok(())
    }

    /// The user's words of these items and of the compactions before.
    fn pinned(&self, dropped: &[Arc<Record>], window: u64) -> Vec<String> {
        let mut words = self.session.transcript.pinned().to_vec();
        words.extend(dropped.iter().filter_map(|record| match &record.item {
            Item::User { text, .. } => Some(text.clone()),
            _ => None,
        }));
        pin(words, self.session.meter.bytes(window / 8))
    }

    /// Has the model summarise these items. The inner error says in words why there is no
    /// summary; the outer one ends the turn.
    async fn summarise(
        &mut self,
        model: &dyn Model,
        dropped: &[Arc<Record>],
        shortened: &[Shortened],
        window: u64,
    ) -> Result<Result<(String, Provenance), String>, Outcome> {
        let request = self.summary_request(dropped, shortened, window);
        let needed = self.session.meter.count(&request).tokens + window / 8;
        if needed > window {
            return Ok(Err("what there is to summarise does not fit the window".to_owned()));
        }
        let mut stream = model.stream(request);
        let mut text = String::new();
        let mut provenance = model.info().provenance;
        loop {
            let event = tokio::select! {
                biased;
                () = self.control.cancel.cancelled() => return Err(Outcome::Stopped),
                () = crate::step::at(self.deadline()) => return Err(self.out_of_time()),
                event = stream.next() => event,
            };
            match event {
                Some(Ok(ModelEvent::Text(more))) => text.push_str(&more),
                Some(Ok(ModelEvent::Answering(who))) => provenance = who,
                Some(Ok(ModelEvent::Waiting(seconds))) => self.emit(Event::Waiting { seconds }).await,
                Some(Ok(ModelEvent::Usage(usage))) => self.spent(&usage).await,
                Some(Ok(ModelEvent::Done(Finish::Stop | Finish::Length))) => break,
                Some(Ok(ModelEvent::Call { name, .. })) => {
                    return Ok(Err(format!("the model called {name} instead of summarising")));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Ok(Err(error.message)),
                None => break,
            }
        }
        let text = text.trim();
        if text.is_empty() {
            return Ok(Err("the model's summary was empty".to_owned()));
        }
        Ok(Ok((head_and_tail(text, self.session.meter.bytes(window / 8)), provenance)))
    }

    async fn spent(&mut self, usage: &Usage) {
        self.usage.add(usage);
        self.emit(Event::Usage(usage.clone())).await;
    }

    /// What was sent so far, with a request for a summary behind it: the same prefix, which
    /// the server has in its cache.
    fn summary_request(&self, dropped: &[Arc<Record>], shortened: &[Shortened], window: u64) -> Request {
        let mut part = self.session.transcript.clone();
        let record = |item| Record { id: ItemId::new(), turn: self.id, time: now(), item };
        part.truncate(dropped.len());
        part.push(record(Item::Compaction(Compaction {
            shortened: shortened.to_vec(),
            summary: None,
            pinned: Vec::new(),
            keep_from: None,
            before: 0,
            after: 0,
            provenance: None,
        })));
        part.push(record(Item::Nudge { text: SUMMARISE.to_owned() }));
        let mut request = self.session.request_of(part.messages(), false, Thinking::Off);
        request.max_tokens = Some((window / 8).max(64));
        request
    }
}

/// Where the results of the newest answer begin; they have not been read yet.
fn newest_batch(items: &[Arc<Record>]) -> usize {
    items.iter().rposition(|record| matches!(record.item, Item::Assistant { .. })).unwrap_or(items.len())
}

fn shorten(items: &[Arc<Record>], limit: usize) -> Vec<Shortened> {
    let short = |record: &Arc<Record>| match &record.item {
        Item::ToolResult { content, name, .. } if content.len() > limit => {
            let kept = head_and_tail(content, limit / 2);
            let content = format!("{kept}\n[shortened; call {name} again for all of it]");
            Some(Shortened { item: record.id, content })
        }
        _ => None,
    };
    items.iter().filter_map(short).collect()
}

/// The index of the first item to keep: as early as `budget` bytes allow, at the beginning of a
/// turn or of an answer, so that no result loses its call.
fn keep_from(items: &[Arc<Record>], budget: usize) -> usize {
    let begins = |at: &usize| matches!(items[*at].item, Item::User { .. } | Item::Assistant { .. });
    let mut weight = 0;
    let mut best = None;
    for at in (0..items.len()).rev() {
        weight += item_weight(&items[at].item);
        if weight > budget && best.is_some() {
            break;
        }
        if begins(&at) {
            best = Some(at);
        }
        if weight > budget {
            // Not even the newest part fits. It is kept all the same, from its beginning on.
            if best.is_some() {
                break;
            }
        }
    }
    best.unwrap_or(items.len())
}

fn item_weight(item: &Item) -> usize {
    match item {
        Item::User { text, context, attachments, .. } => {
            text.len() + context.len() + attachments.iter().map(|file| file.text.len()).sum::<usize>()
        }
        Item::Assistant { text, calls, .. } => {
            text.len() + calls.iter().map(|call| call.arguments.len() + 32).sum::<usize>()
        }
        Item::ToolResult { content, note, .. } => content.len() + note.len(),
        Item::Nudge { text } => text.len(),
        _ => 0,
    }
}

/// As many of the user's words as fit `budget` bytes: all of them where possible; else the
/// first, then lines that read like standing orders, then the newest.
fn pin(words: Vec<String>, budget: usize) -> Vec<String> {
    let total: usize = words.iter().map(String::len).sum();
    if total <= budget {
        return words;
    }
    let last = words.len().saturating_sub(1);
    let share = (budget / 3).max(80);
    let mut kept: Vec<String> = words
        .iter()
        .enumerate()
        .map(|(at, text)| if at == 0 || at == last { clip(text, share) } else { orders(text, share) })
        .collect();
    // The orders of the middle, the oldest first, until the budget is used.
    let mut left = budget.saturating_sub(kept[0].len() + kept[last].len());
    for text in kept.iter_mut().take(last).skip(1) {
        if text.len() > left {
            text.clear();
        }
        left -= text.len();
    }
    kept.retain(|text| !text.is_empty());
    kept
}

fn orders(text: &str, limit: usize) -> String {
    let is_order = |line: &&str| {
        let line = line.to_lowercase();
        ORDERS.iter().any(|word| line.contains(word))
    };
    clip(&text.lines().filter(is_order).collect::<Vec<_>>().join("\n"), limit)
}

fn clip(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    format!("{} [… {} bytes left out]", &text[..floor(text, limit)], text.len() - limit)
}

/// What happened, as far as code can tell.
fn digest(items: &[Arc<Record>], limit: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for record in items {
        match &record.item {
            Item::User { text, .. } => lines.push(format!("user: {}", clip(text, 120))),
            Item::Assistant { text, calls, .. } => {
                if !text.trim().is_empty() {
                    lines.push(format!("you: {}", clip(text.trim(), 160)));
                }
                lines.extend(
                    calls
                        .iter()
                        .map(|call| format!("you called {} {}", call.name, clip(&call.arguments, 80))),
                );
            }
            _ => {}
        }
    }
    head_and_tail(&lines.join("\n"), limit.max(200))
}
