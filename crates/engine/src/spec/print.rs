//! A spec as text: one line per fact, runs of equal layers on one line.

use std::fmt;

use super::{Attention, Ffn, GatedDelta, LayerSpec, Mixer, ModelSpec, Names, Rope, RopeScaling};

impl fmt::Display for ModelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} vocab={} hidden={} context={}", self.arch, self.vocab, self.hidden, self.context)?;
        writeln!(f, "norm rms eps={:e}", self.norm_eps)?;
        for (i, rope) in self.ropes.iter().enumerate() {
            writeln!(f, "rope {i}: {rope}")?;
        }
        let mut from = 0;
        for run in self.layers.chunk_by(|a, b| a == b) {
            match run.len() {
                1 => writeln!(f, "layer {from}: {}", run[0])?,
                n => writeln!(f, "layers {from}-{}: {}", from + n - 1, run[0])?,
            }
            from += run.len();
        }
        write!(f, "head {}", if self.tied { "tied" } else { "own" })?;
        match self.final_logit_softcap {
            Some(cap) => writeln!(f, " softcap={cap}")?,
            None => writeln!(f)?,
        }
        match &self.names {
            Names::Hf { prefix, head } => write!(f, "names hf prefix={prefix:?} head={head:?}"),
            Names::Gguf => write!(f, "names gguf"),
        }
    }
}

impl fmt::Display for Rope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dim={} theta={}{}", self.dim, self.theta, if self.pairs { " pairs" } else { "" })?;
        match &self.scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => write!(f, " linear factor={factor}"),
            RopeScaling::Llama3 { factor, low, high, original } => {
                write!(f, " llama3 factor={factor} low={low} high={high} original={original}")
            }
            RopeScaling::Yarn { factor, original, beta_fast, beta_slow, attention, truncate } => {
                write!(f, " yarn factor={factor} original={original} beta={beta_fast}/{beta_slow}")?;
                write!(f, " attention={attention}{}", if *truncate { "" } else { " untruncated" })
            }
            RopeScaling::Factors(factors) => {
                let max = factors.iter().copied().fold(0.0, f32::max);
                write!(f, " factors={} max={max}", factors.len())
            }
        }
    }
}

impl fmt::Display for LayerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.mixer {
            Mixer::Attention(a) => write!(f, "{a}")?,
            Mixer::GatedDelta(GatedDelta { key_heads, value_heads, key_dim, value_dim, conv }) => {
                write!(
                    f,
                    "gated-delta keys={key_heads}x{key_dim} values={value_heads}x{value_dim} conv={conv}"
                )?;
            }
        }
        match &self.ffn {
            Ffn::Gated { inner, bias } => {
                write!(f, " | gated silu inner={inner}{}", if *bias { " bias" } else { "" })
            }
            Ffn::Experts { count, per_token, inner } => {
                write!(f, " | experts {per_token}/{count} inner={inner}")
            }
        }
    }
}

impl fmt::Display for Attention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "attention heads={} kv={} dim={} scale={}",
            self.heads, self.kv_heads, self.dim, self.scale
        )?;
        match self.rope {
            Some(rope) => write!(f, " rope={rope}")?,
            None => write!(f, " nope")?,
        }
        for (set, name) in [
            (self.qk_norm, " qk-norm"),
            (self.qkv_bias, " qkv-bias"),
            (self.out_bias, " out-bias"),
            (self.sinks, " sinks"),
        ] {
            if set {
                write!(f, "{name}")?;
            }
        }
        if let Some(window) = self.window {
            write!(f, " window={window}")?;
        }
        if let Some(t) = self.temperature {
            write!(f, " temperature={}/{}", t.beta, t.floor)?;
        }
        if let Some(cap) = self.softcap {
            write!(f, " softcap={cap}")?;
        }
        Ok(())
    }
}
