//! Calls without markers: JSON objects, fenced or bare, that are the whole rest of an answer.

use super::json_call::{Call, calls_in, entry_fault};
use super::reader::{Cx, Step};
use super::scan::{JsonScan, Scan};

const FENCE: &str = "```";
/// Languages that a fence around a call may be labelled with.
const LABELS: &[&str] = &["", "json", "tool_call", "tool_calls", "tool_code"];
/// The longest label that is waited for.
const LABEL: usize = 16;

/// Reads JSON objects that are calls by their keys and names, up to the end of the answer.
#[derive(Debug)]
pub(super) struct FencedReader {
    at: usize,
    in_fence: bool,
    in_array: bool,
    /// Whether an object may begin here.
    expects: bool,
    scan: Option<JsonScan>,
    calls: Vec<Call>,
}

impl FencedReader {
    pub(super) fn new() -> Self {
        Self { at: 0, in_fence: false, in_array: false, expects: true, scan: None, calls: Vec::new() }
    }

    pub(super) fn advance(&mut self, cx: &mut Cx<'_>) -> Step {
        loop {
            let step = if self.scan.is_some() { self.object(cx) } else { self.between(cx) };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// Reads what stands between objects. `None` to go on.
    fn between(&mut self, cx: &mut Cx<'_>) -> Option<Step> {
        self.at = cx.skip_space(self.at);
        let rest = &cx.text[self.at..];
        let Some(first) = rest.chars().next() else {
            return Some(self.at_end(cx));
        };
        match first {
            '{' if self.expects => self.scan = Some(JsonScan::new(self.at)),
            '[' if self.expects && !self.in_array => {
                self.in_array = true;
                self.at += 1;
            }
            ']' if self.in_array && !self.calls.is_empty() => {
                self.in_array = false;
                self.expects = true;
                self.at += 1;
            }
            ',' | ';' if !self.calls.is_empty() => {
                self.expects = true;
                self.at += 1;
            }
            '`' => return self.fence(cx),
            _ => return Some(Step::Reject(self.at)),
        }
        None
    }

    fn fence(&mut self, cx: &Cx<'_>) -> Option<Step> {
        let rest = &cx.text[self.at..];
        let reject = Some(Step::Reject(self.at));
        if !rest.starts_with(FENCE) {
            let open = FENCE.starts_with(rest) && !cx.end;
            return if open { Some(Step::Wait) } else { reject };
        }
        let label = &rest[FENCE.len()..];
        if self.in_fence {
            // A closing fence ends with its line.
            let more = label.trim_start_matches([' ', '\t']);
            let spaces = label.len() - more.len();
            if spaces > LABEL || !(more.is_empty() || more.starts_with(['\n', '\r'])) {
                return reject;
            }
            if more.is_empty() && !cx.end {
                return Some(Step::Wait);
            }
            self.in_fence = false;
            self.expects = true;
            self.at += FENCE.len();
            return None;
        }
        if !self.expects || self.in_array {
            return reject;
        }
        match label.split_once('\n') {
            Some((label, _)) if LABELS.contains(&label.trim()) => {
                self.in_fence = true;
                self.at += FENCE.len() + label.len() + 1;
                None
            }
            None if label.len() <= LABEL && !cx.end => Some(Step::Wait),
            _ => reject,
        }
    }

    fn object(&mut self, cx: &mut Cx<'_>) -> Option<Step> {
        let scan = self.scan.as_mut()?;
        let found = scan.advance(cx.text, &[], false, cx.end);
        for entry in scan.entries() {
            if let Some(at) = entry_fault(cx, entry, true) {
                return Some(Step::Reject(at));
            }
        }
        let Scan::End(at) = found else {
            return Some(if cx.end { Step::Reject(cx.text.len()) } else { Step::Wait });
        };
        match calls_in(&cx.text[scan.start()..at], true) {
            Ok(calls) if calls.iter().all(|call| cx.accept(&call.name).is_some()) => {
                self.calls.extend(calls);
            }
            _ => return Some(Step::Reject(at)),
        }
        self.scan = None;
        self.at = at;
        // The next object stands on a line of its own, after a comma, or after a semicolon.
        self.expects = !self.in_array;
        None
    }

    fn at_end(&mut self, cx: &mut Cx<'_>) -> Step {
        if !cx.end {
            return Step::Wait;
        }
        if self.calls.is_empty() || self.in_array {
            return Step::Reject(self.at);
        }
        for call in &self.calls {
            let name = cx.accept(&call.name).unwrap_or(&call.name);
            cx.emit.call(name, &call.arguments);
        }
        Step::Done(self.at)
    }
}
