//! Runs the GGUF tokenizers against llama.cpp's test vectors: for each `NAME.gguf` in a folder
//! that has `NAME.gguf.inp` (texts) and `NAME.gguf.out` (token ids, recorded from the original
//! tokenizers) beside it, prints how many texts give the recorded ids.

#![allow(clippy::print_stdout)]

use std::{error::Error, fs, path::Path, time::Instant};

use chela_engine::{
    formats::{Config, gguf::Gguf},
    tokenizer::Tokenizer,
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: vocab_check FOLDER")?;
    let mut paths: Vec<_> = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "gguf"))
        .collect();
    paths.sort();
    for path in paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        match check(&path) {
            Ok(result) => println!("{name:32} {result}"),
            Err(error) => println!("{name:32} refused: {error}"),
        }
    }
    Ok(())
}

fn check(path: &Path) -> Result<String, Box<dyn Error>> {
    let gguf = Gguf::open(path)?;
    let start = Instant::now();
    let tokenizer = Tokenizer::from_gguf(&Config::Gguf(gguf.metadata()))?;
    let loaded = format!(
        "{} tokens in {:.1} ms, {:.1} MB",
        tokenizer.vocab_size(),
        start.elapsed().as_secs_f64() * 1e3,
        tokenizer.heap_bytes() as f64 / 1e6
    );
    let with = |end: &str| fs::read_to_string(format!("{}.{end}", path.display()));
    let (Ok(texts), Ok(expected)) = (with("inp"), with("out")) else {
        return Ok(format!("no vectors      {loaded}"));
    };
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    let expected: Vec<&str> = expected.split('\n').collect();
    let (mut passed, mut total, mut round_trips) = (0, 0, 0);
    for (text, line) in texts.iter().zip(&expected) {
        let ids: Result<Vec<u32>, _> = line.split_whitespace().map(str::parse).collect();
        let (ids, found) = (ids?, tokenizer.encode(text, false, false)?);
        total += 1;
        if ids == found {
            passed += 1;
        } else {
            println!("  {text:?}\n    expected {ids:?}\n    found    {found:?}");
        }
        round_trips += usize::from(tokenizer.decode(&ids, false) == *text);
    }
    Ok(format!("{passed}/{total}, {round_trips} round trips   {loaded}"))
}
