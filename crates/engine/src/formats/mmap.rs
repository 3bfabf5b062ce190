//! The bytes of a model file: a read-only memory map, the only `unsafe` of this crate, or a part of the program.
#![allow(unsafe_code)]

use std::{fs::File, ops::Deref, path::Path, sync::Arc};

use super::FormatError;

/// A whole file, mapped read-only or compiled into the program. Clones share the map; it goes away with
/// the last one.
///
/// Pages are read from disk when they are first touched. A file that another process shortens
/// while it is mapped raises `SIGBUS` on access, which no reader can prevent: model files are
/// replaced by renaming a new file over the old one, never rewritten in place.
#[derive(Clone, Debug)]
pub struct Mmap(Bytes);

#[derive(Clone, Debug)]
enum Bytes {
    Map(Arc<memmap2::Mmap>),
    Static(&'static [u8]),
}

impl Mmap {
    /// Map the file at `path`. An empty file gives an empty map.
    ///
    /// # Errors
    /// [`FormatError::Io`] inside [`FormatError::File`], if the file cannot be opened or mapped.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let io = |action| move |source| FormatError::Io { action, source }.in_file(path);
        let file = File::open(path).map_err(io("open"))?;
        // SAFETY: the map is read-only and private to this value; the documented condition of
        // the type is that nobody shortens or rewrites the file meanwhile.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io("map"))?;
        Ok(Self(Bytes::Map(Arc::new(map))))
    }

    /// A file that is part of the program.
    pub fn of_program(bytes: &'static [u8]) -> Self {
        Self(Bytes::Static(bytes))
    }
}

impl Deref for Mmap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Map(map) => map,
            Bytes::Static(bytes) => bytes,
        }
    }
}
