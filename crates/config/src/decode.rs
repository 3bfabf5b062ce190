//! From the tree to types: every error and warning is collected, with its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::diagnostic::Diagnostic;
use crate::env::Env;
use crate::key_path::{KeyPath, Segment};
use crate::load::IgnoredKey;
use crate::openclaw;
use crate::secret::{Form, SecretRef};
use crate::shape::Shape;
use crate::source::{Sources, Span, line_of};
use crate::text::{self, BASE_URL, BaseUrl, Origin, Params, PathText, Text};
use crate::tree::{Entry, Node, Value, number, whole_number};

/// A type that is read from the config.
pub(crate) trait Decode: Sized {
    /// Whether the key must be there.
    const REQUIRED: bool = true;

    /// What it may look like.
    fn shape() -> Shape;

    /// `None` after an error, which is then among the decoder's.
    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<Self>;

    /// The value of a key that is not there; `object` is where it is missing.
    fn missing(object: Span, cx: &mut Decoder<'_>) -> Option<Self> {
        let diagnostic = Diagnostic::error("this key is missing")
            .expected(Self::shape().words())
            .at(cx.sources.place(Span { end: object.start + 1, ..object }));
        cx.error(diagnostic);
        None
    }
}

/// Collects what is found on the way.
pub(crate) struct Decoder<'a> {
    pub sources: &'a Sources,
    pub env: &'a Env,
    pub path: KeyPath,
    pub errors: Vec<Diagnostic>,
    pub warnings: Vec<Diagnostic>,
    pub ignored: Vec<IgnoredKey>,
}

