//! The arguments of a call, in the notation of a shape, by the tool's schema.

use serde_json::{Map, Value, json};

use super::lark::{ANY, Lark, any_of, escaped, string};
use super::schema::{self, Level};
use crate::dialect::shape::Args;
use crate::dialect::{ParamSyntax, ValueKind, gemma, python};
use crate::schema as read;
use crate::tools::ToolSpec;

/// References that are followed into each other.
const DEPTH: usize = 32;

/// White space between the tokens of JSON: a space, or a line break and an indentation.
const JSON_SPACE: &str = "[ \\t]|\\r?\\n[ \\t]{0,64}";

/// `schema` as llguidance takes it inside of Lark.
pub(super) fn json_of(schema: &Value, one_of_as_any_of: bool) -> String {
    let mut schema = match schema {
        Value::Bool(false) => json!({ "not": {} }),
        Value::Object(_) => schema.clone(),
        _ => json!({}),
    };
    if let Some(map) = schema.as_object_mut()
        && !map.contains_key("x-guidance")
    {
        let options = json!({ "whitespace_pattern": JSON_SPACE, "coerce_one_of": one_of_as_any_of });
        map.insert("x-guidance".into(), options);
    }
    format!("%json {schema}")
}

/// Writes the arguments of one tool.
pub(super) struct Values<'w, 'a> {
    lark: &'w mut Lark<'a>,
    /// The tightened schema of the arguments.
    root: &'w Value,
    tool: &'w ToolSpec,
    level: Level,
    /// Keywords that this notation cannot enforce.
    pub(super) dropped: Vec<String>,
    /// Rules of references in literal notations.
    refs: Vec<(String, String)>,
}

impl<'w, 'a> Values<'w, 'a> {
    pub(super) fn new(lark: &'w mut Lark<'a>, root: &'w Value, tool: &'w ToolSpec, level: Level) -> Self {
        Self { lark, root, tool, level, dropped: Vec::new(), refs: Vec::new() }
    }

    /// The rule of the arguments.
    pub(super) fn arguments(&mut self, args: Args) -> String {
        match args {
            Args::Json => self.json(self.root),
            Args::Params(syntax) => self.params(syntax),
            Args::Gemma(quote) => {
                let notation = Notation::Gemma(quote);
                self.literal(self.root, notation, 0)
            }
            Args::Python => {
                let items = self.members(self.root, Notation::Python, "=", 0);
                self.lark.ordered(&items, "\",\" WS?")
            }
        }
    }

    fn json(&mut self, schema: &Value) -> String {
        let body = json_of(schema, self.level > Level::Strict);
        self.lark.rule("json", &body)
    }

    fn drop_keyword(&mut self, keyword: &str) {
        if !self.dropped.iter().any(|known| known == keyword) {
            self.dropped.push(keyword.to_owned());
        }
    }

    /// The declared properties in their order, then those that are only required.
    fn properties(&self, schema: &Value) -> Vec<(String, Value, bool)> {
        let declared = schema.get("properties").and_then(Value::as_object);
        let required: Vec<&str> = read::required(schema).collect();
        let mut all: Vec<_> = declared
            .into_iter()
            .flatten()
            .map(|(key, part)| (key.clone(), part.clone(), required.contains(&key.as_str())))
            .collect();
        for key in required {
            if !all.iter().any(|(known, ..)| known == key) {
                all.push((key.to_owned(), json!({}), true));
            }
        }
        all
    }

    /// A part of the schema by itself, with the definitions that it may refer to.
    fn standalone(&self, part: &Value) -> Value {
        let mut part = part.as_object().cloned().unwrap_or_default();
        for key in ["$defs", "definitions"] {
            if let Some(defs) = self.root.get(key)
                && !part.contains_key(key)
            {
                part.insert(key.into(), defs.clone());
            }
        }
        Value::Object(part)
    }
}

