use crate::formats::Config;

use super::SpecError;

/// The hyperparameters under a prefix, with the checks that every field needs.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub config: Config<'a>,
    pub prefix: &'a str,
}

impl<'a> Fields<'a> {
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub fn missing(&self, name: &str) -> SpecError {
        SpecError::Missing { field: self.key(name) }
    }

    pub fn has(&self, name: &str) -> bool {
        self.config.get(&self.key(name)).is_some()
    }

    pub fn str(&self, name: &str) -> Result<Option<&'a str>, SpecError> {
        Ok(self.config.str(&self.key(name))?)
    }

    pub fn strs(&self, name: &str) -> Result<Option<Vec<&'a str>>, SpecError> {
        Ok(self.config.strs(&self.key(name))?)
    }

    pub fn flag(&self, name: &str) -> Result<Option<bool>, SpecError> {
        Ok(self.config.bool(&self.key(name))?)
    }

    /// A finite number.
    pub fn number(&self, name: &str) -> Result<Option<f32>, SpecError> {
        let value = self.config.float(&self.key(name))?.map(|v| v as f32);
        match value {
            Some(v) if !v.is_finite() => Err(SpecError::invalid(&self.key(name), "a finite number", v)),
            value => Ok(value),
        }
    }

    pub fn need_number(&self, name: &str) -> Result<f32, SpecError> {
        self.number(name)?.ok_or_else(|| self.missing(name))
    }

    /// A count from 1. Nothing in a decoder's shape reaches 2^31, so products of two counts stay
    /// within 64 bits.
    pub fn count(&self, name: &str) -> Result<Option<usize>, SpecError> {
        match self.config.uint(&self.key(name))? {
            Some(n) if !(1..1 << 31).contains(&n) => {
                Err(SpecError::invalid(&self.key(name), "a count from 1 to 2^31 - 1", n))
            }
            n => Ok(n.map(|n| n as usize)),
        }
    }

    pub fn need_count(&self, name: &str) -> Result<usize, SpecError> {
        self.count(name)?.ok_or_else(|| self.missing(name))
    }

    /// Heads and their width; `kv` and `width` may be absent.
    pub fn heads(&self, names: [&str; 3], width: impl Fn(usize) -> usize) -> Result<[usize; 3], SpecError> {
        let heads = self.need_count(names[0])?;
        let kv = self.count(names[1])?.unwrap_or(heads);
        if !heads.is_multiple_of(kv) {
            let expected = format!("a divisor of the {heads} query heads");
            return Err(SpecError::invalid(&self.key(names[1]), expected, kv));
        }
        let dim = self.count(names[2])?.unwrap_or_else(|| width(heads));
        if dim == 0 || !dim.is_multiple_of(2) {
            return Err(SpecError::invalid(&self.key(names[2]), "an even width of a head", dim));
        }
        Ok([heads, kv, dim])
    }
}

/// YaRN's factor of cosines and sines for a stretch by `factor`.
pub(super) fn yarn_magnitude(factor: f32, strength: f32) -> f32 {
    if factor <= 1.0 { 1.0 } else { 0.1 * strength * factor.ln() + 1.0 }
}
