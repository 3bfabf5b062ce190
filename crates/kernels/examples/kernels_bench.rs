//! Rates of the kernels on the shapes of a 1B model, beside what the machine can do in the same
//! minute: `cargo run --release -p chela-kernels --example kernels_bench [isa] [threads] [format …]`.
//!
//! Each figure is the median of several passes over all matrices of a step (random weights, 16
//! layers and the head, bf16 without the head), each pass right after a reading of bandwidth and
//! peak; shares are medians of the passes' own. Attention, norms and sampling are not in it.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a command-line tool")]

use std::time::Instant;

use chela_kernels::{
    Activation, AlignedBytes, Arrangement, BandwidthProbe, Epilogue, Format, Isa, Kernels, Matrix, Packed,
    Pool, Rows, RowsMut, Shape, SharedBytes,
};

const LAYERS: usize = 16;
const HIDDEN: usize = 2048;
const FFN: usize = 8192;
const QKV: usize = 3072;
const VOCABULARY: usize = 128_256;

struct Layer {
    qkv: Matrix,
    output: Matrix,
    gate_up: Matrix,
    down: Matrix,
}

/// Weights of arbitrary bits with small scales: the rates do not depend on the values.
fn matrix(format: Format, rows: usize, cols: usize, arrangement: Arrangement) -> Matrix {
    let shape = Shape::new(format, rows, cols, arrangement).unwrap();
    let mut bytes = AlignedBytes::zeroed(shape.bytes()).unwrap();
    let mut x = 0x9e37_79b9_u32;
    for b in bytes.chunks_exact_mut(4) {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Bits 14 and 6 of a half are cleared: no exponent is all ones.
        b.copy_from_slice(&(x & 0x3f3f_3f3f).to_le_bytes());
    }
    let len = bytes.len();
    Matrix::from_bytes(shape, SharedBytes::new(std::sync::Arc::new(bytes), 0..len).unwrap()).unwrap()
}

struct Model {
    layers: Vec<Layer>,
    head: Option<Matrix>,
}

impl Model {
    fn new(format: Format) -> Self {
        let layer = || Layer {
            qkv: matrix(format, QKV, HIDDEN, Arrangement::Plain),
            output: matrix(format, HIDDEN, HIDDEN, Arrangement::Plain),
            gate_up: matrix(format, 2 * FFN, HIDDEN, Arrangement::Paired),
            down: matrix(format, HIDDEN, FFN, Arrangement::Plain),
        };
        let quantized = format.record_bytes() * 4 < format.record_cols() * 16 * 8;
        Self {
            layers: (0..LAYERS).map(|_| layer()).collect(),
            head: quantized.then(|| matrix(format, VOCABULARY, HIDDEN, Arrangement::Plain)),
        }
    }

    fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        let layers = self.layers.iter().flat_map(|l| [&l.qkv, &l.output, &l.gate_up, &l.down]);
        layers.chain(&self.head)
    }

    /// One step of `tokens` tokens; the head for at most 16 of them, as a server would.
    fn step(&self, k: Kernels, pool: &Pool, tokens: usize, buffers: &mut Buffers) {
        let b = buffers;
        for l in &self.layers {
            let kind = l.qkv.shape().format().activation();
            let x = Rows::new(&b.x[..tokens * HIDDEN], HIDDEN);
            k.pack(pool, kind, x, &mut b.packed).unwrap();
            let out = RowsMut::new(&mut b.y[..tokens * QKV], QKV);
            k.matmul(pool, &l.qkv, &b.packed, Epilogue::STORE, out);
            let out = RowsMut::new(&mut b.y[..tokens * HIDDEN], HIDDEN);
            k.matmul(pool, &l.output, &b.packed, Epilogue::STORE, out);
            let out = RowsMut::new(&mut b.y[..tokens * FFN], FFN);
            k.matmul(pool, &l.gate_up, &b.packed, Epilogue::glu(Activation::Silu), out);
            let y = Rows::new(&b.z[..tokens * FFN], FFN);
            k.pack(pool, kind, y, &mut b.packed).unwrap();
            let out = RowsMut::new(&mut b.y[..tokens * HIDDEN], HIDDEN);
            k.matmul(pool, &l.down, &b.packed, Epilogue::STORE, out);
        }
        if let Some(head) = &self.head {
            let sampled = if tokens > 16 { 1 } else { tokens };
            let x = Rows::new(&b.x[..sampled * HIDDEN], HIDDEN);
            k.pack(pool, head.shape().format().activation(), x, &mut b.packed).unwrap();
            let out = RowsMut::new(&mut b.logits[..sampled * VOCABULARY], VOCABULARY);
            k.matmul(pool, head, &b.packed, Epilogue::STORE, out);
        }
    }
}

