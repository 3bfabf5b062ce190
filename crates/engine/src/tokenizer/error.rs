/// Why a tokenizer could not be built, or a text not be encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The description is not the JSON that it should be.
    #[error("tokenizer.json: {0}")]
    Json(#[from] serde_json::Error),
    /// A component that this engine does not have.
    #[error("tokenizer {component} {name} is not supported: {hint}")]
    Unsupported {
        /// The kind of component ("model", "normalizer", "pre-tokenizer" …).
        component: &'static str,
        /// Its name, as the file spells it.
        name: String,
        /// What is supported instead.
        hint: String,
    },
    /// A field that contradicts another one or itself.
    #[error("tokenizer {what}: expected {expected}, found {found}")]
    Invalid {
        /// The field.
        what: String,
        /// What would have been accepted.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// A pre-tokenizer pattern gave up on a text (its backtracking limit was reached).
    #[error("the tokenizer's pattern {pattern} failed on the text: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// The regex engine's reason.
        reason: String,
    },
    /// A piece of text for which the vocabulary has no token, no byte token and no unknown token.
    #[error("the vocabulary has no token for {text:?}, nor one for unknown text")]
    Unencodable {
        /// The piece.
        text: String,
    },
}
