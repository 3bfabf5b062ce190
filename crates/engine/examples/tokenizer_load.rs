//! Measures what a tokenizer costs: builds one from a `tokenizer.json` and prints the best load
//! time of several, the memory of the tables, the peak of the process, and the encoding rate on a
//! text file (this source by default). `--synthesise FILE` writes a `tokenizer.json` with a
//! vocabulary of 152,000 to measure.

#![allow(clippy::print_stdout)]

use std::{collections::HashSet, error::Error, fmt::Write as _, fs, time::Instant};

use chela_engine::tokenizer::Tokenizer;

const USAGE: &str = "usage: tokenizer_load TOKENIZER.json [TEXT] | --synthesise FILE";

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or(USAGE)?;
    if path == "--synthesise" {
        return Ok(fs::write(args.next().ok_or(USAGE)?, synthesise(152_000))?);
    }
    let json = fs::read(path)?;
    let text = match args.next() {
        Some(path) => fs::read_to_string(path)?,
        None => include_str!("tokenizer_load.rs").repeat(100),
    };
    let before = memory("VmRSS")?;
    let mut best = f64::INFINITY;
    let mut tokenizer = None;
    for _ in 0..10 {
        drop(tokenizer.take());
        let start = Instant::now();
        tokenizer = Some(Tokenizer::from_json(&json)?);
        best = best.min(start.elapsed().as_secs_f64());
    }
    let tokenizer = tokenizer.ok_or("no tokenizer")?;
    println!(
        "{:.1} MB of JSON, {} tokens: {:.1} ms, tables {:.1} MB, peak above the file {:.1} MB",
        json.len() as f64 / 1e6,
        tokenizer.vocab_size(),
        best * 1e3,
        tokenizer.heap_bytes() as f64 / 1e6,
        (memory("VmHWM")? - before) as f64 / 1e3,
    );
    let start = Instant::now();
    let ids = tokenizer.encode(&text, false, true)?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{} bytes to {} tokens: {:.1} MB/s", text.len(), ids.len(), text.len() as f64 / 1e6 / seconds);
    Ok(())
}

/// A field of `/proc/self/status`, in kB.
fn memory(field: &str) -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(number.ok_or("no such field")?.parse()?)
}

/// A byte-level tokenizer.json in the shape of Qwen's, with random merges.
fn synthesise(size: usize) -> String {
    let printable = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 0x100;
    let mut tokens: Vec<String> = Vec::new();
    for byte in 0..=255u8 {
        let code = if printable(byte) {
            u32::from(byte)
        } else {
            next += 1;
            next - 1
        };
        tokens.extend(char::from_u32(code).map(String::from));
    }
    let mut known: HashSet<String> = tokens.iter().cloned().collect();
    let mut merges = String::new();
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    while tokens.len() < size {
        // The smaller of two draws: real merges mostly join early tokens.
        let mut draw = || random(tokens.len()).min(random(tokens.len()));
        let (left, right) = (draw(), draw());
        let merged = format!("{}{}", tokens[left], tokens[right]);
        if merged.len() > 24 || !known.insert(merged.clone()) {
            continue;
        }
        let separator = if merges.is_empty() { "" } else { ",\n      " };
        let pair = [&tokens[left], &tokens[right]];
        let _ = write!(merges, "{separator}{pair:?}");
        tokens.push(merged);
    }
    let vocab: Vec<String> =
        (0..).zip(&tokens).map(|(id, token): (usize, _)| format!("{token:?}: {id}")).collect();
    let pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    format!(
        r#"{{"version":"1.0","added_tokens":[{{"id":{size},"content":"<|im_start|>","special":true}}],
        "normalizer":{{"type":"NFC"}},"pre_tokenizer":{{"type":"Sequence","pretokenizers":[
        {{"type":"Split","pattern":{{"Regex":"{pattern}"}},"behavior":"Isolated","invert":false}},
        {{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}}]}},
        "post_processor":null,"decoder":{{"type":"ByteLevel"}},
        "model":{{"type":"BPE","vocab":{{
      {}
    }},"merges":[
      {merges}
    ]}}}}"#,
        vocab.join(",\n      ")
    )
}
