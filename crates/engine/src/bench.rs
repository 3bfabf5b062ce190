//! How fast a model runs here, beside what the machine can do in the same minute.

use std::path::Path;
use std::time::{Duration, Instant};

use chela_kernels::{ActivationKind, Format, Isa};

use crate::block::{BLOCK_TOKENS, BlockId, blocks_for};
use crate::engine::{EngineOptions, Loaded};
use crate::formats::Source;
use crate::model::{KvStore, LoadError, Model, Progress};
use crate::scheduler::{Batch, BatchItem, Rows, SequenceCache, SequenceId};

/// What to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchOptions {
    /// Numbers of threads.
    pub threads: Vec<usize>,
    /// Tokens of the prompts that are prefilled in one step.
    pub prompts: Vec<usize>,
    /// Sequences that decode at once.
    pub batches: Vec<usize>,
    /// Tokens that each of them has before.
    pub context: usize,
    /// Measured steps of each kind; their median counts.
    pub steps: usize,
}

/// A step's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A prompt of so many tokens.
    Prefill(usize),
    /// One token for each of so many sequences.
    Decode(usize),
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Threads that computed.
    pub threads: usize,
    /// The step's kind.
    pub work: Work,
    /// Median seconds of a step.
    pub seconds: f64,
    /// Tokens per second.
    pub rate: f64,
    /// Bytes per second of weights and cached keys and values that were read.
    pub bytes_rate: f64,
    /// Bytes per second that all these threads can read, measured around it.
    pub bandwidth: f64,
    /// Multiplications and additions per second in products with weights.
    pub operations_rate: f64,
    /// The most that these threads do with operands of this type, measured around it.
    pub peak: f64,
}

/// What was measured with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The instruction set.
    pub isa: Isa,
    /// The types of the matrices as they are held, with the number of matrices of each.
    pub formats: Vec<(Format, usize)>,
}

/// Loads a model and measures it; `done` is called with each reading.
///
/// # Errors
/// If the model cannot be loaded, or what is asked for does not fit its memory.
pub fn bench(
    path: &Path,
    options: &EngineOptions,
    wanted: &BenchOptions,
    progress: &mut dyn FnMut(Progress),
    done: &mut dyn FnMut(Reading),
) -> Result<Setup, LoadError> {
    let widest = wanted.prompts.iter().chain(&wanted.batches).copied().max().unwrap_or(1);
    let options = EngineOptions { max_batch_tokens: options.max_batch_tokens.max(widest), ..options.clone() };
    let Loaded { mut model, mut cache, sizing, .. } = Loaded::of(Source::open(path)?, &options, progress)?;
    let works = wanted.prompts.iter().map(|n| Work::Prefill(*n));
    let works: Vec<Work> = works.chain(wanted.batches.iter().map(|n| Work::Decode(*n))).collect();
    for threads in &wanted.threads {
        model.set_pool(options.pool(*threads)?);
        for work in &works {
            let batch = batch(*work, wanted.context);
            let blocks: usize = batch.items.iter().map(|item| item.cache.blocks.len()).sum();
            if blocks > sizing.blocks {
                return Err(LoadError::Memory(format!(
                    "{work:?} needs {blocks} KV blocks; {} fit the memory",
                    sizing.blocks
                )));
            }
            done(read(&mut model, &mut cache, &batch, *work, wanted)?);
        }
    }
    Ok(Setup { isa: model.kernels().isa(), formats: model.weights().formats() })
}

/// How fast a model is here, in tokens per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Reading a prompt.
    pub prefill: f64,
    /// Writing an answer.
    pub decode: f64,
}

