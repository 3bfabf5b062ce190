//! What may happen to a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use chela_engine::bench::{BenchOptions, Work, bench};
use chela_engine::engine::{
    Engine, EngineOptions, FinishReason, Output, Request, SubmitError, ThinkingBudget,
};
use chela_engine::grammar::Grammar;
use chela_engine::sampler::{SamplingParams, mix};
use chela_engine::scheduler::Priority;

use crate::{collect, engine, options, recordings_folder};

fn prompt(engine: &Engine, text: &str) -> Vec<u32> {
    engine.tokenizer().encode(text, true, true).unwrap()
}

fn endless(max_tokens: usize) -> SamplingParams {
    SamplingParams { max_tokens: Some(max_tokens), ignore_eos: true, ..SamplingParams::greedy() }
}

/// Servers share an engine between threads and send handles to others.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn sent<T: Send>() {}
    shared::<Engine>();
    sent::<chela_engine::engine::Handle>();
};

/// Waits until the engine's counts are as wanted.
fn until(engine: &Engine, what: &str, wanted: impl Fn(&chela_engine::engine::Stats) -> bool) {
    let began = Instant::now();
    while !wanted(&engine.stats()) {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}: {:?}", engine.stats());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn dropping_a_handle_frees_everything() {
    let engine = engine(&options());
    let mut handle = engine.submit(Request::new(prompt(&engine, "The quick"), endless(1900))).unwrap();
    assert!(matches!(handle.recv(), Some(Output::Prompt { .. } | Output::Delta(_))));
    drop(handle);
    until(&engine, "the request ends", |s| {
        s.load.running == 0 && s.load.used_blocks == 0 && s.cancelled == 1
    });
    assert!(engine.stats().generated_tokens < 1900, "it was cancelled before its end");
}

#[test]
fn stop_strings_cut_the_text_where_vllm_cuts_it() {
    let engine = engine(&options());
    let params = SamplingParams { stop: vec!["lazy".into(), "over".into()], ..SamplingParams::greedy() };
    let answer = |params| {
        collect(engine.submit(Request::new(prompt(&engine, "The quick brown fox"), params)).unwrap(), 1)
    };
    let cut = answer(params.clone()).choices.remove(0);
    assert_eq!((&*cut.text, cut.finish), (" jumps ", Some(FinishReason::StopString("over".into()))));
    let kept = answer(SamplingParams { include_stop: true, ..params }).choices.remove(0);
    assert_eq!(kept.text, " jumps over");
}

#[test]
fn several_sequences_share_a_prompt_and_differ_by_seed() {
    let engine = engine(&options());
    let params = SamplingParams {
        n: 3,
        temperature: 1.5,
        seed: Some(7),
        max_tokens: Some(24),
        ..SamplingParams::default()
    };
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(4);
    let submit = |params: &SamplingParams| {
        let answer =
            collect(engine.submit(Request::new(prompt(&engine, &text), params.clone())).unwrap(), params.n);
        answer.choices.into_iter().map(|c| c.tokens).collect::<Vec<_>>()
    };
    let all = submit(&params);
    assert_ne!(all[0], all[1]);
    assert_eq!(submit(&params), all);
    let second = SamplingParams { n: 1, seed: Some(8), ..params };
    assert_eq!(submit(&second)[0], all[1]);
}

#[test]
fn a_grammar_holds_whatever_the_model_would_say() {
    let engine = engine(&options());
    let schema = serde_json::json!({ "type": "object", "additionalProperties": false, "required": ["n", "ok"],
        "properties": { "n": { "type": "integer", "minimum": 10, "maximum": 99 }, "ok": { "type": "boolean" } } });
    for seed in 0..8 {
        let params = SamplingParams {
            temperature: 2.0,
            seed: Some(seed),
            max_tokens: Some(200),
            ..SamplingParams::default()
        };
        let request = Request {
            grammar: Some(Grammar::JsonSchema(schema.clone())),
            ..Request::new(prompt(&engine, "zz"), params)
        };
        let answer = collect(engine.submit(request).unwrap(), 1);
        let choice = &answer.choices[0];
        if choice.finish == Some(FinishReason::Length) {
            continue; // Blanks are unbounded in JSON.
        }
        let value: serde_json::Value = serde_json::from_str(&choice.text).unwrap();
        assert!((10..100).contains(&value["n"].as_i64().unwrap()) && value["ok"].is_boolean(), "{value}");
    }
    let bad = Request {
        grammar: Some(Grammar::Regex("(".into())),
        ..Request::new(vec![1], SamplingParams::greedy())
    };
    assert!(matches!(engine.submit(bad), Err(SubmitError::Grammar(_))));
}

#[test]
fn reasoning_ends_at_its_budget() {
    let engine = engine(&options());
    let mark = |text: &str| engine.tokenizer().encode(text, false, true).unwrap();
    let (start, end) = (mark("<think>"), mark("</think>"));
    let thinking = Some(ThinkingBudget { tokens: 5, start, end: end.clone(), open: true });
    let request = Request { thinking, ..Request::new(prompt(&engine, "The quick brown fox"), endless(12)) };
    let answer = collect(engine.submit(request).unwrap(), 1);
    assert_eq!(answer.choices[0].tokens[5..5 + end.len()], end);
}

