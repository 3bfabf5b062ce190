//! The whole answer: text, reasoning and calls.

use std::collections::BTreeMap;

use serde_json::Value;

use super::lark::{ANY, Lark, Part, any_of, escaped, string, token};
use super::schema::{self, Level};
use super::values::Values;
use super::{Guarded, harmony};
use crate::dialect::Dialect;
use crate::dialect::shape::{self, Args, GAP, Place, Shape};
use crate::reasoning::ReasoningMarkers;
use crate::tools::{ToolSet, ToolSpec};

type Dropped = BTreeMap<String, Vec<String>>;

/// The grammar's text.
pub(super) fn write(of: &Guarded<'_>, tools: &ToolSet, levels: &[Level], dropped: &mut Dropped) -> String {
    let mut lark = Lark::new(of.specials);
    let tools: Vec<_> = tools.iter().zip(levels).map(|(tool, level)| Tool::new(tool, *level)).collect();
    let mut calls = Calls { of, lark: &mut lark, tools: &tools, rules: Vec::new(), dropped };
    let start = match of.dialect {
        Dialect::Harmony => harmony::write(&mut calls),
        _ => calls.answer(),
    };
    lark.finish(&start)
}

/// A tool, its tightened schema, and how much of it is kept.
pub(super) struct Tool<'a> {
    pub(super) spec: &'a ToolSpec,
    schema: Value,
    lost: Vec<String>,
    level: Level,
}

impl<'a> Tool<'a> {
    fn new(spec: &'a ToolSpec, level: Level) -> Self {
        let schema::Tightened { schema, dropped } = schema::tighten(&spec.parameters, level);
        Self { spec, schema, lost: dropped, level }
    }
}

/// Writes calls.
pub(super) struct Calls<'c, 'a> {
    pub(super) of: &'c Guarded<'a>,
    pub(super) lark: &'c mut Lark<'a>,
    pub(super) tools: &'c [Tool<'c>],
    /// The rules of arguments that are written already: the tool's number, the notation, the rule.
    rules: Vec<(usize, Args, String)>,
    dropped: &'c mut Dropped,
}

/// A place where free text ends, and the rule of what follows.
#[derive(Clone)]
struct Exit {
    place: Place,
    /// The marker, or at a start or a line a pattern with gaps.
    pattern: String,
    then: String,
}

impl Calls<'_, '_> {
    /// The rule of a tool's arguments.
    pub(super) fn arguments(&mut self, index: usize, args: Args) -> String {
        if let Some((.., rule)) = self.rules.iter().find(|(i, a, _)| (*i, *a) == (index, args)) {
            return rule.clone();
        }
        let tool = &self.tools[index];
        let mut values = Values::new(self.lark, &tool.schema, tool.spec, tool.level);
        let body = values.arguments(args);
        let mut lost = tool.lost.clone();
        lost.extend(std::mem::take(&mut values.dropped));
        let rule = self.lark.rule("arguments", &body);
        self.rules.push((index, args, rule.clone()));
        if !lost.is_empty() {
            let known = self.dropped.entry(tool.spec.name.clone()).or_default();
            lost.retain(|keyword| !known.contains(keyword));
            known.extend(lost);
        }
        rule
    }

    /// The shapes of the dialect that this vocabulary can write.
    fn shapes(&self) -> Vec<Shape> {
        let table = self.of.dialect.table();
        let specials = self.of.specials;
        let mut all = Vec::new();
        for form in table.forms {
            let shapes = shape::shapes(table, form);
            // Of a separator that may be missing, the vocabulary says whether the model writes it.
            let separated = shapes.iter().any(|shape| specials.id(&shape.after).is_some());
            let optional = shapes.iter().any(|shape| shape.after.is_empty() && shape.args == Args::Json);
            let fits = |shape: &Shape| !optional || separated == specials.id(&shape.after).is_some();
            all.extend(shapes.into_iter().filter(fits));
        }
        all
    }

