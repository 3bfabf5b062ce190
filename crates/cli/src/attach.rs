//! `@path` in a message: what the user names goes with it. Only for text that a person wrote: in text
//! from a pipe a stranger could name the user's files.

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use base64::Engine;
use chela_protocol::{Attachment, Image, Op};

use crate::context::Context;
use crate::exit::Failure;

/// Bytes of a text that are read; what of it goes with the message follows the model's window.
const TEXT: u64 = 1 << 20;
/// Bytes of a picture at most.
const PICTURE: u64 = 20 << 20;
/// Names of a folder that are listed.
const NAMES: usize = 200;

/// Endings by which a name is plainly meant as a file, whether it is there or not.
const ENDINGS: &[&str] = &[
    "bash", "c", "cc", "cfg", "conf", "cpp", "cs", "css", "csv", "diff", "gif", "go", "h", "hpp", "htm",
    "html", "ini", "ipynb", "java", "jpeg", "jpg", "js", "json", "json5", "jsonl", "jsx", "kt", "log", "lua",
    "md", "patch", "pdf", "php", "png", "py", "rb", "rs", "rst", "sh", "sql", "svg", "swift", "tex", "toml",
    "ts", "tsv", "tsx", "txt", "vue", "webp", "xml", "yaml", "yml", "zig",
];
const PICTURES: &[&str] = &["gif", "jpeg", "jpg", "png", "webp"];

/// What a message brings along.
#[derive(Debug, Default)]
pub struct Attached {
    /// The message as it is sent: as it was written, but for `\@`, which stands for `@`.
    pub text: String,
    /// Texts and listings.
    pub files: Vec<Attachment>,
    /// Pictures.
    pub images: Vec<Image>,
}

/// Where paths lie.
pub struct Places<'a> {
    /// The folder that paths are relative to.
    pub folder: &'a Path,
    /// The agent's folder: names of files in it are relative to it, as its tools take them.
    pub workspace: &'a Path,
    /// What `~` stands for.
    pub home: Option<&'a Path>,
}

/// The message that a person wrote, with the files that it names by `@path`.
///
/// # Errors
/// A file that is plainly meant and is not there, or is neither text nor picture.
pub fn message(text: &str, context: &Context) -> Result<Op, Failure> {
    let workspace = context.workspace()?;
    let home = context.env().get(chela_config::env::HOME).map(PathBuf::from);
    let folder = context.surroundings.folder.as_deref().unwrap_or(&workspace);
    let places = Places { folder, workspace: &workspace, home: home.as_deref() };
    let Attached { text, files: attachments, images } = attach(text, &places)?;
    Ok(Op::UserMessage { text, images, attachments })
}

/// Finds what a message names and reads it.
pub fn attach(text: &str, places: &Places<'_>) -> Result<Attached, Failure> {
    let mut attached = Attached::default();
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut copied = 0;
    for mention in mentions(text) {
        let path = match mention {
            Mention::Escaped(at) => {
                attached.text.push_str(&text[copied..at]);
                copied = at + 1;
                continue;
            }
            Mention::Quoted(range) => Some(text[range].to_owned()),
            Mention::Bare(range) => written(&text[range], places)?,
        };
        let Some(path) = path else { continue };
        let real = places.resolve(&path).canonicalize().map_err(|error| missing(&path, &error))?;
        if !seen.contains(&real) {
            take(&real, &path, places, &mut attached)?;
            seen.push(real);
        }
    }
    attached.text.push_str(&text[copied..]);
    Ok(attached)
}

enum Mention {
    /// `@path`; the range is that of the path with whatever follows it up to a space.
    Bare(Range<usize>),
    /// `@"a path"`.
    Quoted(Range<usize>),
    /// The backslash of `\@`.
    Escaped(usize),
}

/// Every `@` that begins a word. In an address of e-mail it does not.
fn mentions(text: &str) -> Vec<Mention> {
    let mut found = Vec::new();
    let mut before = ' ';
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '@' && before == '\\' {
            found.push(Mention::Escaped(at - 1));
        } else if c == '@' && (before.is_whitespace() || "([{".contains(before)) {
            let from = at + 1;
            let rest = &text[from..];
            let quoted = rest.strip_prefix('"').and_then(|inner| Some(from + 1..from + 1 + inner.find('"')?));
            let bare = from..from + bare_length(rest);
            let end = quoted.as_ref().map_or(bare.end, |range| range.end);
            match quoted {
                Some(range) if !range.is_empty() => found.push(Mention::Quoted(range)),
                _ if !bare.is_empty() => found.push(Mention::Bare(bare)),
                _ => {}
            }
            while chars.next_if(|(at, _)| *at < end).is_some() {}
        }
        before = c;
    }
    found
}

/// Bytes up to the first space that no backslash stands before.
fn bare_length(text: &str) -> usize {
    let mut escaped = false;
    let is_end = |c: char| {
        let end = c.is_whitespace() && !escaped;
        escaped = c == '\\';
        end
    };
    text.find(is_end).unwrap_or(text.len())
}