// Parameters in elements of their own.
impl Values<'_, '_> {
    fn params(&mut self, syntax: &'static ParamSyntax) -> String {
        for keyword in ["minProperties", "maxProperties", "patternProperties", "anyOf", "oneOf", "allOf"] {
            if self.root.get(keyword).is_some() {
                self.drop_keyword(keyword);
            }
        }
        let mut items = Vec::new();
        for (key, part, required) in self.properties(self.root) {
            let values = self.param(syntax, &format!("{}{key}", syntax.param_open), &key, &part);
            let rule = self.lark.rule("param", &format!("{values} WS?"));
            items.push(if required { rule } else { format!("{rule}?") });
        }
        let open = self.root.get("additionalProperties").filter(|more| more.is_object());
        if let Some(more) = open.cloned() {
            items.push(self.free_params(syntax, &more));
        }
        match items.is_empty() {
            true => "\"\"".to_owned(),
            false => items.join(" "),
        }
    }

    /// Parameters of any name.
    fn free_params(&mut self, syntax: &'static ParamSyntax, part: &Value) -> String {
        let taken: Vec<_> = self.properties(self.root).into_iter().map(|(key, ..)| escaped(&key)).collect();
        let mut key = "/[A-Za-z_][A-Za-z0-9_\\-]{0,63}/".to_owned();
        if !taken.is_empty() {
            key += &format!(" & ~/{}/", taken.join("|"));
        }
        let key = self.lark.terminal(&key);
        let open = self.lark.literal(syntax.param_open);
        // The reader knows no schema of a parameter that is not declared: a string.
        let types = read::types_in(self.root, part);
        if !types.is_empty() && !types.contains(&"string") {
            self.drop_keyword("additionalProperties");
            return "\"\"".to_owned();
        }
        let values = self.param(syntax, "", "", &json!({ "type": "string" }));
        let rule = self.lark.name("params");
        self.lark.define(&rule, &format!("({open} {key} {values} WS?)*"));
        rule
    }

    /// One parameter from its opening marker to its closing one, in each way that the syntax has.
    fn param(&mut self, syntax: &'static ParamSyntax, head: &str, key: &str, part: &Value) -> String {
        // The types as the reader knows them, from the schema as it was sent.
        let declared = self.tool.parameter(key).cloned();
        let types = declared.as_ref().map(|part| read::types_in(&self.tool.parameters, part));
        let types: Vec<String> = types.unwrap_or_default().into_iter().map(str::to_owned).collect();
        let part = read::resolve(self.root, part).clone();
        let text = types.is_empty() || types.iter().any(|name| name == "string");
        let only_text = types.is_empty() || types == ["string"];
        let line = if syntax.trim_newline { "\n" } else { "" };
        let typed = syntax.key_end.iter().any(|end| end.value != ValueKind::BySchema);
        let mut ways = Vec::new();
        for end in syntax.key_end {
            if typed && end.value == ValueKind::BySchema {
                continue;
            }
            let open = match syntax.value_open {
                Some(open) => format!("{head}{}\0{open}{line}", end.marker),
                None => format!("{head}{}{line}", end.marker),
            };
            let open = self.lark.literal(&open);
            let close = format!("{line}{}", syntax.param_close);
            let mut values = Vec::new();
            let wants_text = end.value != ValueKind::Json;
            if wants_text && text {
                let verbatim = end.value == ValueKind::Text || only_text;
                let reading = Reading { declared: declared.as_ref(), verbatim, types: &types };
                self.text_values(&part, &reading, &close, 0, &mut values);
            }
            if end.value != ValueKind::Text && !(end.value == ValueKind::BySchema && only_text) {
                values.extend(self.json_value(&part, &types, &close));
            }
            if !values.is_empty() {
                ways.push(format!("{open} {}", any_of(&values)));
            }
        }
        any_of(&ways)
    }

