//! Tokenizers: token by token what the reference implementations give.

#![allow(clippy::unwrap_used)]

mod detokenizer;
mod gguf;
mod kinds;
mod parity;
mod refused;

/// Texts on which tokenizers differ: scripts, combining marks, emoji sequences, white space of
/// all kinds, code, numbers, contractions, control characters, special tokens in text.
const TORTURE: &[&str] = &[
    "",
    " ",
    "  ",
    "\n",
    "\n\n \n\t \r\n",
    "Hello world",
    " Hello  world   !",
    "the quick brown fox jumps over the lazy dog",
    "don't I'LL we'Ve he'd 'tis 'ſ x'S",
    "1234567890 3.14159 1,000,000 ½ ٣ ² Ⅻ",
    "CamelCaseWordsAndABBREVIATIONSLikeHTTPServer ÄÖÜßẞ ǅungla",
    "naïve café cafe\u{301} e\u{301}\u{302}\u{323} a\u{300}\u{316}",
    "日本語のテキストと中文文本、한국어 텍스트",
    "Привет мир Ελληνικά עברית العربية हिन्दी ไทย བོད་ཡིག",
    "🙂👍🏽👨‍👩‍👧‍👦🏳️‍🌈 ❤️ 🇩🇪",
    "fn main() {\n    let x = vec![1, 2, 3];\n\tprintln!(\"{:?}\", x);\n}\n",
    "#!/bin/bash\nset -euo pipefail; echo \"$HOME/*.txt\" | grep -v '^#' >/dev/null 2>&1 || exit 1",
    "https://example.com/a/b?c=d&e=%20f#g user@example.org",
    "{\"a\": [1, 2.5, null], \"b\": {\"c\": \"\\u00e9\\n\"}}",
    "a\u{a0}b\u{2009}c\u{3000}d\u{200b}e\u{feff}f\u{85}g\u{2028}h",
    "\u{0}\u{1}\u{7f}\u{80}\u{9f}\u{ad}\u{fffd}\u{10ffff}",
    "▁ already ▁▁ metaspace ▁",
    "Ġ Ċ byte alphabet ĠĠ",
    "<0x0A> <0xFF>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "===============---------------***************////\\\\\\\\",
    "<s>text</s> <|im_start|>user\nhi<|im_end|>\n<think>x</think>",
    "<|im_start|><|im_start|>  <|im_end|>",
    "<|im_start <|im_end|>> <mask>word <mask> wordmask words",
    "ﬁ ﬀ Å Å ① ㎏ ｶﾞ 각 각",
];
