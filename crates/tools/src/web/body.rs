//! From the body of a response to text: what kind it is, in which encoding, and how much of it.

use chela_client::transport::{Response, TransportError};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use futures_util::StreamExt;

/// Bytes of a body that are read.
pub(super) const LARGEST: usize = 4 << 20;

/// What a body is by its `Content-Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A page.
    Html,
    /// Text as it is.
    Text,
    /// Not said: the bytes tell.
    Unknown,
    /// Nothing that can be read.
    Other,
}

/// `text/html; charset=x` and its like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ContentType {
    /// Type and subtype, in small letters.
    pub essence: String,
    charset: Option<String>,
}

impl ContentType {
    pub fn parse(header: Option<&str>) -> Self {
        let mut parts = header.unwrap_or_default().split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        let charset = parts.find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_owned())
        });
        Self { essence, charset }
    }

    pub fn kind(&self) -> Kind {
        const TEXTS: &[&str] = &[
            "json",
            "xml",
            "yaml",
            "x-yaml",
            "toml",
            "javascript",
            "x-javascript",
            "ecmascript",
            "typescript",
            "ndjson",
            "x-ndjson",
            "jsonl",
            "jsonlines",
            "csv",
            "sql",
            "graphql",
            "x-sh",
            "x-tex",
            "x-httpd-php",
            "x-www-form-urlencoded",
            "atom",
            "rss",
            "markdown",
        ];
        let Some((kind, subtype)) = self.essence.split_once('/') else { return Kind::Unknown };
        let suffix = subtype.rsplit_once('+').map(|(_, suffix)| suffix);
        match (kind, subtype) {
            ("text", "html") | ("application", "xhtml+xml") => Kind::Html,
            ("text", _) => Kind::Text,
            ("application", "octet-stream" | "unknown") => Kind::Unknown,
            ("application", _) if TEXTS.contains(&subtype) => Kind::Text,
            ("application" | "model" | "message", _) if matches!(suffix, Some("json" | "xml" | "yaml")) => {
                Kind::Text
            }
            _ => Kind::Other,
        }
    }
}

/// The beginning of a body.
#[derive(Debug, Clone)]
pub(super) struct Body {
    pub bytes: Vec<u8>,
    /// There is more.
    pub cut: bool,
}

/// Reads at most [`LARGEST`] bytes.
pub(super) async fn read(response: Response) -> Result<Body, TransportError> {
    let mut stream = response.body;
    let mut bytes: Vec<u8> = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        let room = LARGEST - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok(Body { bytes, cut: true });
        }
    }
    Ok(Body { bytes, cut: false })
}

impl Body {
    fn is_utf8(&self) -> bool {
        match std::str::from_utf8(&self.bytes) {
            Ok(_) => true,
            // A character that the limit cut in two is no fault.
            Err(error) => self.cut && error.error_len().is_none(),
        }
    }
}

/// What a body of an unknown kind is, or none where it is no text.
pub(super) fn sniff(body: &Body) -> Option<Kind> {
    let bytes = &body.bytes;
    let head = &bytes[..bytes.len().min(1_000)];
    let head = String::from_utf8_lossy(head).trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    if head.starts_with("<!doctype html") || head.starts_with("<html") {
        return Some(Kind::Html);
    }
    (body.is_utf8() && !is_binary(bytes)).then_some(Kind::Text)
}

/// A NUL near the beginning, where no encoding of two bytes explains it.
pub(super) fn is_binary(bytes: &[u8]) -> bool {
    let wide = Encoding::for_bom(bytes).is_some_and(|(encoding, _)| encoding != UTF_8);
    !wide && bytes.iter().take(8_000).any(|byte| *byte == 0)
}

/// The text of a body. The encoding is what the byte order mark says, else the header, else the
/// document (Encoding standard, "decode", and HTML standard, "prescan"); without any of them it
/// is UTF-8, or windows-1252 where it is not.
pub(super) fn decode(body: &Body, content_type: &ContentType) -> String {
    let bytes = body.bytes.as_slice();
    let by_header = || Encoding::for_label(content_type.charset.as_deref()?.as_bytes());
    let by_document = || {
        let found = Encoding::for_label(prescan(bytes)?.as_bytes())?;
        // The words could be read as ASCII, so that they are wrong.
        Some(if found == UTF_16LE || found == UTF_16BE { UTF_8 } else { found })
    };
    let by_bytes = || if body.is_utf8() { UTF_8 } else { WINDOWS_1252 };
    let said = Encoding::for_bom(bytes).map(|(encoding, _)| encoding);
    let encoding = said.or_else(by_header).or_else(by_document).unwrap_or_else(by_bytes);
    encoding.decode(bytes).0.into_owned()
}