    /// A value that is not a string, as JSON.
    fn json_value(&mut self, part: &Value, types: &[String], close: &str) -> Option<String> {
        let others: Vec<&String> = types.iter().filter(|name| *name != "string").collect();
        if others.is_empty() && !types.is_empty() {
            return None;
        }
        let part = self.standalone(part);
        let choices = part.get("enum").and_then(Value::as_array);
        let schema = match (choices, types.iter().any(|name| name == "string")) {
            (Some(choices), true) => {
                let others: Vec<_> = choices.iter().filter(|choice| !choice.is_string()).cloned().collect();
                if others.is_empty() {
                    return None;
                }
                json!({ "enum": others })
            }
            (None, true) => {
                let mut whole = Map::new();
                for key in ["$defs", "definitions"] {
                    if let Some(defs) = part.get(key) {
                        whole.insert(key.into(), defs.clone());
                    }
                }
                whole.insert("allOf".into(), json!([part, { "type": others }]));
                Value::Object(whole)
            }
            _ => part,
        };
        let value = self.json(&schema);
        let close = self.lark.literal(close);
        Some(format!("({value} {close})"))
    }

    /// The ways in which a value may be a string.
    fn text_values(
        &mut self,
        part: &Value,
        reading: &Reading<'_>,
        close: &str,
        depth: usize,
        values: &mut Vec<String>,
    ) {
        let part = read::resolve(self.root, part).clone();
        let parts = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| part.get(*key)?.as_array());
        match parts.filter(|_| depth < DEPTH) {
            Some(parts) => {
                for part in parts.clone() {
                    self.text_values(&part, reading, close, depth + 1, values);
                }
            }
            None => {
                let types = read::types_in(self.root, &part);
                if types.is_empty() || types.contains(&"string") {
                    values.extend(self.text_value(&part, reading, close));
                }
            }
        }
    }

    /// A string as it stands. Unless it is taken verbatim, the reader would take some texts for
    /// values of other types; those are left out.
    fn text_value(&mut self, part: &Value, reading: &Reading<'_>, close: &str) -> Option<String> {
        let Reading { declared, verbatim, types } = *reading;
        let choices: Option<Vec<Value>> =
            match (part.get("enum").and_then(Value::as_array), part.get("const")) {
                (Some(choices), _) => Some(choices.clone()),
                (None, Some(only)) => Some(vec![only.clone()]),
                _ => None,
            };
        if let Some(choices) = choices {
            let reads = |text: &&str| {
                let read = read::value_from_text(&self.tool.parameters, declared, text);
                !text.contains(close.trim()) && (verbatim || read.as_str() == Some(text))
            };
            let texts: Vec<_> = choices.iter().filter_map(Value::as_str).filter(reads).collect();
            let texts: Vec<_> = texts
                .iter()
                .map(|text| format!("({})", self.lark.literal(&format!("{text}{close}"))))
                .collect();
            return (!texts.is_empty()).then(|| any_of(&texts));
        }
        let mut body = self.constrained(part);
        if !verbatim {
            for other in types {
                let taken = match other.as_str() {
                    "null" => "\\s*(null|None)\\s*",
                    "boolean" => "\\s*([tT]rue|[fF]alse)\\s*",
                    "integer" | "number" => "\\s*[\\-+.0-9](?s:.*)",
                    "array" => "\\s*\\[(?s:.*)",
                    "object" => "\\s*\\{(?s:.*)",
                    _ => continue,
                };
                body += &format!(" & ~/{taken}/");
            }
        }
        Some(self.lark.until(&body, close))
    }

    /// The terminals that a plain string of this schema matches.
    fn constrained(&mut self, part: &Value) -> String {
        let mut body = ANY.to_owned();
        if let Some(pattern) = part.get("pattern").and_then(Value::as_str) {
            match ecma(pattern) {
                Some(regex) => body += &format!(" & /{regex}/"),
                None => self.drop_keyword("pattern"),
            }
        }
        if let Some(format) = part.get("format").and_then(Value::as_str) {
            match format_regex(format) {
                Some(regex) => body += &format!(" & /{regex}/"),
                None => self.drop_keyword("format"),
            }
        }
        let length = |key: &str| part.get(key).and_then(Value::as_u64);
        match (length("minLength"), length("maxLength")) {
            (None, None) => {}
            (low, high) => {
                let high = high.map(|high| high.to_string()).unwrap_or_default();
                body += &format!(" & /(?s:.{{{},{high}}})/", low.unwrap_or(0));
            }
        }
        body
    }
}

