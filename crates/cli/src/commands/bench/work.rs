//! The requests: random prompts of the lengths that were asked for, the same for the same seed.

use std::time::Duration;

use super::BenchServe;

/// Common English words; nearly every vocabulary has each of them, with the space before it, as one
/// token.
const WORDS: &[&str] = &[
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school",
    "state", "family", "student", "group", "country", "problem", "hand", "part", "place", "case", "week",
    "company", "system", "program", "question", "work", "number", "night", "point", "home", "water", "room",
    "mother", "area", "money", "story", "fact", "month", "lot", "right", "study", "book", "eye", "job",
    "word", "business", "issue", "side", "kind", "head", "house", "service", "friend", "father", "power",
    "hour", "game", "line", "end", "member", "law", "car", "city", "name", "team", "minute", "idea", "body",
];

/// One request to send.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) prompt: String,
    pub(super) output: u32,
    /// When it is sent, after the start.
    pub(super) at: Duration,
}

/// SplitMix64 (Steele et al., 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In `[0, 1)`.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn length(&mut self, asked: u32, share: f64) -> u32 {
        let (low, high) = (f64::from(asked) * (1.0 - share), f64::from(asked) * (1.0 + share));
        ((low + self.unit() * (high - low)).round() as u32).max(1)
    }

    fn text(&mut self, tokens: u32, words_per_token: f64) -> String {
        let words = (f64::from(tokens) * words_per_token).round().max(1.0) as usize;
        let words: Vec<_> = (0..words).map(|_| WORDS[(self.next() % WORDS.len() as u64) as usize]).collect();
        words.join(" ")
    }
}

/// The text from which words per token are measured.
pub(super) fn sample() -> String {
    Random(0).text(256, 1.0)
}

/// All requests in the order in which they are sent.
pub(super) fn requests(args: &BenchServe, words_per_token: f64) -> Vec<Work> {
    let mut random = Random(args.seed);
    let prefix = match args.prefix_len {
        0 => String::new(),
        tokens => random.text(tokens, words_per_token) + " ",
    };
    let mut all: Vec<Work> = (0..args.num_prompts)
        .map(|_| {
            let input = random.length(args.input_len.max(1), args.range_ratio);
            let prompt = format!("{prefix}{}", random.text(input, words_per_token));
            Work { prompt, output: random.length(args.output_len, args.range_ratio), at: Duration::ZERO }
        })
        .collect();
    for (work, at) in all.iter_mut().zip(times(&mut random, args)) {
        work.at = Duration::from_secs_f64(at);
    }
    all
}

/// Times of a Poisson process, stretched so that the last falls where the rate says, as in vLLM.
fn times(random: &mut Random, args: &BenchServe) -> Vec<f64> {
    let count = args.num_prompts as usize;
    if args.request_rate.is_infinite() {
        return vec![0.0; count];
    }
    let mut at = 0.0;
    let drawn: Vec<f64> = (0..count)
        .map(|_| {
            at -= (1.0 - random.unit()).ln() / args.request_rate;
            at
        })
        .collect();
    let stretch = count as f64 / args.request_rate / at.max(f64::MIN_POSITIVE);
    drawn.into_iter().map(|at| at * stretch).collect()
}