    fn answer(&mut self) -> String {
        let shapes = self.shapes();
        let answer = self.lark.name("answer");
        let markers: Vec<ReasoningMarkers> =
            self.of.reasoning.styles().iter().filter_map(|style| style.markers()).collect();
        let opened = self.of.reasoning.starts_in().and_then(|style| style.markers());
        let reasoning: Vec<_> = markers.iter().map(|_| self.lark.name("reasoning")).collect();

        // In reasoning a call may begin as well, but none that needs to be the first thing.
        for (markers, rule) in markers.iter().zip(&reasoning) {
            let mut exits = vec![Exit::marker(markers.close, &answer)];
            for shape in shapes.iter().filter(|shape| shape.place != Place::Start) {
                exits.extend(self.exits(shape, Some(rule)));
            }
            self.region(rule, &exits, !self.of.required && self.of.answer.is_none());
        }

        let opens: Vec<Exit> = markers
            .iter()
            .zip(&reasoning)
            .map(|(markers, rule)| match markers.anywhere {
                true => Exit::marker(markers.open, rule),
                false => Exit { place: Place::Start, ..Exit::marker(markers.open, rule) },
            })
            .collect();
        if self.of.required || self.of.answer.is_some() {
            let mut forced = self.forced(&shapes, &opens);
            if let Some(structured) = self.of.answer.filter(|_| !self.of.required) {
                let rule = super::answer::rule(self.lark, structured);
                forced += &format!(" | WS? {rule}");
            }
            self.lark.define(&answer, &forced);
        } else {
            let mut exits = opens;
            for shape in &shapes {
                exits.extend(self.exits(shape, Some(&answer)));
            }
            self.region(&answer, &exits, true);
        }
        match opened.and_then(|open| markers.iter().position(|markers| *markers == open)) {
            Some(at) => reasoning[at].clone(),
            None => answer,
        }
    }

    /// A call from the start, or reasoning and then a call.
    fn forced(&mut self, shapes: &[Shape], opens: &[Exit]) -> String {
        let mut groups = Vec::new();
        let more = self.lark.name("more");
        for shape in shapes {
            let again = (self.of.parallel && !shape.last).then_some(more.as_str());
            for exit in self.exits(shape, None) {
                let pattern = self.lark.literal(&exit.pattern);
                groups.push(format!("WS? {pattern} {} {}", exit.then, again.unwrap_or_default()));
            }
        }
        let calls = self.lark.rule("calls", &groups.join(" | "));
        self.lark.define(&more, &format!("{calls} | \"\""));
        let mut ways = vec![calls];
        for open in opens {
            let pattern = self.lark.literal(&open.pattern);
            ways.push(format!("WS? {pattern} {}", open.then));
        }
        ways.join(" | ")
    }

    /// Where free text goes over to calls of a shape. After them `then` follows where more may come.
    fn exits(&mut self, shape: &Shape, then: Option<&str>) -> Vec<Exit> {
        let then = then.filter(|_| self.of.parallel && !shape.last).unwrap_or_default().to_owned();
        let after = self.lark.literal(&shape.close);
        let end = self.end(shape);
        let each = self.each(shape);
        let between = shape.between.as_ref().filter(|_| self.of.parallel);
        let more = match between {
            Some(between) => format!("({} {})*", self.lark.literal(between), each),
            None => String::new(),
        };
        if shape.place == Place::Anywhere {
            let lead = self.lark.literal(&shape.lead);
            let rule = self.lark.rule("group", &format!("{lead} {each} {more} {end} {then}"));
            return vec![Exit::marker(shape.open, &rule)];
        }
        let mut exits = Vec::new();
        for index in 0..self.tools.len() {
            let arguments = self.arguments(index, shape.args);
            let head = format!("{}{}", shape.lead, self.head(shape, index));
            let (pattern, gap) = match head.strip_suffix(GAP) {
                Some(head) => (head.to_owned(), "WS?"),
                None => (head, ""),
            };
            let pattern = pattern.trim_start_matches(GAP).to_owned();
            let body = format!("{gap} {arguments} {after} {more} {end} {then}");
            let then = self.lark.rule("group", &body);
            exits.push(Exit { place: shape.place, pattern, then });
        }
        exits
    }

    fn end(&self, shape: &Shape) -> String {
        let end = self.lark.literal(&shape.end);
        let tails: Vec<_> =
            shape.tail.iter().filter_map(|tail| self.of.specials.id(tail)).map(token).collect();
        match tails.is_empty() {
            true => end,
            false => format!("{end} ({})?", tails.join(" | ")),
        }
    }

    /// The rule of one call.
    fn each(&mut self, shape: &Shape) -> String {
        let close = self.lark.literal(&shape.close);
        let mut calls = Vec::new();
        for index in 0..self.tools.len() {
            let arguments = self.arguments(index, shape.args);
            let head = self.head(shape, index);
            let head = self.lark.literal(&head);
            let number = if shape.counted { self.counted(shape, index) } else { head };
            calls.push(format!("{number} {arguments} {close}"));
        }
        self.lark.rule("call", &calls.join(" | "))
    }