/// How the reader takes the text of a parameter.
#[derive(Clone, Copy)]
struct Reading<'r> {
    declared: Option<&'r Value>,
    /// Whether any text is a string.
    verbatim: bool,
    types: &'r [String],
}

/// A notation of literals other than JSON.
#[derive(Clone, Copy)]
enum Notation {
    Python,
    Gemma(&'static str),
}

impl Notation {
    fn write(self, value: &Value) -> String {
        match self {
            Notation::Python => python(value),
            Notation::Gemma(quote) => gemma(value, quote),
        }
    }

    /// Between the elements of a list and of an object.
    fn comma(self) -> &'static str {
        match self {
            Notation::Python => "\",\" WS?",
            Notation::Gemma(_) => "\",\"",
        }
    }

    fn colon(self) -> &'static str {
        match self {
            Notation::Python => ": ",
            Notation::Gemma(_) => ":",
        }
    }

    fn key(self, key: &str) -> String {
        match self {
            Notation::Python => python(&key.into()),
            Notation::Gemma(_) => key.to_owned(),
        }
    }
}

// Literals.
impl Values<'_, '_> {
    /// The rule of a value.
    fn literal(&mut self, schema: &Value, notation: Notation, depth: usize) -> String {
        if depth > DEPTH {
            self.drop_keyword("$ref");
            return self.any(notation);
        }
        let Some(map) = schema.as_object() else { return self.any(notation) };
        if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
            return self.reference(reference, notation, depth);
        }
        let choices = match (map.get("enum").and_then(Value::as_array), map.get("const")) {
            (Some(choices), _) => Some(choices.clone()),
            (None, Some(only)) => Some(vec![only.clone()]),
            _ => None,
        };
        if let Some(choices) = choices {
            let texts: Vec<_> = choices
                .iter()
                .map(|value| format!("({})", self.lark.literal(&notation.write(value))))
                .collect();
            return any_of(&texts);
        }
        for keyword in ["allOf", "patternProperties", "minProperties", "maxProperties", "multipleOf"] {
            if map.contains_key(keyword) {
                self.drop_keyword(keyword);
            }
        }
        let parts = map.get("anyOf").or(map.get("oneOf")).and_then(Value::as_array);
        if let Some(parts) = parts {
            if map.contains_key("oneOf") {
                self.drop_keyword("oneOf");
            }
            let parts: Vec<_> = parts.iter().map(|part| self.literal(part, notation, depth + 1)).collect();
            return self.lark.rule("one", &any_of(&parts));
        }
        if let Some([only]) = map.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
            return self.literal(only, notation, depth + 1);
        }
        let types: Vec<String> = read::types_in(self.root, schema).into_iter().map(str::to_owned).collect();
        if types.is_empty() {
            return self.any(notation);
        }
        let ways: Vec<_> = types.iter().map(|name| self.of_type(schema, name, notation, depth)).collect();
        any_of(&ways)
    }

    fn reference(&mut self, reference: &str, notation: Notation, depth: usize) -> String {
        if let Some((_, rule)) = self.refs.iter().find(|(known, _)| known == reference) {
            return rule.clone();
        }
        let pointer = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
        let Some(target) = pointer.cloned() else {
            self.drop_keyword("$ref");
            return self.any(notation);
        };
        let rule = self.lark.name("ref");
        self.refs.push((reference.to_owned(), rule.clone()));
        let body = self.literal(&target, notation, depth + 1);
        self.lark.define(&rule, &body);
        rule
    }

    fn of_type(&mut self, schema: &Value, name: &str, notation: Notation, depth: usize) -> String {
        match name {
            "null" | "boolean" => {
                let values: &[Value] =
                    if name == "null" { &[Value::Null] } else { &[true.into(), false.into()] };
                let words: Vec<_> = values.iter().map(|value| string(&notation.write(value))).collect();
                any_of(&words)
            }
            "integer" | "number" => {
                let mut number = Map::new();
                number.insert("type".into(), name.into());
                for key in ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"] {
                    if let Some(value) = schema.get(key) {
                        number.insert(key.into(), value.clone());
                    }
                }
                self.json(&Value::Object(number))
            }
            "array" => self.list(schema, notation, depth),
            "object" => self.object(schema, notation, depth),
            _ => self.string(schema, notation),
        }
    }

    fn string(&mut self, schema: &Value, notation: Notation) -> String {
        let body = self.constrained(schema);
        match notation {
            Notation::Gemma(quote) => {
                let open = self.lark.literal(quote);
                let rest = self.lark.until(&body, quote);
                self.lark.rule("string", &format!("{open} {rest}"))
            }
            Notation::Python if body == ANY => {
                // The escapes that Python itself writes.
                self.lark.terminal("/\"([^\"\\\\\\x00-\\x1f]|\\\\[\"\\\\nrt])*\"/")
            }
            Notation::Python => {
                let body = self.lark.terminal(&format!("/[^\"\\\\\\x00-\\x1f]*/ & {body}"));
                self.lark.rule("string", &format!("\"\\\"\" {body} \"\\\"\""))
            }
        }
    }

    fn list(&mut self, schema: &Value, notation: Notation, depth: usize) -> String {
        let comma = notation.comma();
        let low = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        let high = schema.get("maxItems").and_then(Value::as_u64);
        let fixed = schema.get("prefixItems").and_then(Value::as_array).filter(|items| !items.is_empty());
        if let Some(items) = fixed {
            let items: Vec<_> = items.iter().map(|item| self.literal(item, notation, depth + 1)).collect();
            let items = items.join(&format!(" {comma} "));
            return self.lark.rule("list", &format!("\"[\" {items} \"]\""));
        }
        let item = schema.get("items").cloned().unwrap_or(json!({}));
        let item = self.literal(&item, notation, depth + 1);
        let more = format!("({comma} {item})");
        let rest = match (low.saturating_sub(1), high) {
            (0, None) => format!("{more}*"),
            (low, None) => format!("{more}{{{low},}}"),
            (low, Some(high)) => format!("{more}{{{low},{}}}", high.saturating_sub(1)),
        };
        let body = match (low, high) {
            (_, Some(0)) => "\"\"".to_owned(),
            (0, _) => format!("({item} {rest} | \"\")"),
            _ => format!("{item} {rest}"),
        };
        self.lark.rule("list", &format!("\"[\" {body} \"]\""))
    }

    fn object(&mut self, schema: &Value, notation: Notation, depth: usize) -> String {
        let items = self.members(schema, notation, notation.colon(), depth);
        let declared = self.lark.ordered(&items, notation.comma());
        let more = schema.get("additionalProperties").filter(|more| more.is_object()).cloned();
        let body = match more {
            Some(more) if items.is_empty() => {
                let value = self.literal(&more, notation, depth + 1);
                let entry = self.entry(notation, &value);
                format!("({entry} ({} {entry})* | \"\")", notation.comma())
            }
            _ => declared,
        };
        self.lark.rule("object", &format!("\"{{\" {body} \"}}\""))
    }

    /// An entry of any key.
    fn entry(&mut self, notation: Notation, value: &str) -> String {
        let key = match notation {
            Notation::Python => "/\"[A-Za-z_][A-Za-z0-9_\\- ]{0,63}\"/",
            Notation::Gemma(_) => "/[A-Za-z_][A-Za-z0-9_\\-]{0,63}/",
        };
        let key = self.lark.terminal(key);
        let colon = string(notation.colon());
        self.lark.rule("entry", &format!("{key} {colon} {value}"))
    }

    /// The declared properties, each with its key, and whether it is required.
    fn members(
        &mut self,
        schema: &Value,
        notation: Notation,
        colon: &str,
        depth: usize,
    ) -> Vec<(String, bool)> {
        let mut items = Vec::new();
        for (key, part, required) in self.properties(schema) {
            let value = self.literal(&part, notation, depth + 1);
            let key = match colon {
                "=" => key,
                _ => notation.key(&key),
            };
            let key = self.lark.literal(&format!("{key}{colon}"));
            items.push((self.lark.rule("member", &format!("{key} {value}")), required));
        }
        items
    }

    /// Any value.
    fn any(&mut self, notation: Notation) -> String {
        let known = match notation {
            Notation::Python => "any value in Python",
            Notation::Gemma(_) => "any value in Gemma's notation",
        };
        if let Some((_, rule)) = self.refs.iter().find(|(name, _)| name == known) {
            return rule.clone();
        }
        let rule = self.lark.name("any");
        self.refs.push((known.to_owned(), rule.clone()));
        let scalars = ["string", "number", "boolean", "null"];
        let mut ways: Vec<_> = scalars
            .iter()
            .map(|name| {
                let bounded = schema::tighten(&json!({ "type": name }), Level::Strict).schema;
                self.of_type(&bounded, name, notation, 0)
            })
            .collect();
        let comma = notation.comma();
        ways.push(format!("\"[\" ({rule} ({comma} {rule})* | \"\") \"]\""));
        let entry = self.entry(notation, &rule);
        ways.push(format!("\"{{\" ({entry} ({comma} {entry})* | \"\") \"}}\""));
        self.lark.define(&rule, &ways.join(" | "));
        rule
    }
}