struct Buffers {
    x: Vec<f32>,
    y: Vec<f32>,
    z: Vec<f32>,
    logits: Vec<f32>,
    packed: Packed,
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let isa = arguments.next().map_or(Isa::detect(), |a| a.parse().unwrap());
    let cores = std::thread::available_parallelism().unwrap().get();
    let threads = arguments.next().map_or(cores, |a| a.parse().unwrap());
    let wanted: Vec<String> = arguments.collect();
    let k = Kernels::for_isa(isa).unwrap();
    let pool = Pool::new(threads).unwrap();
    println!("{isa}, {threads} threads");
    let probe = BandwidthProbe::new().unwrap();
    let mut buffers = Buffers {
        x: (0..512 * HIDDEN).map(|i| (i % 201) as f32 / 100.0 - 1.0).collect(),
        y: vec![0.0; 512 * FFN],
        z: (0..512 * FFN).map(|i| (i % 199) as f32 / 100.0 - 1.0).collect(),
        logits: vec![0.0; 16 * VOCABULARY],
        packed: Packed::new(),
    };
    for format in [Format::W8, Format::W4, Format::K4, Format::K6, Format::Bf16] {
        if !wanted.is_empty() && !wanted.iter().any(|w| *w == format!("{format:?}")) {
            continue;
        }
        let model = Model::new(format);
        let bytes: usize = model.matrices().map(|m| m.shape().bytes()).sum();
        for tokens in [1, 4, 8, 16, 512] {
            let sampled = if tokens > 16 { 1 } else { tokens };
            let head = model.head.as_ref().map_or(0, |h| h.shape().rows() * h.shape().cols());
            let layers: usize = model.layers.len() * (QKV * HIDDEN + HIDDEN * HIDDEN + 3 * FFN * HIDDEN);
            let operations = 2.0 * (layers * tokens + head * sampled) as f64;
            let passes = if tokens > 16 { 3 } else { 15 };
            let reference = |k: Kernels| match format {
                Format::Bf16 => k.peak_bf16(&pool),
                _ => k.peak_int8(&pool),
            };
            model.step(k, &pool, tokens, &mut buffers);
            let (mut times, mut walks, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..passes {
                walks.push(probe.read(k, &pool));
                peaks.push(reference(k));
                let start = Instant::now();
                model.step(k, &pool, tokens, &mut buffers);
                times.push(start.elapsed().as_secs_f64());
            }
            let of_walk = times.iter().zip(&walks).map(|(t, w)| bytes as f64 / t / w).collect();
            let of_peak = times.iter().zip(&peaks).map(|(t, p)| operations / t / p).collect();
            let (time, walk, peak) = (median(times), median(walks), median(peaks));
            println!(
                "{format:?} tokens {tokens:>3}: {:8.2} ms, {:7.1} tokens/s, {:5.1} GB/s ({:3.0} % of {:.1}), \
                 {:.3} Tops ({:2.0} % of {:.3})",
                time * 1e3,
                tokens as f64 / time,
                bytes as f64 / time / 1e9,
                100.0 * median(of_walk),
                walk / 1e9,
                operations / time / 1e12,
                100.0 * median(of_peak),
                peak / 1e12,
            );
        }
    }
}
