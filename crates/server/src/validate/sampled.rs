//! The parameters that chat and plain completions share, in one type.

use std::collections::BTreeMap;

use chela_openai::chat::{ChatRequest, StreamOptions};
use chela_openai::completions::CompletionRequest;

macro_rules! sampled {
    ($($field:ident: $kind:ty,)*) => {
        /// How the tokens of a request are chosen and what is told about them. The names and
        /// meanings are those of the wire.
        #[derive(Debug, Clone, Default, PartialEq)]
        #[allow(missing_docs)] // the requests say what each is
        pub struct Sampled {
            $(pub $field: Option<$kind>,)*
        }

        impl From<&ChatRequest> for Sampled {
            fn from(request: &ChatRequest) -> Self {
                let shared = Self { $($field: request.$field.clone(),)* };
                Self { max_tokens: request.max_completion_tokens.or(shared.max_tokens), ..shared }
            }
        }

        impl From<&CompletionRequest> for Sampled {
            fn from(request: &CompletionRequest) -> Self {
                Self { $($field: request.$field.clone(),)* }
            }
        }
    };
}

sampled! {
    max_tokens: i64,
    temperature: f64,
    top_p: f64,
    top_k: i64,
    min_p: f64,
    seed: i64,
    stop: Vec<String>,
    stop_token_ids: Vec<i64>,
    n: i64,
    stream: bool,
    stream_options: StreamOptions,
    presence_penalty: f64,
    frequency_penalty: f64,
    repetition_penalty: f64,
    logit_bias: BTreeMap<String, f64>,
    prompt_logprobs: i64,
    ignore_eos: bool,
    min_tokens: i64,
    include_stop_str_in_output: bool,
    skip_special_tokens: bool,
    add_special_tokens: bool,
    truncate_prompt_tokens: i64,
    allowed_token_ids: Vec<i64>,
    bad_words: Vec<String>,
    echo: bool,
    priority: i64,
    cache_salt: String,
    return_token_ids: bool,
    return_tokens_as_token_ids: bool,
    user: String,
}