/// The encoding that the first kilobyte names: `charset=` of a page, `encoding=` of XML.
fn prescan(bytes: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(1_024)]).to_ascii_lowercase();
    let at = match head.find("charset") {
        Some(at) => at + "charset".len(),
        None if head.starts_with("<?xml") => head.find("encoding")? + "encoding".len(),
        None => return None,
    };
    let value = head[at..].trim_start().strip_prefix('=')?.trim_start().trim_start_matches(['"', '\'']);
    let end = value.find(|c: char| !(c.is_ascii_alphanumeric() || "-_:.".contains(c)));
    Some(value[..end.unwrap_or(value.len())].to_owned())
}

/// Text without what no reader sees: control characters, which terminals obey, and the invisible
/// ones (zero width, directions, tags), which hide words from the user and not from the model.
pub(crate) fn visible(text: &str) -> String {
    let keep = |c: &char| match c {
        '\n' | '\t' => true,
        '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{00ad}' => false,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{e0000}'..='\u{e007f}' => false,
        c => !c.is_control(),
    };
    text.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(bytes: &[u8], cut: bool) -> Body {
        Body { bytes: bytes.to_vec(), cut }
    }

    #[test]
    fn kinds() {
        let table = [
            ("text/html; charset=utf-8", Kind::Html),
            ("application/xhtml+xml", Kind::Html),
            ("text/plain", Kind::Text),
            ("TEXT/Markdown", Kind::Text),
            ("application/json", Kind::Text),
            ("application/ld+json", Kind::Text),
            ("application/rss+xml", Kind::Text),
            ("", Kind::Unknown),
            ("application/octet-stream", Kind::Unknown),
            ("application/pdf", Kind::Other),
            ("image/png", Kind::Other),
            ("image/svg+xml", Kind::Other),
            ("application/zip", Kind::Other),
            ("video/mp4", Kind::Other),
            ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", Kind::Other),
        ];
        for (header, kind) in table {
            assert_eq!(ContentType::parse(Some(header)).kind(), kind, "{header}");
        }
    }

    /// The bytes are those that the encodings' own tables give.
    #[test]
    fn encodings() {
        let table: &[(&[u8], &str, &str)] = &[
            (b"caf\xc3\xa9", "", "caf\u{e9}"),
            (b"caf\xe9", "", "caf\u{e9}"),
            (b"caf\xe9 \x80", "text/plain; charset=ISO-8859-1", "caf\u{e9} \u{20ac}"),
            (b"\x93\xfa\x96{", "text/plain; charset=\"Shift_JIS\"", "\u{65e5}\u{672c}"),
            (b"<meta charset='koi8-r'>\xc4\xc1", "text/html", "<meta charset='koi8-r'>\u{434}\u{430}"),
            (
                b"<meta http-equiv=x content=\"text/html; charset=gbk\">\xc4\xe3",
                "text/html",
                "<meta http-equiv=x content=\"text/html; charset=gbk\">\u{4f60}",
            ),
            (
                b"<?xml version=\"1.0\" encoding=\"iso-8859-2\"?>\xb1",
                "text/xml",
                "<?xml version=\"1.0\" encoding=\"iso-8859-2\"?>\u{105}",
            ),
            (b"\xff\xfea\x00b\x00", "text/plain; charset=utf-8", "ab"),
            (b"\xef\xbb\xbfab", "text/plain; charset=gbk", "ab"),
            (b"ab\xff", "text/plain; charset=utf-8", "ab\u{fffd}"),
            (b"ab", "text/plain; charset=klingon", "ab"),
        ];
        for (bytes, header, want) in table {
            assert_eq!(decode(&body(bytes, false), &ContentType::parse(Some(header))), *want, "{header}");
        }
    }

    #[test]
    fn what_is_no_text_is_not_shown() {
        let sniff = |bytes: &[u8], cut| sniff(&body(bytes, cut));
        assert_eq!(sniff(b"\x89PNG\r\n\x1a\n\x00", false), None);
        assert_eq!(sniff(b"plain", false), Some(Kind::Text));
        assert_eq!(sniff(b"\n <!DOCTYPE HTML><p>", false), Some(Kind::Html));
        assert_eq!((sniff(b"a\xc3", true), sniff(b"a\xc3", false)), (Some(Kind::Text), None));
        assert!(is_binary(b"a\0b") && !is_binary(b"\xff\xfea\0"));
        assert_eq!(visible("a\x1b[2J\u{202e}b\u{200b}\u{e0041}\tc\r\n"), "a[2Jb\tc\n");
    }
}
