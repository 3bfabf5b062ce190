//! The tool-call dialects, as data.
//!
//! One table per dialect says which marker opens a call, where the name stands, how the arguments
//! are written, what closes it, and how several calls follow one another. The parser reads these
//! tables, the renderer writes by them, and a grammar can be generated from them.

mod deepseek;
mod gemma;
mod glm;
mod granite;
mod harmony;
mod hermes;
mod json;
mod kimi;
mod llama3;
mod minimax;
mod mistral;
mod phi4;
mod pythonic;
mod qwen_xml;
pub(crate) mod shape;
mod write;

use serde::{Deserialize, Serialize};

pub use write::write_calls;
pub(crate) use write::{gemma, python};

/// How a model writes a tool call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.
    Hermes,
    /// `<tool_call><function=f><parameter=k>v</parameter></function></tool_call>`.
    QwenXml,
    /// `<|python_tag|>` (optional), then `{"name": …, "parameters": {…}}` joined by `;`.
    Llama3Json,
    /// `[TOOL_CALLS]f[ARGS]{…}`, or the older `[TOOL_CALLS] [{…}]`.
    Mistral,
    /// `<|channel|>commentary to=functions.f <|constrain|>json<|message|>{…}<|call|>`.
    Harmony,
    /// `<|tool_call>call:f{k:<|"|>v<|"|>}<tool_call|>`.
    Gemma4,
    /// `<start_function_call>call:f{k:<escape>v<escape>}<end_function_call>`.
    FunctionGemma,
    /// A fenced or bare JSON object with the keys `name` and `arguments` or `parameters` that
    /// names an offered tool and is the whole rest of the answer.
    Json,
    /// `[f(a=1), g(b="x")]`, with or without Llama 4's `<|python_start|>` around it, or in a
    /// `tool_code` fence as Gemma 3 writes it.
    Pythonic,
    /// Pythonic between `<|tool_call_start|>` and `<|tool_call_end|>`.
    Lfm2,
    /// Pythonic, one call a line, between `<function_calls>` and `</function_calls>`.
    Olmo3,
    /// DeepSeek V3 and R1: `function`, separator, name, and a fenced JSON object.
    DeepseekV3,
    /// DeepSeek V3.1: name, separator, JSON.
    DeepseekV31,
    /// DeepSeek V3.2 and later: DSML `invoke` and `parameter` elements.
    DeepseekDsml,
    /// `<tool_call>f\n<arg_key>k</arg_key>\n<arg_value>v</arg_value></tool_call>`.
    Glm45,
    /// `<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{…}<|tool_call_end|>`.
    KimiK2,
    /// `<minimax:tool_call><invoke name="f"><parameter name="k">v</parameter></invoke>…`.
    MinimaxM2,
    /// `<|tool_call|>[{"name": …, "arguments": {…}}]`.
    Granite,
    /// `functools[{"name": …, "arguments": {…}}]`.
    Phi4Mini,
}

/// One dialect: the forms in which its calls appear. The first form is the one that is written
/// and that a grammar enforces; the others are read too.
#[derive(Debug, PartialEq)]
pub struct ToolDialect {
    /// Which dialect this is.
    pub dialect: Dialect,
    /// The value of vLLM's `--tool-call-parser` for it.
    pub vllm_parser: Option<&'static str>,
    /// The forms of a call.
    pub forms: &'static [Form],
    /// How several calls in one answer follow one another.
    pub parallel: Parallel,
}

/// How several calls in one answer follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parallel {
    /// Each call with its own markers, with this text between them.
    Repeat(&'static str),
    /// Several bodies inside one pair of markers, with this text between them.
    Inside(&'static str),
}

/// One form of a call.
#[derive(Debug, PartialEq)]
pub struct Form {
    /// Markers around a group of calls.
    pub section: Option<Section>,
    /// The marker that opens a call.
    pub open: Open,
    /// What stands between the opening and the closing marker.
    pub body: Body,
    /// The markers that close a call; empty where the end of the body is the end of the call.
    pub close: &'static [&'static str],
}