/// The path that was written: as it stands, or without the punctuation or the line number behind it.
/// None where it names no file and is not plainly meant to.
fn written(text: &str, places: &Places<'_>) -> Result<Option<String>, Failure> {
    const AFTER: &[char] = &['.', ',', ';', ':', '!', '?', ')', ']', '}', '\'', '"', '`', '*'];
    let whole = text.replace("\\ ", " ");
    let mut shorter = whole.as_str();
    loop {
        let names_something = shorter.contains(|c| c != '.' && c != '/');
        if names_something && places.resolve(shorter).exists() {
            return Ok(Some(shorter.to_owned()));
        }
        let digits = shorter.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
        shorter = match shorter.strip_suffix(AFTER) {
            Some(less) => less,
            None if digits.len() < shorter.len() && digits.ends_with(':') => digits,
            None => break,
        };
    }
    let path = whole.trim_end_matches(AFTER);
    let begins = |start: &&str| path.len() > start.len() && path.starts_with(start);
    let rooted = ["/", "./", "../", "~/"].iter().any(begins);
    let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
    if rooted || ENDINGS.contains(&ending.as_str()) {
        return Err(missing(path, &std::io::ErrorKind::NotFound.into()));
    }
    Ok(None)
}

fn missing(path: &str, error: &std::io::Error) -> Failure {
    let why = match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        _ => error.to_string(),
    };
    Failure::usage(format!("@{path}: {why}")).hint("write \\@ for an @ that names no file")
}

impl Places<'_> {
    fn resolve(&self, path: &str) -> PathBuf {
        match (path.strip_prefix("~/"), self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => self.folder.join(path),
        }
    }

    /// The name of a file as the tools take it.
    fn name(&self, real: &Path) -> String {
        match real.strip_prefix(self.workspace) {
            Ok(inside) if inside.as_os_str().is_empty() => ".".to_owned(),
            Ok(inside) => inside.display().to_string(),
            Err(_) => real.display().to_string(),
        }
    }
}

/// Reads one file or folder.
fn take(real: &Path, path: &str, places: &Places<'_>, attached: &mut Attached) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::usage(format!("@{path}: {error}"));
    let meta = std::fs::metadata(real).map_err(failed)?;
    let name = places.name(real);
    if meta.is_dir() {
        let text = listing(real).map_err(failed)?;
        attached.files.push(Attachment { name: format!("{name}/"), text, file: false });
        return Ok(());
    }
    if !meta.is_file() {
        return Err(Failure::usage(format!("@{path} is no regular file")));
    }
    let mut bytes = Vec::new();
    let mut file = std::fs::File::open(real).map_err(failed)?;
    file.by_ref().take(TEXT).read_to_end(&mut bytes).map_err(failed)?;
    if let Some(media_type) = picture(&bytes) {
        if meta.len() > PICTURE {
            let size = meta.len() >> 20;
            return Err(Failure::usage(format!("@{path} has {size} MiB; a picture has at most 20")));
        }
        file.read_to_end(&mut bytes).map_err(failed)?;
        let data = base64::engine::general_purpose::STANDARD.encode(&bytes);
        attached.images.push(Image { media_type: media_type.to_owned(), data, name });
        return Ok(());
    }
    let text = text(bytes, meta.len() > TEXT).ok_or_else(|| {
        let is_picture = real.extension().is_some_and(|ending| PICTURES.iter().any(|own| ending == *own));
        let what = if is_picture { "is not the picture that its name says" } else { "is not UTF-8 text" };
        let can = "a text, a folder, or a picture in PNG, JPEG, GIF or WebP can be attached";
        Failure::usage(format!("@{path} {what}")).hint(can)
    })?;
    attached.files.push(Attachment { name, text, file: true });
    Ok(())
}

/// The format of a picture by its first bytes.
fn picture(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

/// The bytes as text; of a file that goes on, as far as its lines are whole.
fn text(mut bytes: Vec<u8>, goes_on: bool) -> Option<String> {
    if goes_on {
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(bytes.len() - 4, |at| at + 1);
        bytes.truncate(end);
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        // A line of more than what was read ends inside a character.
        Err(error) if goes_on && error.utf8_error().error_len().is_none() => {
            let end = error.utf8_error().valid_up_to();
            String::from_utf8(error.into_bytes()[..end].to_vec()).ok()?
        }
        Err(_) => return None,
    };
    (!text.contains('\0')).then_some(text)
}

fn listing(folder: &Path) -> std::io::Result<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let slash = if entry.path().is_dir() { "/" } else { "" };
        names.push(format!("{}{slash}", entry.file_name().to_string_lossy()));
    }
    names.sort();
    let more = names.len().saturating_sub(NAMES);
    names.truncate(NAMES);
    if more > 0 {
        names.push(format!("[{more} more; ls shows them]"));
    }
    Ok(if names.is_empty() { "(empty)".to_owned() } else { names.join("\n") })
}

#[cfg(test)]
mod tests;
