//! Tolerant readers for `#[serde(deserialize_with = …)]`.
//!
//! The messages of the number readers are those of pydantic, which vLLM
//! answers with, so that a server can pass them on.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde_json::Value;

/// A field with three states on the wire: absent (`None`), `null`
/// (`Some(None)`) and present. vLLM's streams tell the first two apart, so
/// that a chunk is written back byte for byte; readers call `.flatten()`.
pub type Nullable<T> = Option<Option<T>>;

/// Reads a [`Nullable`]; the field needs `default` for the absent state.
pub fn nullable<'de, D, T>(d: D) -> Result<Nullable<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(d).map(Some)
}

/// Reads `null` as the default value.
pub fn or_default<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// Reads a vendor's extra, or nothing where another vendor gives the name
/// another shape: an answer is not lost over a field that nobody asked for.
pub fn lenient<'de, D, T>(d: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: de::DeserializeOwned,
{
    Ok(serde_json::from_value(Value::deserialize(d)?).ok())
}

/// As [`opt_int`], anything else being absent.
pub fn lenient_int<'de, D, T>(d: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i128>,
{
    Ok(opt_int(Value::deserialize(d)?).unwrap_or_default())
}

/// Reads Unix seconds; zero where the server writes a date in words or none.
pub fn seconds<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    Ok(lenient_int(d)?.unwrap_or_default())
}

/// Reads an integer that may also come as `2.0`, `"2"` or `null`.
pub fn opt_int<'de, D, T>(d: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i128>,
{
    d.deserialize_any(Int(PhantomData))
}

/// As [`opt_int`], `null` being zero.
pub fn int<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i128> + Default,
{
    Ok(opt_int(d)?.unwrap_or_default())
}

struct Int<T>(PhantomData<T>);

impl<T: TryFrom<i128>> Int<T> {
    fn fit<E: de::Error>(n: i128) -> Result<Option<T>, E> {
        T::try_from(n)
            .map(Some)
            .map_err(|_| E::custom(format_args!("Input should be a valid integer, {n} is out of range")))
    }
}

impl<T: TryFrom<i128>> Visitor<'_> for Int<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a valid integer")
    }
    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Self::Value, E> {
        Self::fit(n.into())
    }
    fn visit_i64<E: de::Error>(self, n: i64) -> Result<Self::Value, E> {
        Self::fit(n.into())
    }
    fn visit_f64<E: de::Error>(self, n: f64) -> Result<Self::Value, E> {
        if n.fract() == 0.0 {
            // beyond 128 bits the conversion stops at their end, which fits nothing either
            Self::fit(n as i128)
        } else {
            Err(E::custom("Input should be a valid integer, got a number with a fractional part"))
        }
    }
    fn visit_str<E: de::Error>(self, s: &str) -> Result<Self::Value, E> {
        match s.trim().parse::<i128>() {
            Ok(n) => Self::fit(n),
            Err(_) => Err(E::custom("Input should be a valid integer, unable to parse string as an integer")),
        }
    }
}

/// Reads a number that may also come as `"0.5"` or `null`.
pub fn opt_float<'de, D: Deserializer<'de>>(d: D) -> Result<Option<f64>, D::Error> {
    d.deserialize_any(Float)
}

struct Float;

impl Visitor<'_> for Float {
    type Value = Option<f64>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a valid number")
    }
    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Self::Value, E> {
        Ok(Some(n as f64))
    }
    fn visit_i64<E: de::Error>(self, n: i64) -> Result<Self::Value, E> {
        Ok(Some(n as f64))
    }
    fn visit_f64<E: de::Error>(self, n: f64) -> Result<Self::Value, E> {
        Ok(Some(n))
    }
    fn visit_str<E: de::Error>(self, s: &str) -> Result<Self::Value, E> {
        match s.trim().parse::<f64>() {
            Ok(n) if n.is_finite() => Ok(Some(n)),
            _ => Err(E::custom("Input should be a valid number, unable to parse string as a number")),
        }
    }
}

/// Reads a boolean that may also come as 0, 1, `"true"`, `"false"` or `null`.
pub fn opt_bool<'de, D: Deserializer<'de>>(d: D) -> Result<Option<bool>, D::Error> {
    d.deserialize_any(Bool)
}

struct Bool;

impl Bool {
    fn number<E: de::Error>(n: u64) -> Result<Option<bool>, E> {
        match n {
            0 => Ok(Some(false)),
            1 => Ok(Some(true)),
            _ => Err(E::custom("Input should be a valid boolean, unable to interpret input")),
        }
    }
}

impl Visitor<'_> for Bool {
    type Value = Option<bool>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a valid boolean")
    }
    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_bool<E: de::Error>(self, b: bool) -> Result<Self::Value, E> {
        Ok(Some(b))
    }
    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Self::Value, E> {
        Self::number(n)
    }
    fn visit_i64<E: de::Error>(self, n: i64) -> Result<Self::Value, E> {
        Self::number(u64::try_from(n).unwrap_or(u64::MAX))
    }
    fn visit_str<E: de::Error>(self, s: &str) -> Result<Self::Value, E> {
        match s.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" | "t" | "y" => Ok(Some(true)),
            "false" | "0" | "no" | "off" | "f" | "n" => Ok(Some(false)),
            _ => Self::number(u64::MAX),
        }
    }
}

/// Reads one string, a list of strings, or `null`.
pub fn opt_strings<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<String>>, D::Error> {
    match Value::deserialize(d)? {
        Value::Null => Ok(None),
        Value::String(s) => Ok(Some(vec![s])),
        Value::Array(items) => items
            .into_iter()
            .map(|v| match v {
                Value::String(s) => Ok(s),
                _ => Err(de::Error::custom("Input should be a valid string")),
            })
            .collect::<Result<_, _>>()
            .map(Some),
        _ => Err(de::Error::custom("Input should be a valid string or a list of strings")),
    }
}

/// Reads text that may come as a string, `null`, or a list of parts whose
/// texts are joined (Mistral's own API answers so).
pub fn nullable_text<'de, D: Deserializer<'de>>(d: D) -> Result<Nullable<String>, D::Error> {
    opt_text(d).map(Some)
}

/// As [`nullable_text`], for a field that is always present.
pub fn opt_text<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(d)? {
        Value::Null => Ok(None),
        Value::String(s) => Ok(Some(s)),
        Value::Array(parts) => {
            Ok(Some(parts.iter().filter_map(|p| p.as_str().or_else(|| p.get("text")?.as_str())).collect()))
        }
        other => Err(de::Error::custom(format_args!("expected text, got {other}"))),
    }
}

/// Reads a tool call's arguments: JSON as text, or the object itself, or
/// `null` (no text).
pub fn arguments<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    Ok(opt_arguments(d)?.unwrap_or_default())
}

/// As [`arguments`], `null` being absent.
pub fn opt_arguments<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(d)? {
        Value::Null => None,
        Value::String(s) => Some(s),
        other => Some(other.to_string()),
    })
}

/// Reads an id that may come as a number or `null`.
pub fn id<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    Ok(opt_id(d)?.unwrap_or_default())
}

/// As [`id`], `null` being absent.
pub fn opt_id<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(d)? {
        Value::Null => Ok(None),
        Value::String(s) => Ok(Some(s)),
        Value::Number(n) => Ok(Some(n.to_string())),
        other => Err(de::Error::custom(format_args!("expected an id, got {other}"))),
    }
}
