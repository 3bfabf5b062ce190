//! Collects pieces and numbers the calls.

use super::Piece;

#[derive(Debug, Default)]
pub(super) struct Emitter {
    pieces: Vec<Piece>,
    next: usize,
    open: Option<usize>,
}

impl Emitter {
    pub(super) fn take(&mut self) -> Vec<Piece> {
        std::mem::take(&mut self.pieces)
    }

    pub(super) fn text(&mut self, text: &str, reasoning: bool) {
        if text.is_empty() {
            return;
        }
        match (self.pieces.last_mut(), reasoning) {
            (Some(Piece::Text(last)), false) | (Some(Piece::Reasoning(last)), true) => {
                last.push_str(text);
            }
            (_, false) => self.pieces.push(Piece::Text(text.to_owned())),
            (_, true) => self.pieces.push(Piece::Reasoning(text.to_owned())),
        }
    }

    pub(super) fn start(&mut self, name: &str) {
        let index = self.next;
        self.next += 1;
        self.open = Some(index);
        self.pieces.push(Piece::ToolCallStart { index, name: name.to_owned() });
    }

    pub(super) fn args(&mut self, delta: &str) {
        if let Some(index) = self.open
            && !delta.is_empty()
        {
            self.pieces.push(Piece::ToolCallArgs { index, delta: delta.to_owned() });
        }
    }

    pub(super) fn end(&mut self) {
        if let Some(index) = self.open.take() {
            self.pieces.push(Piece::ToolCallEnd { index });
        }
    }

    /// A whole call at once.
    pub(super) fn call(&mut self, name: &str, arguments: &str) {
        self.start(name);
        self.args(arguments);
        self.end();
    }

    /// Takes back the call that is open, if one is, and gives the text that was to be one.
    pub(super) fn malformed(&mut self, raw: &str, why: String) {
        let index = self.open.take();
        if let Some(index) = index {
            self.next = index;
        }
        self.pieces.push(Piece::Malformed { index, raw: raw.to_owned(), why });
    }
}