/// Loads a model and looks for about `limit` at how fast it reads a prompt of `prompt` tokens, or as much
/// of it as the time allows, and how fast it writes behind it.
///
/// # Errors
/// If the model cannot be loaded, or computes nothing.
pub fn rates(
    source: Source,
    options: &EngineOptions,
    prompt: usize,
    limit: Duration,
    progress: &mut dyn FnMut(Progress),
) -> Result<Rates, LoadError> {
    let Loaded { mut model, mut cache, sizing, .. } = Loaded::of(source, options, progress)?;
    let prompt = prompt.clamp(1, sizing.window.saturating_sub(BLOCK_TOKENS).max(1));
    let mut step = |work| -> Result<f64, LoadError> {
        let began = Instant::now();
        model.forward(&batch(work, prompt), &mut cache, &mut |_, _, _| {})?;
        Ok(began.elapsed().as_secs_f64().max(1e-9))
    };
    let began = Instant::now();
    // The first step reads the weights from the disk.
    step(Work::Decode(1))?;
    let mut times = vec![step(Work::Decode(1))?];
    while began.elapsed() < limit / 3 && times.len() < 100 {
        times.push(step(Work::Decode(1))?);
    }
    times.sort_by(f64::total_cmp);
    let longest = prompt.min(options.batch_tokens());
    let mut tokens = longest.min(16);
    let mut seconds = step(Work::Prefill(tokens))?;
    // More tokens at once are read at a higher rate: the largest step that the time allows counts.
    while tokens < longest {
        let next = longest.min(2 * tokens);
        let expected = Duration::from_secs_f64(seconds * next as f64 / tokens as f64);
        if began.elapsed() + expected > limit {
            break;
        }
        (tokens, seconds) = (next, step(Work::Prefill(next))?);
    }
    Ok(Rates { prefill: tokens as f64 / seconds, decode: 1.0 / times[times.len() / 2] })
}

/// The step; keys and values before it are zeros, which take as long as others.
fn batch(work: Work, context: usize) -> Batch {
    let (sequences, start, tokens) = match work {
        Work::Prefill(tokens) => (1, 0, tokens),
        Work::Decode(sequences) => (sequences, context, 1),
    };
    let blocks = blocks_for(start + tokens) as u32;
    let item = |i: u32| BatchItem {
        id: SequenceId(u64::from(i)),
        start,
        tokens: vec![1; tokens],
        cache: SequenceCache { blocks: (i * blocks..(i + 1) * blocks).map(BlockId).collect(), state: None },
        rows: Rows::Last,
        samples: true,
    };
    Batch { items: (0..sequences as u32).map(item).collect(), ..Batch::default() }
}

fn read(
    model: &mut Model,
    cache: &mut KvStore,
    batch: &Batch,
    work: Work,
    wanted: &BenchOptions,
) -> Result<Reading, LoadError> {
    let before = model.kernels().bandwidth(model.pool())?;
    model.forward(batch, cache, &mut |_, _, _| {})?;
    let mut times = Vec::new();
    for _ in 0..wanted.steps.max(1) {
        let began = Instant::now();
        model.forward(batch, cache, &mut |_, _, _| {})?;
        times.push(began.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let seconds = times[times.len() / 2];
    let after = model.kernels().bandwidth(model.pool())?;
    let (tokens, sampled) = (batch.tokens(), batch.items.len());
    let matrices: Vec<_> = model.weights().multiplied().map(|m| (m.shape(), m.bytes().len())).collect();
    let last = matrices.len() - 1;
    let operations: usize = matrices
        .iter()
        .enumerate()
        .map(|(i, (shape, _))| 2 * shape.rows() * shape.cols() * if i == last { sampled } else { tokens })
        .sum();
    let positions: usize = batch.items.iter().map(|item| item.start + item.tokens.len()).sum();
    let cached = 2 * model.spec().kv_values_per_token() * positions;
    let bytes = cached + matrices.iter().map(|(_, bytes)| bytes).sum::<usize>();
    let kind = matrices.first().map_or(ActivationKind::F32, |(shape, _)| shape.format().activation());
    let (kernels, pool) = (model.kernels(), model.pool());
    let peak = match kind {
        ActivationKind::F32 => kernels.peak_f32(pool),
        ActivationKind::Bf16 => kernels.peak_bf16(pool),
        ActivationKind::Q8 => kernels.peak_int8(pool),
    };
    Ok(Reading {
        threads: pool.threads(),
        work,
        seconds,
        rate: tokens as f64 / seconds,
        bytes_rate: bytes as f64 / seconds,
        bandwidth: before.midpoint(after),
        operations_rate: operations as f64 / seconds,
        peak,
    })
}
