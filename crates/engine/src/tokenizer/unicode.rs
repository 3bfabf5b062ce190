//! Unicode classes as bits, from the tables of `regex-syntax`: so the hand-written scanners and
//! the regex engine, which uses the same tables, agree on every character.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

/// Uppercase and titlecase letters: `\p{Lu}`, `\p{Lt}`.
pub(super) const UPPER: u8 = 1;
/// Lowercase letters: `\p{Ll}`.
pub(super) const LOWER: u8 = 1 << 1;
/// Letters without case: `\p{Lm}`, `\p{Lo}`.
pub(super) const UNCASED: u8 = 1 << 2;
/// Combining marks: `\p{M}`.
pub(super) const MARK: u8 = 1 << 3;
/// Numbers: `\p{N}`.
pub(super) const NUMBER: u8 = 1 << 4;
/// White space: `\s`.
pub(super) const SPACE: u8 = 1 << 5;
/// `\w`, for the borders of words.
pub(super) const WORD: u8 = 1 << 6;
/// Letters: `\p{L}`.
pub(super) const LETTER: u8 = UPPER | LOWER | UNCASED;

const PAGE: usize = 256;

/// Bits of every character, in pages of 256 of which equal ones are stored once.
struct Table {
    page_of: Vec<u16>,
    pages: Vec<[u8; PAGE]>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut bits = vec![0u8; 0x11_0000];
    for (pattern, bit) in [
        (r"[\p{Lu}\p{Lt}]", UPPER),
        (r"[\p{Ll}]", LOWER),
        (r"[\p{Lm}\p{Lo}]", UNCASED),
        (r"[\p{M}]", MARK),
        (r"[\p{N}]", NUMBER),
        (r"[\s]", SPACE),
        (r"[\w]", WORD),
    ] {
        let class = regex_syntax::parse(pattern).expect("the pattern is a constant");
        if let HirKind::Class(Class::Unicode(class)) = class.kind() {
            for range in class.ranges() {
                for bits in &mut bits[range.start() as usize..=range.end() as usize] {
                    *bits |= bit;
                }
            }
        }
    }
    let mut table = Table { page_of: Vec::new(), pages: Vec::new() };
    for chunk in bits.chunks_exact(PAGE) {
        let known = table.pages.iter().position(|page| page == chunk);
        let place = known.unwrap_or_else(|| {
            let mut page = [0; PAGE];
            page.copy_from_slice(chunk);
            table.pages.push(page);
            table.pages.len() - 1
        });
        table.page_of.push(place as u16);
    }
    table
});

/// A handle on the table, so that scanners pay for its initialisation check once.
#[derive(Clone, Copy)]
pub(super) struct Classes(&'static Table);

impl Classes {
    pub(super) fn get() -> Self {
        Self(&TABLE)
    }

    /// The bits of a character.
    pub(super) fn of(self, c: char) -> u8 {
        let c = c as usize;
        self.0.pages[usize::from(self.0.page_of[c / PAGE])][c % PAGE]
    }
}
