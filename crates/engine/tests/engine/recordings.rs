//! What vLLM generated greedily, with its logprobs, counts and reasons.

use chela_engine::engine::{Engine, EngineOptions, FinishReason, Request};
use chela_engine::grammar::Grammar;
use chela_engine::sampler::{Logprobs, SamplingParams};
use chela_kernels::Isa;
use serde_json::Value;

use crate::{collect, engine, options, recordings_folder};

/// The largest difference of a log-probability above -6. vLLM computes this model in bf16 throughout; the
/// kernels keep activations between products in f32.
const LOGPROB_BOUND: f64 = 0.12;

/// Completions with temperature 0, and one whose grammar is a choice.
const CASES: [&str; 15] = [
    "compl",
    "compl_default",
    "compl_batch",
    "compl_batch_ids",
    "compl_echo",
    "compl_echo0",
    "compl_echo_lp",
    "compl_ids",
    "compl_ignore_eos",
    "compl_lp",
    "compl_mintok",
    "compl_special",
    "compl_tokid",
    "compl_trunc",
    "so_compl",
];

fn body(case: &str, kind: &str) -> Value {
    let bytes =
        std::fs::read(recordings_folder().join("s1_misc").join(format!("{case}.{kind}.http"))).unwrap();
    let at = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    serde_json::from_slice(&bytes[at + 4..]).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn prompts(engine: &Engine, prompt: &Value) -> Vec<Vec<u32>> {
    match prompt {
        Value::String(text) => vec![engine.tokenizer().encode(text, true, true).unwrap()],
        Value::Array(all) if all[0].is_u64() => vec![ids(prompt)],
        Value::Array(all) => all.iter().flat_map(|one| prompts(engine, one)).collect(),
        other => panic!("prompt {other}"),
    }
}

fn params(request: &Value) -> SamplingParams {
    let count = |key: &str| request[key].as_u64();
    assert_eq!(request["temperature"].as_f64(), Some(0.0));
    let logprobs = count("logprobs").map(|n| n as u32);
    SamplingParams {
        max_tokens: Some(count("max_tokens").unwrap_or(16) as usize),
        min_tokens: count("min_tokens").unwrap_or(0) as usize,
        ignore_eos: request["ignore_eos"] == true,
        skip_special_tokens: request["skip_special_tokens"] != false,
        logprobs,
        prompt_logprobs: logprobs.filter(|_| request["echo"] == true),
        ..SamplingParams::greedy()
    }
}

fn close(got: f32, expected: &Value, what: &str) {
    let expected = expected.as_f64().unwrap();
    let difference = (f64::from(got) - expected).abs();
    assert!(
        difference < LOGPROB_BOUND || (expected < -6.0 && difference < 1.0),
        "{what}: {got} for {expected}"
    );
}

fn check_logprobs(got: &[Option<Logprobs>], expected: &Value, what: &str) {
    let recorded = expected["token_logprobs"].as_array().unwrap();
    assert_eq!(got.len(), recorded.len(), "{what}");
    for (i, (got, recorded)) in got.iter().zip(recorded).enumerate() {
        match got {
            None => assert!(recorded.is_null(), "{what}"),
            Some(got) => close(got.chosen.logprob, recorded, &format!("{what} token {i}")),
        }
    }
}

fn check(engine: &Engine, case: &str) {
    let (request, response) = (body(case, "request"), body(case, "response"));
    let choices = response["choices"].as_array().unwrap();
    let mut completion_tokens = 0;
    for (mut prompt, choice) in prompts(engine, &request["prompt"]).into_iter().zip(choices) {
        if let Some(kept) = request["truncate_prompt_tokens"].as_u64() {
            prompt.drain(..prompt.len() - kept as usize);
        }
        let what = format!("{case} on {}", engine.info().isa);
        let grammar = request["structured_outputs"]["choice"].as_array().map(|texts| {
            Grammar::choice(&texts.iter().map(|t| t.as_str().unwrap().to_owned()).collect::<Vec<_>>())
        });
        let sent = Request { grammar, ..Request::new(prompt.clone(), params(&request)) };
        let answer = collect(engine.submit(sent).unwrap(), 1);
        assert_eq!(answer.failed, None, "{what}");
        let got = &answer.choices[0];
        let echo = if request["echo"] == true { request["prompt"].as_str().unwrap() } else { "" };
        assert_eq!(format!("{echo}{}", got.text), choice["text"].as_str().unwrap(), "{what}");
        let (reason, stop) = match got.finish.clone().unwrap() {
            FinishReason::Length => ("length", Value::Null),
            FinishReason::EndToken(id) => ("stop", id.map_or(Value::Null, Value::from)),
            FinishReason::StopString(text) => ("stop", text.into()),
        };
        assert_eq!(choice["finish_reason"], reason, "{what}");
        // The choice's output has several tokenizations, which end with either end token.
        if case != "so_compl" {
            assert_eq!(choice["stop_reason"], stop, "{what}");
        }
        if choice["token_ids"].is_array() {
            assert_eq!(got.tokens, ids(&choice["token_ids"]), "{what}");
        }
        if choice["logprobs"].is_object() {
            let generated = got.logprobs.iter().cloned().map(Some);
            let all: Vec<_> = answer.prompt_logprobs.iter().cloned().chain(generated).collect();
            check_logprobs(&all, &choice["logprobs"], &what);
        }
        completion_tokens += got.tokens.len() as u64;
    }
    // vLLM computes a token even where none is wanted.
    let expected = response["usage"]["completion_tokens"].as_u64().unwrap();
    if case != "so_compl" {
        assert_eq!(completion_tokens, if case == "compl_echo0" { expected - 1 } else { expected }, "{case}");
    }
}

#[test]
fn greedy_completions_are_those_of_vllm_on_every_instruction_set() {
    for isa in Isa::available() {
        let engine = engine(&EngineOptions { isa: Some(isa), ..options() });
        CASES.iter().for_each(|case| check(&engine, case));
    }
}

#[test]
fn a_chat_prompt_of_recorded_ids_gives_the_recorded_ids() {
    let file = recordings_folder().join("s1_hermes/chat_ret_ids.response.http");
    let bytes = std::fs::read(file).unwrap();
    let at = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let response: Value = serde_json::from_slice(&bytes[at + 4..]).unwrap();
    let engine = engine(&options());
    let expected = ids(&response["choices"][0]["token_ids"]);
    let params = SamplingParams { max_tokens: Some(expected.len()), ..SamplingParams::greedy() };
    let request = Request::new(ids(&response["prompt_token_ids"]), params);
    let answer = collect(engine.submit(request).unwrap(), 1);
    assert_eq!(answer.choices[0].tokens, expected);
}