impl<'a> Decoder<'a> {
    pub fn new(sources: &'a Sources, env: &'a Env) -> Decoder<'a> {
        Decoder { sources, env, path: KeyPath::default(), errors: vec![], warnings: vec![], ignored: vec![] }
    }

    fn error(&mut self, diagnostic: Diagnostic) {
        let path = self.path.to_string();
        self.errors.push(diagnostic.key(path));
    }

    /// An error about something further down.
    pub fn refuse_below(&mut self, path: &[Segment], span: Span, diagnostic: Diagnostic) {
        let depth = self.path.0.len();
        self.path.0.extend_from_slice(path);
        let place = self.sources.place(span);
        self.error(diagnostic.at(place));
        self.path.0.truncate(depth);
    }

    pub fn warn(&mut self, span: Span, diagnostic: Diagnostic) {
        let path = self.path.to_string();
        self.warnings.push(diagnostic.key(path).at(self.sources.place(span)));
    }

    pub fn within<T>(&mut self, segment: Segment, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.0.push(segment);
        let value = read(self);
        self.path.0.pop();
        value
    }

    pub fn origin(&self, node: &Node) -> Arc<Origin> {
        let source = &self.sources.0[node.span.file];
        Arc::new(Origin {
            key: self.path.to_string(),
            file: source.path.clone(),
            line: line_of(&source.text, node.span.start).0,
        })
    }

    fn folder(&self, node: &Node) -> PathBuf {
        self.sources.0[node.span.file].path.parent().unwrap_or(Path::new("")).to_owned()
    }

    /// What stands there, in words that give no secret away.
    fn found(&self, node: &Node) -> String {
        let secret = self.sources.is_masked(node.span);
        match &node.value {
            Value::Bool(value) => value.to_string(),
            Value::Number(raw) if !secret => format!("the number {raw}"),
            Value::String(text) if !secret && text.chars().count() <= 60 => {
                format!("the string {}", serde_json::Value::from(text.as_str()))
            }
            _ => node.kind().to_owned(),
        }
    }

    /// The value is not of the type that the key, a `T`, takes.
    pub fn wrong_type<T: Decode, R>(&mut self, node: &Node) -> Option<R> {
        let shape = T::shape();
        let diagnostic = Diagnostic::error("wrong type").expected(shape.words()).found(self.found(node));
        let hint = match (&node.value, shape) {
            (Value::Null, _) => Some("remove the key, so that its default holds".to_owned()),
            (Value::String(text), Shape::Whole { .. } | Shape::Amount | Shape::Seconds) => {
                number(text).is_finite().then(|| format!("write {text}, without quotes"))
            }
            (Value::String(text), Shape::Bool) => {
                text.parse::<bool>().ok().map(|value| format!("write {value}, without quotes"))
            }
            (Value::Number(_) | Value::Bool(_), Shape::Text(_)) => Some("put it in quotes".to_owned()),
            (Value::String(_), Shape::List(_)) => Some("put it in brackets: [\"…\"]".to_owned()),
            _ => None,
        };
        self.refuse(node.span, diagnostic, hint)
    }

    /// The value is of the right type and not one that the key, a `T`, takes.
    pub fn wrong_value<T: Decode, R>(&mut self, node: &Node, hint: Option<String>) -> Option<R> {
        let expected = T::shape().words();
        let diagnostic = Diagnostic::error("wrong value").expected(expected).found(self.found(node));
        self.refuse(node.span, diagnostic, hint)
    }

    pub fn refuse<R>(&mut self, span: Span, mut diagnostic: Diagnostic, hint: Option<String>) -> Option<R> {
        diagnostic.hint = hint;
        self.refuse_below(&[], span, diagnostic);
        None
    }

    /// The entries of an object, a `T` of this name; keys that are not known become warnings, or
    /// are counted if they are OpenClaw's.
    pub fn object<'n, T: Decode>(
        &mut self,
        node: &'n Node,
        name: &str,
        known: &[&str],
    ) -> Option<&'n [Entry]> {
        let Value::Object(entries) = &node.value else {
            return self.wrong_type::<T, _>(node);
        };
        let elsewhere = openclaw::names(name);
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let place = self.sources.place(entry.key_span);
            let path = self.path.key(&entry.key).to_string();
            if elsewhere.contains(&entry.key.as_str()) {
                self.ignored.push(IgnoredKey { key: path, file: place.file, line: place.line });
                continue;
            }
            let mut diagnostic = Diagnostic::warning("unknown key; it has no effect").key(path).at(place);
            diagnostic.hint = nearest(&entry.key, known.iter().chain(&elsewhere).copied())
                .map(|near| format!("did you mean `{near}`?"));
            self.warnings.push(diagnostic);
        }
        Some(entries)
    }

    /// One field of an object.
    pub fn field<T: Decode>(&mut self, object: &Node, entries: &[Entry], key: &str) -> Option<T> {
        let entry = entries.iter().find(|entry| entry.key == key);
        match entry {
            // A string that is short for the object: the key does not stand in the file.
            Some(entry) if entry.key_span == entry.value.span => T::decode(&entry.value, self),
            Some(entry) => self.within(Segment::Key(key.to_owned()), |cx| T::decode(&entry.value, cx)),
            None => self.within(Segment::Key(key.to_owned()), |cx| T::missing(object.span, cx)),
        }
    }

    /// A string whose value decides how the config is read, so that its variables are needed now.
    pub fn string_now<T: Decode>(&mut self, node: &Node) -> Option<String> {
        let Value::String(raw) = &node.value else {
            return self.wrong_type::<T, _>(node);
        };
        let missing = match text::resolve(raw, &self.origin(node), self.env) {
            Ok(text) => return Some(text),
            Err(missing) => missing,
        };
        let state = if missing.empty { "empty" } else { "not set" };
        let message = format!("the environment variable {} is {state}", missing.variable);
        self.refuse(node.span, Diagnostic::error(message), Some(missing.hint()))
    }
}

/// The nearest of some names, if one is near enough to be meant.
pub(crate) fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let lower = name.to_lowercase().replace(['_', '-'], "");
    names
        .map(|near| (strsim::damerau_levenshtein(&lower, &near.to_lowercase()), near))
        .filter(|(distance, near)| *distance <= (near.len().min(name.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, near)| near)
}