/// A pattern of JSON Schema (ECMA 262, found anywhere) as a regular expression for the whole text;
/// `None` for one with anchors inside or with what no automaton can do.
fn ecma(pattern: &str) -> Option<String> {
    let (start, rest) = match pattern.strip_prefix('^') {
        Some(rest) => ("", rest),
        None => ("(?s:.*)", pattern),
    };
    let (rest, end) = match rest.strip_suffix('$').filter(|rest| !rest.ends_with('\\')) {
        Some(rest) => (rest, ""),
        None => (rest, "(?s:.*)"),
    };
    let mut out = String::new();
    let mut class = false;
    let mut chars = rest.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let (digit, word) = match class {
                    true => ("0-9", "A-Za-z0-9_"),
                    false => ("[0-9]", "[A-Za-z0-9_]"),
                };
                match chars.next()? {
                    'd' => out.push_str(digit),
                    'w' => out.push_str(word),
                    'b' | 'B' | 'k' | '1'..='9' => return None,
                    other => out.extend(['\\', other]),
                }
            }
            '(' if !class && chars.peek() == Some(&'?') => {
                out.push('(');
                out.push(chars.next()?);
                match chars.peek() {
                    Some(':') => {}
                    _ => return None,
                }
            }
            '^' | '$' if !class => return None,
            '[' if !class => {
                class = true;
                out.push(c);
                if chars.peek() == Some(&'^') {
                    out.extend(chars.next());
                }
            }
            ']' => {
                class = false;
                out.push(c);
            }
            '/' => out.push_str("\\/"),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    Some(format!("{start}(?:{out}){end}"))
}

/// A date (RFC 3339) of any year, without leap days.
const DATE: &str = "[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])\
    |(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))";
const TIME: &str =
    "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+\\-]([01][0-9]|2[0-3]):[0-5][0-9])";

/// The formats that can be told in a few characters.
fn format_regex(format: &str) -> Option<String> {
    Some(match format {
        "date" => DATE.to_owned(),
        "time" => TIME.to_owned(),
        "date-time" => format!("{DATE}T{TIME}"),
        "uuid" => "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}".to_owned(),
        "ipv4" => {
            const BYTE: &str = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
            format!("({BYTE}\\.){{3}}{BYTE}")
        }
        _ => return None,
    })
}
