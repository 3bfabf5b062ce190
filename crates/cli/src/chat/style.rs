//! How a piece of text looks, and the escapes that say so.

use std::fmt::Write as _;

/// A colour of the terminal's own palette.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Cyan = 36,
}

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    pub bold: bool,
    pub dim: bool,
    pub italic: bool,
    pub underline: bool,
    pub struck: bool,
    pub colour: Option<Colour>,
}

impl Style {
    pub const PLAIN: Self =
        Self { bold: false, dim: false, italic: false, underline: false, struck: false, colour: None };
    pub const BOLD: Self = Self { bold: true, ..Self::PLAIN };
    pub const DIM: Self = Self { dim: true, ..Self::PLAIN };

    /// Nothing but this colour.
    pub const fn of(colour: Colour) -> Self {
        Self { colour: Some(colour), ..Self::PLAIN }
    }

    /// Both at once.
    pub fn and(self, more: Self) -> Self {
        Self {
            bold: self.bold || more.bold,
            dim: self.dim || more.dim,
            italic: self.italic || more.italic,
            underline: self.underline || more.underline,
            struck: self.struck || more.struck,
            colour: more.colour.or(self.colour),
        }
    }

    /// The escape that leads from any style to this one.
    pub fn escape(self) -> String {
        let flags = [(self.bold, 1), (self.dim, 2), (self.italic, 3), (self.underline, 4), (self.struck, 9)];
        let mut text = "\x1b[0".to_owned();
        let codes = flags.into_iter().filter(|(on, _)| *on).map(|(_, code)| code);
        for code in codes.chain(self.colour.map(|colour| colour as i32)) {
            let _ = write!(text, ";{code}");
        }
        text.push('m');
        text
    }

    /// `text` in this style, or as it is where nothing may be styled.
    pub fn paint(self, styled: bool, text: &str) -> String {
        if styled && self != Self::PLAIN && !text.is_empty() {
            format!("{}{text}\x1b[0m", self.escape())
        } else {
            text.to_owned()
        }
    }
}