impl<T: Decode> Decode for Option<T> {
    const REQUIRED: bool = false;

    fn shape() -> Shape {
        T::shape()
    }

    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<Self> {
        T::decode(node, cx).map(Some)
    }

    fn missing(_: Span, _: &mut Decoder<'_>) -> Option<Self> {
        Some(None)
    }
}

impl<T: Decode> Decode for Vec<T> {
    const REQUIRED: bool = false;

    fn shape() -> Shape {
        Shape::List(Box::new(T::shape()))
    }

    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<Self> {
        let Value::Array(nodes) = &node.value else {
            return cx.wrong_type::<Self, _>(node);
        };
        let items: Vec<Option<T>> = nodes
            .iter()
            .enumerate()
            .map(|(n, node)| cx.within(Segment::Index(n), |cx| T::decode(node, cx)))
            .collect();
        items.into_iter().collect()
    }

    fn missing(_: Span, _: &mut Decoder<'_>) -> Option<Self> {
        Some(Vec::new())
    }
}

/// The key of a map.
pub(crate) trait DecodeKey: Ord + Sized {
    /// What the keys are, in the plural.
    const WHAT: &'static str;

    /// What is wrong with a key.
    fn decode_key(key: &str) -> Result<Self, &'static str>;
}

impl DecodeKey for String {
    const WHAT: &'static str = "names";

    fn decode_key(key: &str) -> Result<Self, &'static str> {
        Ok(key.to_owned())
    }
}

impl<K: DecodeKey, V: Decode> Decode for BTreeMap<K, V> {
    const REQUIRED: bool = false;

    fn shape() -> Shape {
        Shape::Map { key: K::WHAT, value: Box::new(V::shape()) }
    }

    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<Self> {
        let Value::Object(entries) = &node.value else {
            return cx.wrong_type::<Self, _>(node);
        };
        let pair = |entry: &Entry, cx: &mut Decoder<'_>| {
            let key = K::decode_key(&entry.key).or_else(|hint| {
                let expected = format!("{} as keys", K::WHAT);
                let diagnostic = Diagnostic::error("wrong key").expected(expected);
                cx.refuse(entry.key_span, diagnostic, Some(hint.to_owned())).ok_or(())
            });
            let value = V::decode(&entry.value, cx);
            Some((key.ok()?, value?))
        };
        let pairs: Vec<Option<(K, V)>> = entries
            .iter()
            .map(|entry| cx.within(Segment::Key(entry.key.clone()), |cx| pair(entry, cx)))
            .collect();
        pairs.into_iter().collect()
    }

    fn missing(_: Span, _: &mut Decoder<'_>) -> Option<Self> {
        Some(BTreeMap::new())
    }
}

impl Decode for bool {
    fn shape() -> Shape {
        Shape::Bool
    }

    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<Self> {
        match node.value {
            Value::Bool(value) => Some(value),
            _ => cx.wrong_type::<Self, _>(node),
        }
    }
}

/// A number that `read` takes.
fn checked<T: Decode>(node: &Node, cx: &mut Decoder<'_>, read: impl Fn(&str) -> Option<T>) -> Option<T> {
    match &node.value {
        Value::Number(raw) => read(raw).or_else(|| cx.wrong_value::<T, _>(node, None)),
        _ => cx.wrong_type::<T, _>(node),
    }
}

/// A number of tokens, above 0.
impl Decode for u64 {
    fn shape() -> Shape {
        Shape::Whole { min: 1 }
    }

    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<Self> {
        checked(node, cx, |raw| u64::try_from(whole_number(raw)?).ok().filter(|value| *value > 0))
    }
}

/// An amount of money, at least 0.
impl Decode for f64 {
    fn shape() -> Shape {
        Shape::Amount
    }

    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<Self> {
        checked(node, cx, |raw| Some(number(raw)).filter(|value| value.is_finite() && *value >= 0.0))
    }
}