#[test]
fn what_cannot_be_served_is_refused_with_the_numbers() {
    let engine = engine(&EngineOptions { context: Some(64), max_waiting: 2, max_running: 1, ..options() });
    let submit = |prompt: Vec<u32>, params| engine.submit(Request::new(prompt, params));
    let error = |result: Result<_, SubmitError>| {
        result.map(|_: chela_engine::engine::Handle| ()).unwrap_err().to_string()
    };
    assert_eq!(
        error(submit(vec![1; 64], SamplingParams::greedy())),
        "the prompt has 64 tokens and the window holds 64; one must be left for the answer"
    );
    assert_eq!(
        error(submit(vec![], SamplingParams::greedy())),
        "the prompt has no token; expected at least one"
    );
    assert_eq!(
        error(submit(vec![1, 5000], SamplingParams::greedy())),
        "token id 5000 is out of vocabulary; expected ids below 1209"
    );
    assert_eq!(
        error(submit(vec![1], SamplingParams { top_p: 2.0, ..SamplingParams::greedy() })),
        "top_p must be in (0, 1], got 2"
    );
    // A longer limit than the window is cut to it, as the length reason says.
    let answer = collect(submit(vec![5; 60], endless(1000)).unwrap(), 1);
    assert_eq!((answer.choices[0].tokens.len(), &answer.choices[0].finish), (4, &Some(FinishReason::Length)));

    let many = SamplingParams { n: 3, ..endless(50) };
    let kept = submit(vec![5; 4], many).unwrap();
    let full = error(submit(vec![5; 4], endless(1)));
    assert!(full.contains("may"), "{full}");
    assert_eq!(collect(kept, 3).choices.len(), 3);
}

#[test]
fn handles_can_be_polled() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let engine = engine(&options());
    let mut handle = engine
        .submit(Request::new(prompt(&engine, "The quick brown fox"), SamplingParams::greedy()))
        .unwrap();
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(count.clone());
    let (mut text, began) = (String::new(), Instant::now());
    loop {
        assert!(began.elapsed() < Duration::from_secs(60));
        let before = count.0.load(Ordering::SeqCst);
        match handle.poll_recv(&mut Context::from_waker(&waker)) {
            Poll::Ready(None) => break,
            Poll::Ready(Some(Output::Delta(delta))) => text += &delta.text,
            Poll::Ready(Some(_)) => {}
            Poll::Pending => {
                while count.0.load(Ordering::SeqCst) == before {
                    assert!(began.elapsed() < Duration::from_secs(60), "never woken");
                    std::thread::yield_now();
                }
            }
        }
    }
    assert_eq!(text, " jumps over the lazy dog.");
}

#[test]
fn dropping_the_engine_fails_what_is_under_way() {
    let engine = engine(&options());
    let handle = engine.submit(Request::new(prompt(&engine, "The quick"), endless(1900))).unwrap();
    drop(engine);
    let answer = collect(handle, 1);
    assert!(answer.failed.unwrap().contains("stopped"));
}

#[test]
fn an_unread_answer_does_not_hold_up_others() {
    let engine = engine(&options());
    let unread = engine.submit(Request::new(prompt(&engine, "The quick"), endless(40))).unwrap();
    let read = engine.submit(Request::new(prompt(&engine, "The quick brown fox"), endless(60))).unwrap();
    assert_eq!(collect(read, 1).choices[0].tokens.len(), 60);
    until(&engine, "both end", |s| s.load.running == 0);
    assert_eq!(collect(unread, 1).choices[0].tokens.len(), 40);
}

#[test]
fn a_bench_reads_every_kind_of_step() {
    let wanted =
        BenchOptions { threads: vec![1, 2], prompts: vec![40], batches: vec![1, 3], context: 50, steps: 3 };
    let mut readings = Vec::new();
    let model = recordings_folder().join("tiny-model");
    bench(&model, &options(), &wanted, &mut |_| {}, &mut |reading| readings.push(reading)).unwrap();
    let kinds: Vec<_> = readings.iter().map(|r| (r.threads, r.work)).collect();
    let works = [Work::Prefill(40), Work::Decode(1), Work::Decode(3)];
    assert_eq!(kinds, [works.map(|w| (1, w)), works.map(|w| (2, w))].concat());
    assert!(readings.iter().all(|r| r.rate > 0.0 && r.bandwidth > 0.0 && r.peak > 0.0 && r.bytes_rate > 0.0));

    let huge = BenchOptions { batches: vec![100_000], ..wanted };
    let tight = EngineOptions { memory: Some(1 << 30), ..options() };
    assert!(bench(&model, &tight, &huge, &mut |_| {}, &mut |_| {}).is_err());
}

#[test]
fn many_clients_that_come_and_go_leave_nothing_behind() {
    let engine = engine(&EngineOptions { max_running: 6, context: Some(512), ..options() });
    let text = prompt(&engine, &"The quick brown fox jumps over the lazy dog. ".repeat(8));
    std::thread::scope(|scope| {
        for client in 0..6u64 {
            let (engine, text) = (&engine, &text);
            scope.spawn(move || {
                for i in 0..10u64 {
                    let length = 1 + (mix(client * 100 + i) % text.len() as u64) as usize;
                    let params = SamplingParams { n: 1 + (i % 3) as usize, ..endless(5 + 2 * i as usize) };
                    let n = params.n;
                    let request = Request {
                        client: client.to_string(),
                        priority: if i % 4 == 0 { Priority::Background } else { Priority::Interactive },
                        ..Request::new(text[..length].to_vec(), params)
                    };
                    let mut handle = engine.submit(request).unwrap();
                    match i % 5 {
                        0 => drop(handle),
                        1 => drop(handle.recv().map(|_| handle)),
                        _ => assert_eq!(collect(handle, n).failed, None),
                    }
                }
            });
        }
    });
    until(&engine, "all is over", |s| s.load.running + s.load.waiting + s.waiting_new == 0);
    let stats = engine.stats();
    assert_eq!((stats.load.used_blocks, stats.failed), (0, 0), "{stats:?}");
    assert!(engine.is_alive());
}
