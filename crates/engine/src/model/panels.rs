//! Repacked weights on disk, so that a second start maps them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chela_kernels::{ALIGN, Matrix, Shape, SharedBytes};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Progress, Quantization, Stage, Weights};
use crate::formats::{Mmap, Source};

/// Start of every file; the number goes up when panels change their layout.
const MAGIC: &[u8; 16] = b"chela panels 002";
const EXTENSION: &str = "panels";
/// Of files that are being written.
const TEMPORARY: &str = "tmp";
/// A file that was being written so long ago has no writer any more.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A folder of panel files, one per model and quantization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanelCache {
    /// The folder; created when the first file is stored.
    pub folder: PathBuf,
    /// Bytes of all files together; those unused for longest go first.
    pub limit: u64,
}

/// A stored model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanelEntry {
    /// The model's path.
    pub model: PathBuf,
    /// `as stored`, `int8` or `int4`.
    pub quantization: String,
    /// The panel file.
    pub file: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// When it was stored or mapped last.
    pub used: SystemTime,
}

/// What became of a model's panels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PanelStatus {
    /// There is no cache.
    Off,
    /// They were mapped from the cache.
    Mapped,
    /// They were built and stored.
    Stored,
    /// They were built; storing failed for this reason.
    NotStored(String),
}

#[derive(Serialize, Deserialize)]
struct Header {
    model: PathBuf,
    quantization: String,
    key: String,
    shapes: Vec<String>,
}

/// A mapped panel file, read matrix by matrix in the order of loading.
pub(super) struct PanelFile {
    map: Arc<Map>,
    shapes: std::vec::IntoIter<String>,
    at: usize,
}

struct Map(Mmap);

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl PanelFile {
    /// The next matrix; `None` if it is not of this shape, so that the file is of no use.
    pub(super) fn next(&mut self, shape: Shape) -> Option<Matrix> {
        if self.shapes.next()? != describe(shape) {
            return None;
        }
        let range = self.at..self.at.checked_add(shape.bytes())?;
        self.at = range.end.next_multiple_of(ALIGN);
        let bytes = SharedBytes::new(self.map.clone(), range).ok()?;
        Matrix::from_bytes(shape, bytes).ok()
    }
}

fn describe(shape: Shape) -> String {
    format!("{:?} {} {} {:?}", shape.format(), shape.rows(), shape.cols(), shape.arrangement())
}