    /// What stands before a tool's arguments.
    fn head(&self, shape: &Shape, index: usize) -> String {
        let name = written_name(&self.tools[index].spec.name, shape.quoted);
        format!("{}{name}{}", shape.before, shape.after)
    }

    fn counted(&self, shape: &Shape, index: usize) -> String {
        let name = format!("{}{}:", shape.before, self.tools[index].spec.name);
        format!("{} /[0-9]{{1,3}}/ {}", self.lark.literal(&name), self.lark.literal(&shape.after))
    }

    /// Free text up to one of `exits`; with `ends` it may also be the end of the answer.
    fn region(&mut self, name: &str, exits: &[Exit], ends: bool) {
        let specials = self.of.specials;
        // A marker that is a token of its own cannot be spelled out instead.
        let mut body = ANY.to_owned();
        for exit in exits.iter().filter(|exit| exit.place == Place::Anywhere) {
            if specials.cut(&exit.pattern).iter().any(|part| matches!(part, Part::Token(_))) {
                body += &format!(" & ~/(?s:.*){}(?s:.*)/", escaped(&exit.pattern));
            }
        }
        let text = self.lark.terminal(&body);
        let mut ways = Vec::new();
        if ends {
            ways.push(text.clone());
        }
        let mut heads: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut lazies: BTreeMap<(bool, String), Vec<String>> = BTreeMap::new();
        for exit in exits {
            if exit.place != Place::Anywhere {
                if let Some(Part::Token(_)) = specials.cut(&exit.pattern).first() {
                    ways.push(format!("WS? {} {}", self.lark.literal(&exit.pattern), exit.then));
                    continue;
                }
                let line = exit.place == Place::Line;
                lazies.entry((line, exit.pattern.clone())).or_default().push(exit.then.clone());
                continue;
            }
            match specials.cut(&exit.pattern).split_first() {
                Some((Part::Token(_), _)) => {
                    ways.push(format!("{text} {} {}", self.lark.literal(&exit.pattern), exit.then));
                }
                Some((Part::Text(head), rest)) => {
                    let rest: Vec<_> = rest
                        .iter()
                        .map(|part| match part {
                            Part::Text(text) => string(text),
                            Part::Token(id) => token(*id),
                        })
                        .collect();
                    heads.entry(head.clone()).or_default().push(format!("{} {}", rest.join(" "), exit.then));
                }
                None => {}
            }
        }
        for (head, mut thens) in heads {
            let piece = self.lark.lazy(&body, &head);
            // Before a token that did not come, the text was text.
            let whole = thens.iter().any(|then| then.starts_with(' '));
            if !whole {
                thens.push(name.to_owned());
            }
            ways.push(format!("{piece} ({})", thens.join(" | ")));
        }
        for ((line, pattern), thens) in &lazies {
            let before = if *line { "((?s:.*)\\n)?\\s*" } else { "\\s*" };
            let mut head = format!("/{before}{}/", gapped(pattern));
            // A head that ends a longer one, as an object does in its fence, is not itself there.
            for (_, longer) in lazies.keys().filter(|(_, other)| other != pattern && other.ends_with(pattern))
            {
                head += &format!(" & ~/{before}{}/", gapped(longer));
            }
            let head = self.lark.terminal(&head);
            let rule = self.lark.name("head");
            self.lark.define(&format!("{rule}[lazy]"), &head);
            ways.push(format!("{rule} {}", any_of(thens)));
        }
        self.lark.define(name, &ways.join(" | "));
    }
}

/// A pattern as a regular expression.
fn gapped(pattern: &str) -> String {
    pattern.split(GAP).map(escaped).collect::<Vec<_>>().join("[ \\t\\r\\n]{0,8}")
}

impl Exit {
    fn marker(marker: &str, then: &str) -> Self {
        Self { place: Place::Anywhere, pattern: marker.to_owned(), then: then.to_owned() }
    }
}

/// A tool's name as a call has it.
pub(crate) fn written_name(name: &str, quoted: bool) -> String {
    match quoted {
        true => {
            let text = Value::from(name).to_string();
            text[1..text.len() - 1].to_owned()
        }
        false => name.to_owned(),
    }
}
