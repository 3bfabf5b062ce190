//! Rotary position embeddings and the ways to stretch them.

use std::f64::consts::PI;

/// A rotary embedding (Su et al., 2021).
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Rotated values per head, two per frequency.
    pub dim: usize,
    /// Base of the frequencies.
    pub theta: f32,
    /// How the frequencies differ from `theta^(-2i/dim)`.
    pub scaling: RopeScaling,
    /// Whether value `2i` turns with `2i + 1`, as in GGUF's `llama`, and not `i` with `i + dim / 2`.
    pub pairs: bool,
}

/// How frequencies are stretched beyond the length of the first training.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All divided by a factor.
    Linear {
        /// The factor.
        factor: f32,
    },
    /// Llama 3.1: low frequencies divided, high ones kept, those between interpolated.
    Llama3 {
        /// The factor of low frequencies.
        factor: f32,
        /// Wavelengths above `original / low` are low frequencies.
        low: f32,
        /// Wavelengths below `original / high` are high frequencies.
        high: f32,
        /// Length of the first training, in tokens.
        original: usize,
    },
    /// YaRN (Peng et al., 2023).
    Yarn {
        /// The factor of low frequencies.
        factor: f32,
        /// Length of the first training, in tokens.
        original: usize,
        /// Rotations over that length above which a frequency is kept.
        beta_fast: f32,
        /// Rotations below which it is divided.
        beta_slow: f32,
        /// Factor of cosines and sines.
        attention: f32,
        /// Whether the bounds of the ramp are rounded to whole frequencies.
        truncate: bool,
    },
    /// Each frequency divided by its own factor, as GGUF files store Llama 3's scaling.
    Factors(Vec<f32>),
}

impl Rope {
    /// The angle per position of each frequency; `dim / 2` values.
    #[must_use]
    pub fn inverse_frequencies(&self) -> Vec<f32> {
        let base = |i: usize| f64::from(self.theta).powf(-((2 * i) as f64) / self.dim as f64);
        (0..self.dim / 2).map(|i| self.stretch(i, base(i)) as f32).collect()
    }

    /// Factor of cosines and sines.
    #[must_use]
    pub fn magnitude(&self) -> f32 {
        match self.scaling {
            RopeScaling::Yarn { attention, .. } => attention,
            _ => 1.0,
        }
    }

    fn stretch(&self, i: usize, freq: f64) -> f64 {
        match &self.scaling {
            RopeScaling::None => freq,
            RopeScaling::Linear { factor } => freq / f64::from(*factor),
            RopeScaling::Factors(factors) => freq / f64::from(factors[i]),
            &RopeScaling::Llama3 { factor, low, high, original } => {
                let (factor, low, high) = (f64::from(factor), f64::from(low), f64::from(high));
                // Rotations over the original length: the place between low and high.
                let rotations = original as f64 * freq / (2.0 * PI);
                let kept = ((rotations - low) / (high - low)).clamp(0.0, 1.0);
                freq * (kept + (1.0 - kept) / factor)
            }
            &RopeScaling::Yarn { factor, original, beta_fast, beta_slow, truncate, .. } => {
                let [low, high] = self.yarn_ramp(original, beta_fast, beta_slow, truncate);
                let divided = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                freq * (1.0 - divided + divided / f64::from(factor))
            }
        }
    }

    /// The frequency indices between which YaRN goes from keeping to dividing.
    fn yarn_ramp(&self, original: usize, fast: f32, slow: f32, truncate: bool) -> [f64; 2] {
        let dim = self.dim as f64;
        let index = |rotations: f32| {
            let wavelength = original as f64 / (f64::from(rotations) * 2.0 * PI);
            dim * wavelength.ln() / (2.0 * f64::from(self.theta).ln())
        };
        let (mut low, mut high) = (index(fast), index(slow));
        if truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        (low, high) = (low.max(0.0), high.min(dim - 1.0));
        [low, if high == low { low + 0.001 } else { high }]
    }
}