impl PanelCache {
    /// All stored models, the last used first.
    ///
    /// # Errors
    /// If the folder exists and cannot be read. Files that are not panel files are left out.
    pub fn entries(&self) -> io::Result<Vec<PanelEntry>> {
        let folder = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            folder => folder?,
        };
        let mut entries = Vec::new();
        for file in folder {
            let file = file?.path();
            if file.extension().is_some_and(|e| e == EXTENSION)
                && let Some((_, header, _)) = open(&file)
            {
                let data = fs::metadata(&file)?;
                let used = data.modified()?;
                let Header { model, quantization, .. } = header;
                entries.push(PanelEntry { model, quantization, file, bytes: data.len(), used });
            }
        }
        entries.sort_by_key(|e| std::cmp::Reverse(e.used));
        Ok(entries)
    }

    /// The entry of a model as its files are now.
    #[must_use]
    pub fn entry(&self, source: &Source, quantization: Option<Quantization>) -> Option<PanelEntry> {
        let file = self.file(&key(source, quantization).ok()?);
        self.entries().ok()?.into_iter().find(|entry| entry.file == file)
    }

    /// Removes the files of a model; answers their bytes.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn remove(&self, model: &Path) -> io::Result<u64> {
        let model = absolute(model);
        let mut freed = 0;
        for entry in self.entries()?.into_iter().filter(|e| e.model == model) {
            fs::remove_file(&entry.file)?;
            freed += entry.bytes;
        }
        Ok(freed)
    }

    /// The panels of a model as its files are now.
    pub(super) fn find(&self, source: &Source, quantization: Option<Quantization>) -> Option<PanelFile> {
        let key = key(source, quantization).ok()?;
        let file = self.file(&key);
        let (map, header, at) = open(&file)?;
        if header.key != key {
            return None;
        }
        // The time of use orders eviction; without the right to set it, the time of storing does.
        let _ = File::open(&file).and_then(|f| f.set_modified(SystemTime::now()));
        Some(PanelFile { map: Arc::new(Map(map)), shapes: header.shapes.into_iter(), at })
    }

    /// Stores a model's panels and makes room for them.
    pub(super) fn store(
        &self,
        source: &Source,
        quantization: Option<Quantization>,
        weights: &Weights,
        progress: &mut dyn FnMut(Progress),
    ) -> io::Result<()> {
        let key = key(source, quantization)?;
        let matrices: Vec<&Matrix> = weights.in_order().collect();
        let shapes = matrices.iter().map(|m| describe(m.shape())).collect();
        let quantization = match quantization {
            None => "as stored",
            Some(Quantization::Int8) => "int8",
            Some(Quantization::Int4) => "int4",
        };
        let model = absolute(source.path());
        let header = Header { model, quantization: quantization.to_owned(), key: key.clone(), shapes };
        let header = serde_json::to_vec(&header)?;
        let bytes: u64 = matrices.iter().map(|m| m.bytes().len().next_multiple_of(ALIGN) as u64).sum();
        if bytes > self.limit {
            return Err(io::Error::other(format!("{bytes} bytes; the cache holds {}", self.limit)));
        }
        fs::create_dir_all(&self.folder)?;
        self.prune(source)?;
        self.make_room(bytes)?;
        let temporary = self.folder.join(format!("{key}.{}.{TEMPORARY}", std::process::id()));
        let written = write(&temporary, &header, &matrices, progress)
            .and_then(|()| fs::rename(&temporary, self.file(&key)));
        if written.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// Removes what is of no use any more: panels of models that are gone, panels of this model as its
    /// files were before, and what an interrupted process left.
    fn prune(&self, source: &Source) -> io::Result<()> {
        let kinds = [None, Some(Quantization::Int8), Some(Quantization::Int4)];
        let current = kinds.map(|q| key(source, q).map(|key| self.file(&key)).ok());
        let model = absolute(source.path());
        for entry in self.entries()? {
            let stale = entry.model == model && !current.contains(&Some(entry.file.clone()));
            if stale || !entry.model.exists() {
                fs::remove_file(&entry.file)?;
            }
        }
        for file in fs::read_dir(&self.folder)?.flatten() {
            let old = |t: SystemTime| t.elapsed().is_ok_and(|age| age > ABANDONED);
            if file.path().extension().is_some_and(|e| e == TEMPORARY)
                && file.metadata().and_then(|m| m.modified()).is_ok_and(old)
            {
                fs::remove_file(file.path())?;
            }
        }
        Ok(())
    }

    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let entries = self.entries()?;
        let mut total: u64 = entries.iter().map(|e| e.bytes).sum();
        for entry in entries.iter().rev() {
            if total + bytes <= self.limit {
                break;
            }
            fs::remove_file(&entry.file)?;
            total -= entry.bytes;
        }
        Ok(())
    }

    fn file(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.{EXTENSION}"))
    }
}

/// A panel file's map, header and the offset of its first matrix.
fn open(file: &Path) -> Option<(Mmap, Header, usize)> {
    let map = Mmap::open(file).ok()?;
    let rest = map.strip_prefix(MAGIC)?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let header = serde_json::from_slice(rest.get(..length)?).ok()?;
    let at = (MAGIC.len() + 8 + length).next_multiple_of(ALIGN);
    Some((map, header, at))
}

fn write(
    file: &Path,
    header: &[u8],
    matrices: &[&Matrix],
    progress: &mut dyn FnMut(Progress),
) -> io::Result<()> {
    let mut out = File::create(file)?;
    let start = [MAGIC.as_slice(), &(header.len() as u64).to_le_bytes(), header].concat();
    let total = matrices.iter().map(|m| m.bytes().len() as u64).sum();
    let mut at = Progress { stage: Stage::Keeping, done: 0, total };
    put(&mut out, &start)?;
    for matrix in matrices {
        put(&mut out, matrix.bytes())?;
        at.done += matrix.bytes().len() as u64;
        progress(at);
    }
    out.sync_all()
}

/// Writes up to the next aligned place.
fn put(out: &mut File, part: &[u8]) -> io::Result<()> {
    out.write_all(part)?;
    out.write_all(&[0; ALIGN][..part.len().next_multiple_of(ALIGN) - part.len()])
}

/// Names the content: files with their sizes and times, and the quantization.
fn key(source: &Source, quantization: Option<Quantization>) -> io::Result<String> {
    let mut hasher = Sha256::new();
    hasher.update(format!("{quantization:?}\n"));
    for (path, size) in source.files() {
        let modified = fs::metadata(path)?.modified()?;
        let time = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        hasher.update(format!("{}\n{size} {time}\n", absolute(path).display()));
    }
    Ok(hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