impl Decode for Duration {
    fn shape() -> Shape {
        Shape::Seconds
    }

    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<Self> {
        checked(node, cx, |raw| Duration::try_from_secs_f64(number(raw)).ok().filter(|time| !time.is_zero()))
    }
}

/// A template that is not empty, for a key that takes a `T`.
fn text<T: Decode>(node: &Node, cx: &mut Decoder<'_>) -> Option<Text> {
    let Value::String(raw) = &node.value else {
        return cx.wrong_type::<T, _>(node);
    };
    if raw.trim().is_empty() {
        return cx.wrong_value::<T, _>(node, Some("remove the key, or fill it".to_owned()));
    }
    if let Some(literal) = text::near_variable(raw) {
        let message = format!("`{literal}` is taken as it stands: it is not the name of a variable");
        cx.warn(node.span, Diagnostic::warning(message).hint("names of variables are A-Z, 0-9 and `_`"));
    }
    Some(Text::with_origin(raw, cx.origin(node)))
}

impl Decode for Text {
    fn shape() -> Shape {
        Shape::Text("a string")
    }

    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<Self> {
        text::<Self>(node, cx)
    }
}

impl Decode for PathText {
    fn shape() -> Shape {
        Shape::Text("a path")
    }

    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<Self> {
        Some(PathText::new(text::<Self>(node, cx)?, &cx.folder(node)))
    }
}

impl Decode for BaseUrl {
    fn shape() -> Shape {
        Shape::Text(BASE_URL)
    }

    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<Self> {
        let text = text::<Self>(node, cx)?;
        match text::base_url_problem(text.raw()) {
            Some(hint) if !text.is_template() => cx.wrong_value::<Self, _>(node, Some(hint.to_owned())),
            _ => Some(BaseUrl::new(text)),
        }
    }
}

impl Decode for Params {
    const REQUIRED: bool = false;

    fn shape() -> Shape {
        Shape::Fields("an object of request fields")
    }

    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<Self> {
        match node.to_json() {
            Ok(serde_json::Value::Object(fields)) => Some(Params::new(fields, cx.origin(node))),
            Ok(_) => cx.wrong_type::<Self, _>(node),
            Err(number) => {
                let diagnostic = Diagnostic::error("wrong value")
                    .expected("numbers that JSON has")
                    .found(cx.found(number));
                cx.refuse(number.span, diagnostic, None)
            }
        }
    }

    fn missing(_: Span, _: &mut Decoder<'_>) -> Option<Self> {
        Some(Params::default())
    }
}

impl Decode for SecretRef {
    fn shape() -> Shape {
        Shape::OneOf(vec![
            Shape::Text("a string"),
            Shape::Fields("a reference {source: \"env\", id: \"NAME\"} or {source: \"file\", id: \"path\"}"),
        ])
    }

    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<Self> {
        match &node.value {
            Value::String(raw) => Some(SecretRef(Form::Text(Text::with_origin(raw, cx.origin(node))))),
            Value::Object(_) => reference(node, cx),
            _ => cx.wrong_type::<Self, _>(node),
        }
    }
}

/// `{source, id}`; OpenClaw's `provider` beside them has no effect.
fn reference(node: &Node, cx: &mut Decoder<'_>) -> Option<SecretRef> {
    let entries = cx.object::<SecretRef>(node, "SecretRef", &["source", "id"])?;
    let source = cx.field::<Source>(node, entries, "source");
    let id = cx.field::<Text>(node, entries, "id");
    let (source, id) = (source?, id?);
    Some(SecretRef(match source {
        Source::File => Form::File(PathText::new(id, &cx.folder(node))),
        Source::Env => Form::Variable { name: id.raw().to_owned(), origin: id.origin },
    }))
}

choice! {
    /// Where a secret is kept.
    pub(crate) enum Source {
        /// An environment variable.
        "env" => Env,
        /// A file that holds nothing else.
        "file" => File,
    }
}