impl Form {
    /// The markers around a call and around its group.
    pub fn markers(&self) -> impl Iterator<Item = &'static str> {
        let open = match self.open {
            Open::Marker(marker) => Some(marker),
            Open::Start | Open::Rest => None,
        };
        let section = self.section.iter().flat_map(|section| [section.open, section.close]);
        open.into_iter().chain(section).chain(self.close.iter().copied())
    }
}

/// Markers around a group of calls.
#[derive(Debug, PartialEq, Eq)]
pub struct Section {
    /// Opens the group.
    pub open: &'static str,
    /// Closes the group.
    pub close: &'static str,
    /// Whether a call outside a group does not count.
    pub required: bool,
    /// Whether each call is written with a group of its own.
    pub each: bool,
    /// Whether the markers stand on lines of their own.
    pub lines: bool,
}

/// What opens a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// This marker, wherever it stands.
    Marker(&'static str),
    /// The body itself, as the first thing in an answer; the tool must be offered.
    Start,
    /// The body itself, from the beginning of a line to the end of the answer; the tool must be
    /// offered.
    Rest,
}

/// How name and arguments are written.
#[derive(Debug, PartialEq)]
pub enum Body {
    /// A JSON object with `name` and `arguments` or `parameters`, or an array of such objects.
    Object(ObjectSyntax),
    /// The name, then the arguments as a JSON object.
    NameThenJson(NameSyntax),
    /// Elements with one parameter each; values are typed by the tool's schema.
    Params(ParamSyntax),
    /// Gemma's `call:f{k:v}` with strings between two of these quote markers.
    Gemma {
        /// Stands before and after a string.
        quote: &'static str,
    },
    /// Python calls with keyword arguments. Both ways are read.
    Python {
        /// Whether they are written as a list instead of one a line.
        list: bool,
    },
    /// A Harmony message header with a recipient, then JSON.
    Harmony,
    /// JSON in a code fence, or bare.
    Fenced,
}

/// How a [`Body::Object`] is written. All of its variants are read.
#[derive(Debug, PartialEq, Eq)]
pub struct ObjectSyntax {
    /// The key of the arguments.
    pub args_key: &'static str,
    /// Whether the calls stand in an array.
    pub array: bool,
    /// Whether the object stands on a line of its own between the markers.
    pub lines: bool,
}

/// The part of a [`Body::NameThenJson`] before its JSON.
#[derive(Debug, PartialEq, Eq)]
pub struct NameSyntax {
    /// Text before the name; optional in the input where `prefix_optional`.
    pub prefix: &'static str,
    /// Whether the prefix may be absent.
    pub prefix_optional: bool,
    /// What may follow the name before the JSON begins; the first that occurs ends the name.
    pub after: &'static [&'static str],
    /// Whether one of `after` must be there.
    pub after_required: bool,
    /// Whether the name ends with `:` and a running number, as in `functions.f:0`.
    pub counted: bool,
}

/// The markers of a [`Body::Params`].
#[derive(Debug, PartialEq, Eq)]
pub struct ParamSyntax {
    /// Ends the function's name.
    pub name_end: NameEnd,
    /// Opens a parameter; its key follows.
    pub param_open: &'static str,
    /// Ends the key. Several where the marker also says how the value is written.
    pub key_end: &'static [KeyEnd],
    /// Opens the value after the key, where that is a marker of its own.
    pub value_open: Option<&'static str>,
    /// Closes a parameter.
    pub param_close: &'static str,
    /// Whether one newline after the opening and before the closing marker belongs to the
    /// markers.
    pub trim_newline: bool,
}

/// What ends the name in a [`ParamSyntax`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameEnd {
    /// This marker.
    Marker(&'static str),
    /// White space or the next `<`.
    Space,
}

/// A marker after a parameter's key, and how the value after it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyEnd {
    /// The marker.
    pub marker: &'static str,
    /// How the value is read.
    pub value: ValueKind,
}

/// How a parameter's value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// By the schema of the parameter; a string where the schema says nothing.
    BySchema,
    /// As a string, verbatim.
    Text,
    /// As JSON.
    Json,
}

