use std::path::{Path, PathBuf};

use super::{Header, Metadata, parse};
use crate::formats::{Config, FormatError, Mmap, Tensor};

/// An opened GGUF model: one file, or all files of a split one (`…-00001-of-00003.gguf`).
#[derive(Debug)]
pub struct Gguf {
    shards: Vec<Shard>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    map: Mmap,
    header: Header,
}

impl Shard {
    fn open(path: PathBuf) -> Result<Self, FormatError> {
        let map = Mmap::open(&path)?;
        Self::of(path, map)
    }

    fn of(path: PathBuf, map: Mmap) -> Result<Self, FormatError> {
        let header = parse(&map).map_err(|error| error.in_file(&path))?;
        Ok(Self { path, map, header })
    }

    fn config(&self) -> Config<'_> {
        Config::Gguf(self.header.metadata(&self.map))
    }
}

impl Gguf {
    /// Open a file. Any part of a split model stands for the whole; its other parts are looked
    /// for beside it, by name.
    ///
    /// # Errors
    /// [`FormatError`] with the path of the file concerned: it cannot be read or parsed, a part
    /// is missing or says that it is another one, a tensor stands in two parts.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let Some((stem, named)) = split_name(path) else {
            let shard = Shard::open(path.to_path_buf())?;
            let count = split(&shard, "split.count")?;
            if count > 1 {
                return Err(FormatError::invalid(
                    "the file's name",
                    None,
                    format!("NAME-00001-of-{count:05}.gguf, since it is one of {count} parts"),
                    path.display(),
                )
                .in_file(path));
            }
            return Ok(Self { shards: vec![shard] });
        };
        let mut shards = Vec::new();
        for part in 1..=named {
            let name = format!("{stem}-{part:05}-of-{named:05}.gguf");
            let shard = Shard::open(path.with_file_name(name))?;
            for (key, expected) in [("split.count", named), ("split.no", part - 1)] {
                let found = split(&shard, key)?;
                if found != expected {
                    let error = FormatError::invalid(key, None, expected.to_string(), found);
                    return Err(error.in_file(&shard.path));
                }
            }
            shards.push(shard);
        }
        let gguf = Self { shards };
        gguf.check_parts()?;
        Ok(gguf)
    }

    /// A file that is part of the program; `name` is what errors call it.
    ///
    /// # Errors
    /// [`FormatError`] if it cannot be parsed.
    pub fn of_program(name: &Path, bytes: &'static [u8]) -> Result<Self, FormatError> {
        Ok(Self { shards: vec![Shard::of(name.to_path_buf(), Mmap::of_program(bytes))?] })
    }

    fn check_parts(&self) -> Result<(), FormatError> {
        let mut names = std::collections::HashSet::new();
        for shard in &self.shards {
            for name in shard.header.tensors.keys() {
                if !names.insert(name) {
                    let what = format!("tensor {name:?}");
                    let error = FormatError::invalid(what, None, "it in one part", "it in two");
                    return Err(error.in_file(&shard.path));
                }
            }
        }
        let first = &self.shards[0];
        let Some(expected) = first.config().uint("split.tensors.count")? else {
            return Ok(());
        };
        if expected != names.len() as u64 {
            let expected = expected.to_string();
            let error = FormatError::invalid("split.tensors.count", None, expected, names.len());
            return Err(error.in_file(&first.path));
        }
        Ok(())
    }

    /// The metadata (of the first part, where the model's are).
    pub fn metadata(&self) -> Metadata<'_> {
        let first = &self.shards[0];
        first.header.metadata(&first.map)
    }

    /// The tensor of this name, if there is one.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        self.shards.iter().find_map(|shard| {
            let (name, info) = shard.header.tensors.get_key_value(name)?;
            Some(info.view(name, &shard.map))
        })
    }

    /// All tensors, in alphabetical order within each part.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor<'_>> {
        self.shards.iter().flat_map(|shard| {
            let tensors = shard.header.tensors.iter();
            tensors.map(|(name, info)| info.view(name, &shard.map))
        })
    }

    /// The files, with their sizes in bytes.
    pub fn files(&self) -> impl Iterator<Item = (&Path, u64)> {
        let shards = self.shards.iter();
        shards.map(|shard| (shard.path.as_path(), shard.map.len() as u64))
    }
}

/// A number of the split's bookkeeping; 0 where the file has none.
fn split(shard: &Shard, key: &str) -> Result<u64, FormatError> {
    let number = shard.config().uint(key);
    Ok(number.map_err(|error| error.in_file(&shard.path))?.unwrap_or(0))
}

/// `NAME` and the number of parts in `NAME-00002-of-00003.gguf`.
fn split_name(path: &Path) -> Option<(&str, u64)> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
    let (stem, count) = stem.rsplit_once("-of-")?;
    let (stem, part) = stem.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let count = (digits(count) && digits(part)).then(|| count.parse().ok())??;
    (count > 0).then_some((stem, count))
}
