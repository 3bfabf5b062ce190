//! What this machine can do, measured as the kernels would use it: the yardstick of benchmarks.
#![allow(unsafe_op_in_unsafe_fn, reason = "the contract is that of `Table`")]

use std::time::Instant;

use crate::memory::AlignedBytes;
use crate::simd::Simd;
use crate::{Error, Kernels, Pool};

/// Bytes that a bandwidth reading walks over: far beyond the caches of most machines.
const WALK_BYTES: usize = 512 << 20;
/// Bytes per task of the walk.
const WALK_TASK: usize = 1 << 20;
/// Walks per reading.
const WALKS: usize = 7;
/// Rounds of a peak measurement and iterations of each.
const ROUNDS: usize = 7;
const ITERATIONS: u64 = 1 << 20;
/// Independent chains in the peak loops: latency times width of the CPUs known.
const CHAINS: usize = 12;
/// What the chains multiply with, from memory as in the kernels.
const ONES: [u32; CHAINS] = [0x0101_0101; CHAINS];

/// A large buffer to read through, for readings beside the figures that they are compared with.
#[derive(Debug)]
pub struct BandwidthProbe {
    bytes: AlignedBytes,
}

impl BandwidthProbe {
    /// Allocates and touches 512 MiB.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new() -> Result<Self, Error> {
        let mut bytes = AlignedBytes::zeroed(WALK_BYTES)?;
        bytes.chunks_mut(4096).for_each(|page| page[0] = 1);
        Ok(Self { bytes })
    }

    /// One walk of all threads over the buffer, in bytes per second.
    pub fn read(&self, kernels: Kernels, pool: &Pool) -> f64 {
        let start = Instant::now();
        pool.run(WALK_BYTES / WALK_TASK, |i| {
            let part = &self.bytes[i * WALK_TASK..][..WALK_TASK];
            // SAFETY: the set is one that this CPU has.
            std::hint::black_box(unsafe { (kernels.table().read)(part) });
        });
        WALK_BYTES as f64 / start.elapsed().as_secs_f64()
    }
}

impl Kernels {
    /// Memory bandwidth in bytes per second, all threads reading: the median of several walks.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn bandwidth(&self, pool: &Pool) -> Result<f64, Error> {
        let probe = BandwidthProbe::new()?;
        Ok(median((0..WALKS).map(|_| probe.read(*self, pool)).collect()))
    }

    /// Multiplications and additions per second of 8-bit products, all threads, from registers.
    pub fn peak_int8(&self, pool: &Pool) -> f64 {
        peak(pool, self.table().peak_int8)
    }

    /// Multiplications and additions per second of bfloat16 products, all threads, from registers.
    pub fn peak_bf16(&self, pool: &Pool) -> f64 {
        peak(pool, self.table().peak_bf16)
    }

    /// Multiplications and additions per second of f32 products, all threads, from registers.
    pub fn peak_f32(&self, pool: &Pool) -> f64 {
        peak(pool, self.table().peak_f32)
    }
}

fn peak(pool: &Pool, work: unsafe fn(u64) -> u64) -> f64 {
    let round = || {
        let total = std::sync::atomic::AtomicU64::new(0);
        let start = Instant::now();
        pool.run(pool.threads(), |_| {
            // SAFETY: the function comes from the table of a set that this CPU has.
            let operations = unsafe { work(ITERATIONS) };
            total.fetch_add(operations, std::sync::atomic::Ordering::Relaxed);
        });
        total.into_inner() as f64 / start.elapsed().as_secs_f64()
    };
    median((0..ROUNDS).map(|_| round()).collect())
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

/// Reads `bytes`, a multiple of 256.
#[inline(always)]
pub(crate) unsafe fn read<S: Simd>(bytes: &[u8]) -> u32 {
    let mut sums = [S::splat(0.0); 4];
    for part in bytes.chunks_exact(256) {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = S::add(*sum, S::load(part.as_ptr().add(i * 64).cast()));
        }
    }
    let sum = S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3]));
    S::reduce_add(sum).to_bits()
}

/// `n` rounds of 12 dot products of a quad; returns the operations done.
#[inline(always)]
pub(crate) unsafe fn int8<S: Simd>(n: u64) -> u64 {
    let line = [3u8; 64];
    let quads = std::hint::black_box(ONES);
    let mut dots = [S::nstart(0); CHAINS];
    for _ in 0..n {
        // Loaded anew, lest the products be taken out of the loop.
        let weights = S::load_line(std::hint::black_box(line.as_ptr()));
        for (dot, quad) in dots.iter_mut().zip(quads) {
            *dot = S::ndot(*dot, weights, quad);
        }
    }
    let mut sum = S::splat(0.0);
    for dot in dots {
        sum = S::add(sum, S::to_f32(S::nend(dot, 0)));
    }
    std::hint::black_box(S::reduce_add(sum));
    n * (CHAINS * S::LANES * 4 * 2) as u64
}

/// `n` rounds of 12 pair products; returns the operations done.
#[inline(always)]
pub(crate) unsafe fn bf16<S: Simd>(n: u64) -> u64 {
    let line = [0u8; 64];
    let weights = S::load_line(std::hint::black_box(line.as_ptr()));
    let pairs = std::hint::black_box(ONES);
    let mut sums = [S::splat(0.0); CHAINS];
    for _ in 0..n {
        for (sum, pair) in sums.iter_mut().zip(pairs) {
            *sum = S::dot_bf16(*sum, weights, pair);
        }
    }
    keep::<S>(sums);
    n * CHAINS as u64 * 32 * 2
}

/// `n` rounds of 12 multiply-adds; returns the operations done.
#[inline(always)]
pub(crate) unsafe fn f32<S: Simd>(n: u64) -> u64 {
    let a = S::splat(std::hint::black_box(0.5));
    let factors = std::hint::black_box(ONES);
    let mut sums = [S::splat(0.0); CHAINS];
    for _ in 0..n {
        for (sum, factor) in sums.iter_mut().zip(factors) {
            *sum = S::fma(a, S::splat(f32::from_bits(factor)), *sum);
        }
    }
    keep::<S>(sums);
    n * CHAINS as u64 * 16 * 2
}

/// Makes the chains' results used.
#[inline(always)]
unsafe fn keep<S: Simd>(sums: [S::F; CHAINS]) {
    let mut all = S::splat(0.0);
    for sum in sums {
        all = S::add(all, sum);
    }
    std::hint::black_box(S::reduce_add(all));
}
