use serde_json::Value as Json;

use super::{FormatError, gguf};

/// A value of a model's metadata, from GGUF or from JSON.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number that is not negative.
    Uint(u64),
    /// A negative whole number.
    Int(i64),
    /// Any other number. GGUF's f32 is widened, which loses nothing.
    Float(f64),
    /// Text.
    Str(&'a str),
    /// A list.
    List(List<'a>),
    /// A JSON object.
    Object,
}

/// A list in a model's metadata; its elements are read when they are asked for.
#[derive(Clone, Copy, Debug)]
pub enum List<'a> {
    /// A GGUF array.
    Gguf(gguf::Array<'a>),
    /// A JSON array.
    Json(&'a [Json]),
}

impl<'a> List<'a> {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Gguf(array) => array.len(),
            Self::Json(array) => array.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements in order. A JSON `null` in a list is skipped.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let (gguf, json) = match *self {
            Self::Gguf(array) => (Some(array.iter()), None),
            Self::Json(array) => (None, Some(array.iter().filter_map(Value::from_json))),
        };
        gguf.into_iter().flatten().chain(json.into_iter().flatten())
    }
}

impl<'a> Value<'a> {
    /// A JSON value; `null` is no value.
    pub fn from_json(json: &'a Json) -> Option<Self> {
        Some(match json {
            Json::Null => return None,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => {
                let uint = number.as_u64().map(Self::Uint);
                let int = uint.or_else(|| number.as_i64().map(Self::Int));
                int.or_else(|| number.as_f64().map(Self::Float))?
            }
            Json::String(text) => Self::Str(text),
            Json::Array(items) => Self::List(List::Json(items)),
            Json::Object(_) => Self::Object,
        })
    }

    /// A whole number that is not negative. A float with such a value counts.
    pub fn as_uint(self) -> Option<u64> {
        match self {
            Self::Uint(value) => Some(value),
            // 2^53: above it a float no longer says which whole number was meant.
            Self::Float(v) if v >= 0.0 && v.fract() == 0.0 && v <= 9_007_199_254_740_992.0 => Some(v as u64),
            _ => None,
        }
    }

    /// Any number.
    pub fn as_float(self) -> Option<f64> {
        match self {
            Self::Uint(value) => Some(value as f64),
            Self::Int(value) => Some(value as f64),
            Self::Float(value) => Some(value),
            _ => None,
        }
    }

    /// Text.
    pub fn as_str(self) -> Option<&'a str> {
        match self {
            Self::Str(value) => Some(value),
            _ => None,
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Uint(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Str(value) => format!("{:?}", value.chars().take(60).collect::<String>()),
            Self::List(list) => format!("a list of {}", list.len()),
            Self::Object => "an object".to_owned(),
        }
    }
}

/// A model's hyperparameters by name: the metadata of a GGUF file (`qwen3.block_count`), or
/// `config.json` with dots for nesting (`rope_scaling.factor`).
///
/// A getter gives `None` for a field that is absent or `null`, and an error that names the
/// field, what was expected and what was found for one of another type.
#[derive(Clone, Copy, Debug)]
pub enum Config<'a> {
    /// The metadata of a GGUF file.
    Gguf(gguf::Metadata<'a>),
    /// A JSON file.
    Json(&'a Json),
}

impl<'a> Config<'a> {
    /// The value of a field, if it is there.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        match *self {
            Self::Gguf(metadata) => metadata.get(key),
            Self::Json(json) => {
                let mut at = json;
                for part in key.split('.') {
                    at = at.get(part)?;
                }
                Value::from_json(at)
            }
        }
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, FormatError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let wrong = || FormatError::invalid(key, None, expected, value.describe());
        read(value).map(Some).ok_or_else(wrong)
    }

    /// A whole number that is not negative.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] if the field has another type.
    pub fn uint(&self, key: &str) -> Result<Option<u64>, FormatError> {
        self.typed(key, "a whole number", Value::as_uint)
    }

    /// Any number.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] if the field has another type.
    pub fn float(&self, key: &str) -> Result<Option<f64>, FormatError> {
        self.typed(key, "a number", Value::as_float)
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] if the field has another type.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, FormatError> {
        self.typed(key, "true or false", |value| match value {
            Value::Bool(value) => Some(value),
            _ => None,
        })
    }

    /// Text.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] if the field has another type.
    pub fn str(&self, key: &str) -> Result<Option<&'a str>, FormatError> {
        self.typed(key, "text", Value::as_str)
    }

    /// A list, whatever its elements.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] if the field is no list.
    pub fn list(&self, key: &str) -> Result<Option<List<'a>>, FormatError> {
        self.typed(key, "a list", |value| match value {
            Value::List(list) => Some(list),
            _ => None,
        })
    }

    /// Whole numbers: a list of them, or a single one.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] if the field holds anything else.
    pub fn uints(&self, key: &str) -> Result<Option<Vec<u64>>, FormatError> {
        self.typed(key, "a whole number or a list of them", |value| each(value, Value::as_uint))
    }

    /// Texts: a list of them, or a single one.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] if the field holds anything else.
    pub fn strs(&self, key: &str) -> Result<Option<Vec<&'a str>>, FormatError> {
        self.typed(key, "a text or a list of texts", |value| each(value, Value::as_str))
    }
}

fn each<'a, T>(value: Value<'a>, read: impl Fn(Value<'a>) -> Option<T>) -> Option<Vec<T>> {
    match value {
        Value::List(list) => list.iter().map(read).collect(),
        one => read(one).map(|one| vec![one]),
    }
}
