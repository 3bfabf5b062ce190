//! The parameters that chat and plain completions share.

/// Declares a request: its own fields, then the shared sampling and
/// extension fields, then `extra`. One list serves both requests; it is
/// written out flat, not nested with `flatten`, so that a reader's error
/// names the field.
macro_rules! sampled_request {
    ($(#[$meta:meta])* pub struct $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $name {
            $($own)*
            /// Most tokens to generate (chat: superseded by `max_completion_tokens`).
            #[serde(default, deserialize_with = "crate::de::opt_int", skip_serializing_if = "Option::is_none")]
            pub max_tokens: Option<i64>,
            /// 0 (greedy) to 2.
            #[serde(default, deserialize_with = "crate::de::opt_float", skip_serializing_if = "Option::is_none")]
            pub temperature: Option<f64>,
            /// Nucleus, above 0 to 1.
            #[serde(default, deserialize_with = "crate::de::opt_float", skip_serializing_if = "Option::is_none")]
            pub top_p: Option<f64>,
            /// Number of most probable tokens to sample from; 0 or -1 is off. vLLM, llama.cpp.
            #[serde(default, deserialize_with = "crate::de::opt_int", skip_serializing_if = "Option::is_none")]
            pub top_k: Option<i64>,
            /// Least probability relative to the best token, 0 to 1. vLLM, llama.cpp.
            #[serde(default, deserialize_with = "crate::de::opt_float", skip_serializing_if = "Option::is_none")]
            pub min_p: Option<f64>,
            /// Seed of this request's sampler.
            #[serde(default, deserialize_with = "crate::de::opt_int", skip_serializing_if = "Option::is_none")]
            pub seed: Option<i64>,
            /// Strings that end the answer; one string on the wire is read as a list of one.
            #[serde(default, deserialize_with = "crate::de::opt_strings", skip_serializing_if = "Option::is_none")]
            pub stop: Option<Vec<String>>,
            /// Token ids that end the answer. vLLM.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub stop_token_ids: Option<Vec<i64>>,
            /// Number of choices.
            #[serde(default, deserialize_with = "crate::de::opt_int", skip_serializing_if = "Option::is_none")]
            pub n: Option<i64>,
            /// Answer as server-sent events.
            #[serde(default, deserialize_with = "crate::de::opt_bool", skip_serializing_if = "Option::is_none")]
            pub stream: Option<bool>,
            /// What else to stream; only with `stream`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub stream_options: Option<crate::chat::StreamOptions>,
            /// -2 to 2.
            #[serde(default, deserialize_with = "crate::de::opt_float", skip_serializing_if = "Option::is_none")]
            pub presence_penalty: Option<f64>,
            /// -2 to 2.
            #[serde(default, deserialize_with = "crate::de::opt_float", skip_serializing_if = "Option::is_none")]
            pub frequency_penalty: Option<f64>,
            /// Above 0; 1 is off. vLLM.
            #[serde(default, deserialize_with = "crate::de::opt_float", skip_serializing_if = "Option::is_none")]
            pub repetition_penalty: Option<f64>,
            /// Token id (as a string) to a bias added to its logit.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub logit_bias: Option<std::collections::BTreeMap<String, f64>>,
            /// Log-probabilities of the prompt's tokens. vLLM.
            #[serde(default, deserialize_with = "crate::de::opt_int", skip_serializing_if = "Option::is_none")]
            pub prompt_logprobs: Option<i64>,
            /// `text`, `json_object` or `json_schema`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub response_format: Option<crate::chat::ResponseFormat>,
            /// Constraint on the text beyond OpenAI's. vLLM.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub structured_outputs: Option<crate::chat::StructuredOutputs>,
            /// Go on after the end-of-sequence token. vLLM, llama.cpp.
            #[serde(default, deserialize_with = "crate::de::opt_bool", skip_serializing_if = "Option::is_none")]
            pub ignore_eos: Option<bool>,
            /// Fewest tokens to generate. vLLM.
            #[serde(default, deserialize_with = "crate::de::opt_int", skip_serializing_if = "Option::is_none")]
            pub min_tokens: Option<i64>,
            /// Keep the stop string in the text. vLLM.
            #[serde(default, deserialize_with = "crate::de::opt_bool", skip_serializing_if = "Option::is_none")]
            pub include_stop_str_in_output: Option<bool>,
            /// Leave special tokens out of the text. vLLM.
            #[serde(default, deserialize_with = "crate::de::opt_bool", skip_serializing_if = "Option::is_none")]
            pub skip_special_tokens: Option<bool>,
            /// Put the tokenizer's own beginning and end tokens around the prompt. vLLM.
            #[serde(default, deserialize_with = "crate::de::opt_bool", skip_serializing_if = "Option::is_none")]
            pub add_special_tokens: Option<bool>,
            /// Keep only so many tokens of the prompt; -1 is the model's window. vLLM.
            #[serde(default, deserialize_with = "crate::de::opt_int", skip_serializing_if = "Option::is_none")]
            pub truncate_prompt_tokens: Option<i64>,
            /// The only tokens that may be generated. vLLM.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub allowed_token_ids: Option<Vec<i64>>,
            /// Words that may not be generated. vLLM.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub bad_words: Option<Vec<String>>,
            /// Put the prompt in front of the answer.
            #[serde(default, deserialize_with = "crate::de::opt_bool", skip_serializing_if = "Option::is_none")]
            pub echo: Option<bool>,
            /// Lower goes first. vLLM with `--scheduling-policy priority`.
            #[serde(default, deserialize_with = "crate::de::opt_int", skip_serializing_if = "Option::is_none")]
            pub priority: Option<i64>,
            /// The id of the answer, without its prefix. vLLM.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub request_id: Option<String>,
            /// Keeps this request's prefix cache apart from others'. vLLM.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub cache_salt: Option<String>,
            /// Answer with token ids too. vLLM.
            #[serde(default, deserialize_with = "crate::de::opt_bool", skip_serializing_if = "Option::is_none")]
            pub return_token_ids: Option<bool>,
            /// Name tokens in log-probabilities as `token_id:N`. vLLM.
            #[serde(default, deserialize_with = "crate::de::opt_bool", skip_serializing_if = "Option::is_none")]
            pub return_tokens_as_token_ids: Option<bool>,
            /// Tokens per event. vLLM.
            #[serde(default, deserialize_with = "crate::de::opt_int", skip_serializing_if = "Option::is_none")]
            pub stream_interval: Option<i64>,
            /// The end user, for the server's records.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub user: Option<String>,
            /// Reuse the prompt's prefix from the slot's cache. llama.cpp.
            #[serde(default, deserialize_with = "crate::de::opt_bool", skip_serializing_if = "Option::is_none")]
            pub cache_prompt: Option<bool>,
            /// The slot to run in. llama.cpp.
            #[serde(default, deserialize_with = "crate::de::opt_int", skip_serializing_if = "Option::is_none")]
            pub id_slot: Option<i64>,
            /// Send `timings` with every chunk. llama.cpp.
            #[serde(default, deserialize_with = "crate::de::opt_bool", skip_serializing_if = "Option::is_none")]
            pub timings_per_token: Option<bool>,
            /// Send `prompt_progress` during the prefill. llama.cpp.
            #[serde(default, deserialize_with = "crate::de::opt_bool", skip_serializing_if = "Option::is_none")]
            pub return_progress: Option<bool>,
            /// Whatever else the body carries, in its order. A key that has a
            /// field above does not belong here: `apply` sorts them.
            #[serde(flatten)]
            pub extra: serde_json::Map<String, serde_json::Value>,
        }

        impl $name {
            /// Sets body parameters by their wire names: known ones go into
            /// their fields, others into `extra`, `null` unsets.
            ///
            /// # Errors
            /// A known parameter of the wrong type; the request is unchanged.
            pub fn apply(
                &mut self,
                params: &serde_json::Map<String, serde_json::Value>,
            ) -> Result<(), serde_json::Error> {
                if params.is_empty() {
                    return Ok(());
                }
                let mut body = serde_json::to_value(&*self)?;
                if let Some(body) = body.as_object_mut() {
                    for (key, value) in params {
                        if value.is_null() {
                            body.shift_remove(key);
                        } else {
                            body.insert(key.clone(), value.clone());
                        }
                    }
                }
                *self = serde_json::from_value(body)?;
                Ok(())
            }
        }
    };
}
