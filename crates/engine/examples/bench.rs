//! Measures a model: `bench MODEL [int8|int4]`.

use std::io::{Write, stdout};
use std::path::Path;

use chela_engine::bench::{BenchOptions, bench};
use chela_engine::engine::EngineOptions;
use chela_engine::model::Quantization;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let model = args.get(1).ok_or("usage: bench MODEL [int8|int4]")?;
    let quantization = match args.get(2).map(String::as_str) {
        None => None,
        Some("int8") => Some(Quantization::Int8),
        Some("int4") => Some(Quantization::Int4),
        Some(other) => return Err(format!("unknown quantization {other:?}; known are int8 and int4").into()),
    };
    let options = EngineOptions { quantization, ..EngineOptions::default() };
    let threads = std::thread::available_parallelism()?.get();
    let wanted = BenchOptions {
        threads: vec![threads],
        prompts: vec![64, 512],
        batches: vec![1, 2, 4, 8, 16],
        context: 256,
        steps: 7,
    };
    let mut out = stdout();
    bench(Path::new(model), &options, &wanted, &mut |_| {}, &mut |r| {
        let line = format!(
            "{} threads {:?}: {:.1} tokens/s, {:.1} of {:.1} GB/s, {:.0} of {:.0} Gop/s",
            r.threads,
            r.work,
            r.rate,
            r.bytes_rate / 1e9,
            r.bandwidth / 1e9,
            r.operations_rate / 1e9,
            r.peak / 1e9
        );
        // A closed pipe ends the output and nothing else.
        let _ = writeln!(out, "{line}");
    })?;
    Ok(())
}