/// Every dialect. Where two share a marker, the one that is listed first is tried first.
pub const ALL: &[Dialect] = &[
    Dialect::Hermes,
    Dialect::QwenXml,
    Dialect::Glm45,
    Dialect::Mistral,
    Dialect::Harmony,
    Dialect::Gemma4,
    Dialect::FunctionGemma,
    Dialect::DeepseekV3,
    Dialect::DeepseekV31,
    Dialect::DeepseekDsml,
    Dialect::KimiK2,
    Dialect::MinimaxM2,
    Dialect::Granite,
    Dialect::Phi4Mini,
    Dialect::Lfm2,
    Dialect::Olmo3,
    Dialect::Llama3Json,
    Dialect::Pythonic,
    Dialect::Json,
];

impl Dialect {
    /// The dialect's table.
    pub fn table(self) -> &'static ToolDialect {
        match self {
            Dialect::Hermes => &hermes::TABLE,
            Dialect::QwenXml => &qwen_xml::TABLE,
            Dialect::Llama3Json => &llama3::TABLE,
            Dialect::Mistral => &mistral::TABLE,
            Dialect::Harmony => &harmony::TABLE,
            Dialect::Gemma4 => &gemma::GEMMA4,
            Dialect::FunctionGemma => &gemma::FUNCTION_GEMMA,
            Dialect::Json => &json::TABLE,
            Dialect::Pythonic => &pythonic::PYTHONIC,
            Dialect::Lfm2 => &pythonic::LFM2,
            Dialect::Olmo3 => &pythonic::OLMO3,
            Dialect::DeepseekV3 => &deepseek::V3,
            Dialect::DeepseekV31 => &deepseek::V31,
            Dialect::DeepseekDsml => &deepseek::DSML,
            Dialect::Glm45 => &glm::TABLE,
            Dialect::KimiK2 => &kimi::TABLE,
            Dialect::MinimaxM2 => &minimax::TABLE,
            Dialect::Granite => &granite::TABLE,
            Dialect::Phi4Mini => &phi4::TABLE,
        }
    }

    /// The dialect that a vLLM `--tool-call-parser` name stands for; `None` for a name that no
    /// dialect here reads.
    pub fn from_vllm_parser(name: &str) -> Option<Dialect> {
        Some(match name {
            "hermes" | "qwen3_json" | "granite4" | "ernie45" => Dialect::Hermes,
            "qwen3_coder" | "qwen3_xml" | "step3p5" | "mimo" | "nemotron_v3" => Dialect::QwenXml,
            "llama3_json" | "llama4_json" => Dialect::Llama3Json,
            "mistral" => Dialect::Mistral,
            "openai" => Dialect::Harmony,
            "gemma4" => Dialect::Gemma4,
            "functiongemma" => Dialect::FunctionGemma,
            "pythonic" | "llama4_pythonic" => Dialect::Pythonic,
            "lfm2" => Dialect::Lfm2,
            "olmo3" => Dialect::Olmo3,
            "deepseek_v3" => Dialect::DeepseekV3,
            "deepseek_v31" => Dialect::DeepseekV31,
            "deepseek_v32" | "deepseek_v4" => Dialect::DeepseekDsml,
            "glm45" | "glm47" | "ling3" | "poolside_v1" => Dialect::Glm45,
            "kimi_k2" => Dialect::KimiK2,
            "minimax_m2" => Dialect::MinimaxM2,
            "granite" => Dialect::Granite,
            "phi4_mini_json" => Dialect::Phi4Mini,
            "xlam" => Dialect::Json,
            _ => return None,
        })
    }
}

/// Prefixes that models put before a tool's name and that are not part of it.
pub(crate) const NAME_PREFIXES: &[&str] = &["functions.", "default_api.", "functions/", "tools."];

/// A tool's name without the prefixes that a model may put before it, unless a tool is offered
/// under the full name.
pub(crate) fn bare_name<'a>(name: &'a str, tools: &crate::ToolSet) -> &'a str {
    let name = name.trim();
    if tools.offers(name) {
        return name;
    }
    NAME_PREFIXES
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .filter(|rest| !rest.is_empty())
        .unwrap_or(name)
}

/// The tokens that end a Harmony message.
pub(crate) const HARMONY_CLOSE: &[&str] = harmony::CLOSE;
