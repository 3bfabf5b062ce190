//! From bytes to text that a model can read, and back.

use std::path::Path;

use super::MAX_WHOLE;

/// A text file as it is edited: without its byte order mark, with `\n` line ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    /// The text.
    pub text: String,
    bom: bool,
    crlf: bool,
}

/// Why bytes are no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotText {
    /// There is a NUL in the first 8,000 bytes, as Git decides it.
    Binary,
    /// Not UTF-8; the place of the first wrong byte.
    NotUtf8(usize),
}

const BOM: &str = "\u{feff}";

impl Text {
    pub fn of(bytes: &[u8]) -> Result<Self, NotText> {
        if bytes.iter().take(8_000).any(|byte| *byte == 0) {
            return Err(NotText::Binary);
        }
        let text = std::str::from_utf8(bytes).map_err(|error| NotText::NotUtf8(error.valid_up_to()))?;
        let (bom, text) = match text.strip_prefix(BOM) {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        // Only where every line ends so; a mixed file is kept as it is.
        let crlf = text.contains("\r\n") && text.matches('\n').count() == text.matches("\r\n").count();
        let text = if crlf { text.replace("\r\n", "\n") } else { text.to_owned() };
        Ok(Self { text, bom, crlf })
    }

    /// Other text in the same clothes.
    pub fn with(&self, text: String) -> Self {
        Self { text, ..*self }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let text = if self.crlf { self.text.replace('\n', "\r\n") } else { self.text.clone() };
        if self.bom { format!("{BOM}{text}").into_bytes() } else { text.into_bytes() }
    }
}

/// The bytes of a file that is to be taken whole.
pub(super) fn whole(path: &Path, shown: &str) -> Result<Vec<u8>, String> {
    let meta = std::fs::metadata(path).map_err(|error| format!("error: {shown}: {error}"))?;
    if !meta.is_file() {
        return Err(format!("error: {shown} is not a regular file"));
    }
    if meta.len() > MAX_WHOLE {
        return Err(format!(
            "error: {shown} has {} bytes; files over {MAX_WHOLE} bytes are not edited here",
            meta.len()
        ));
    }
    std::fs::read(path).map_err(|error| format!("error: {shown}: {error}"))
}

/// What to say of a file that is no text.
pub(super) fn describe_binary(shown: &str, head: &[u8], size: u64) -> String {
    let hex: Vec<String> = head.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let kind = match head {
        [0x89, b'P', b'N', b'G', ..] => " (a PNG picture)",
        [0xff, 0xd8, 0xff, ..] => " (a JPEG picture)",
        [b'G', b'I', b'F', b'8', ..] => " (a GIF picture)",
        [b'%', b'P', b'D', b'F', ..] => " (a PDF document)",
        [b'P', b'K', 3, 4, ..] => " (a ZIP archive or an office document)",
        [0x7f, b'E', b'L', b'F', ..] => " (an ELF program)",
        [0x1f, 0x8b, ..] => " (gzip data)",
        [b'S', b'Q', b'L', b'i', ..] => " (an SQLite database)",
        _ => "",
    };
    format!(
        "error: {shown} is binary{kind}: {size} bytes, beginning {}. It cannot be shown as text.",
        hex.join(" ")
    )
}
