//! The compiled plan on the kernels.

use chela_engine::block::{BlockId, StateSlot, blocks_for};
use chela_engine::formats::Source;
use chela_engine::model::{KvStore, LoadOptions, Model, Plan, Quantization, Weights};
use chela_engine::scheduler::{Batch, BatchItem, Rows, SequenceCache, SequenceId};
use chela_kernels::{Isa, Kernels, KvType, Pool};

use chela_engine::spec::ModelSpec;

use crate::fixture::{CASES, Expected, open};

const STEP: usize = 96;

pub struct Runner {
    model: Model,
    cache: KvStore,
}

impl Runner {
    fn new(case: &str, isa: Isa, threads: usize, quantization: Option<Quantization>) -> Self {
        Self::of(open(case), isa, threads, quantization)
    }

    pub fn of(
        (source, spec): (Source, ModelSpec),
        isa: Isa,
        threads: usize,
        quantization: Option<Quantization>,
    ) -> Self {
        let plan = Plan::compile(&spec).unwrap();
        let pool = Pool::new(threads).unwrap();
        let load = LoadOptions { quantization, pool: &pool, cache: None };
        let (weights, _) = Weights::load(&spec, &plan, &source, load, &mut |_| {}).unwrap();
        let cache = KvStore::new(&plan, KvType::F16, 24, 0).unwrap();
        Self { model: Model::new(spec, plan, weights, Kernels::for_isa(isa).unwrap(), pool, STEP), cache }
    }

    /// Logits of every token of a prompt.
    pub fn prompt(&mut self, tokens: &[u32]) -> Vec<Vec<f32>> {
        self.step(vec![item(tokens, 0, tokens.len(), 0)]).remove(0)
    }

    /// Logits of every token of every item.
    fn step(&mut self, items: Vec<BatchItem>) -> Vec<Vec<Vec<f32>>> {
        let mut rows = vec![Vec::new(); items.len()];
        let batch = Batch { items, ..Batch::default() };
        self.model
            .forward(&batch, &mut self.cache, &mut |item, row, logits| {
                assert_eq!(rows[item].len(), row);
                rows[item].push(logits.to_vec());
            })
            .unwrap();
        rows
    }
}

/// Some tokens of a sequence whose blocks are every third from `first` on.
fn item(tokens: &[u32], from: usize, to: usize, first: u32) -> BatchItem {
    let blocks = (0..blocks_for(to) as u32).map(|i| BlockId(first + 3 * i)).collect();
    BatchItem {
        id: SequenceId(u64::from(first)),
        start: from,
        tokens: tokens[from..to].to_vec(),
        cache: SequenceCache { blocks, state: None },
        rows: Rows::All,
        samples: true,
    }
}

/// The root mean square of the difference to what transformers computed in f32, relative to that of the
/// logits. Weights are exact but for quantization; activations are rounded to bf16 before a product with
/// bf16 weights and to 8 bits before one with quantized weights, keys and values to f16.
fn bound(case: &str, quantization: Option<Quantization>) -> f32 {
    match (quantization, case) {
        (Some(Quantization::Int8), _) => 0.06,
        (Some(Quantization::Int4), _) => 0.5,
        (None, "llama-bias" | "qwen3-window-bias") => 1e-3,
        (None, _) => 0.015,
    }
}

pub fn rms_difference(got: &[Vec<f32>], expected: &[Vec<f32>]) -> f32 {
    let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>();
    let mut differences = got.iter().flatten().zip(expected.iter().flatten()).map(|(a, b)| a - b);
    (square(&mut differences) / square(&mut expected.iter().flatten().copied())).sqrt()
}

#[test]
fn logits_agree_with_transformers_on_every_instruction_set() {
    for case in CASES {
        let expected = Expected::open(case);
        for isa in Isa::available() {
            for quantization in [None, Some(Quantization::Int8), Some(Quantization::Int4)] {
                let mut runner = Runner::new(case, isa, 2, quantization);
                let logits = runner.prompt(&expected.prompt);
                let sampled: Vec<_> = logits.into_iter().step_by(expected.stride).collect();
                let d = rms_difference(&sampled, &expected.rows("logits"));
                assert!(d <= bound(case, quantization), "{case} on {isa} with {quantization:?}: {d}");
            }
        }
    }
}

#[test]
fn logits_have_the_same_bits_alone_chunked_and_in_a_batch() {
    for case in ["qwen3", "qwen3-window-bias", "llama-bias", "ministral3", "places"] {
        let expected = Expected::open(case);
        let a = &expected.prompt;
        let b: Vec<u32> = a.iter().rev().copied().collect();
        for isa in Isa::available() {
            for quantization in [None, Some(Quantization::Int4)] {
                let whole = Runner::new(case, isa, 1, quantization).prompt(a);

                // Odd chunks beside another sequence, and then one token after the other.
                let mut runner = Runner::new(case, isa, 2, quantization);
                let mut got = Vec::new();
                for (chunk, range) in [(0, 0..7), (7, 7..40), (40, 40..63)] {
                    let other = item(&b, chunk / 2, range.end / 2, 1);
                    got.extend(runner.step(vec![other, item(a, range.start, range.end, 0)]).remove(1));
                }
                for p in 63..a.len() {
                    got.extend(runner.step(vec![item(a, p, p + 1, 0)]).remove(0));
                }
                assert!(whole == got, "{case} on {isa} with {quantization:?}");
            }
        }
    }
}

/// Recurrent states lie beside the blocks: a sequence finds its own as it left it, and an empty one when it
/// begins, also after it has lost its place.
#[test]
fn a_state_is_kept_with_its_sequence_and_empty_when_one_begins() {
    let (source, spec) = open("llama-bias");
    let mut plan = Plan::compile(&spec).unwrap();
    assert_eq!((plan.states.len(), KvStore::slot_bytes(&plan)), (0, 0));
    plan.states = vec![6, 10];
    assert_eq!(KvStore::slot_bytes(&plan), 64);
    let mut runner = Runner::of((source, spec), Isa::Generic, 1, None);
    runner.cache = KvStore::new(&plan, KvType::F16, 24, 3).unwrap();
    let tokens: Vec<u32> = (3..23).collect();
    let slots = [StateSlot(2), StateSlot(0)];
    let step = |runner: &mut Runner, from, to| {
        let with = |(first, slot)| {
            let item = item(&tokens, from, to, first);
            BatchItem { cache: SequenceCache { state: Some(slot), ..item.cache.clone() }, ..item }
        };
        runner.step([0, 1].into_iter().zip(slots).map(with).collect());
    };
    let fill = |runner: &mut Runner, value: f32| {
        for (layer, slot) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
            runner.cache.state(layer, StateSlot(slot)).fill(value + slot as f32);
        }
    };
    let read = |runner: &mut Runner, layer, slot| runner.cache.state(layer, StateSlot(slot)).to_vec();

    fill(&mut runner, 1.0);
    step(&mut runner, 0, 8);
    assert_eq!((read(&mut runner, 0, 2), read(&mut runner, 1, 0)), (vec![0.0; 6], vec![0.0; 10]));
    assert_eq!(read(&mut runner, 1, 1), [2.0; 10], "a slot of nobody in the batch");
    fill(&mut runner, 5.0);
    step(&mut runner, 8, 20);
    assert_eq!((read(&mut runner, 0, 2), read(&mut runner, 1, 0)), (vec![7.0; 6], vec![5.0; 10]));
    step(&mut runner, 0, 20);
    assert_eq!((read(&mut runner, 0, 2), read(&mut runner, 1, 0)), (vec![0.0; 6], vec![0.0; 10]));
}
