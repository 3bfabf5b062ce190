//! Where log lines go: a rotating file under `$CHELA_HOME/logs`, and stderr with `-v`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::writer::MakeWriterExt;

/// A log file is set aside when it has grown to this many bytes.
const ROTATE_AT: u64 = 4 * 1024 * 1024;
/// How many files set aside are kept.
const KEPT: usize = 3;

/// Starts logging. `filter` is the value of `CHELA_LOG`; `verbose` counts `-v`; `more` are directives
/// of the command, where the variable gives none.
/// A folder that is not there or cannot be written costs the file, never the command.
pub fn start(folder: Option<&Path>, filter: Option<&str>, verbose: u8, more: &str) -> Result<(), String> {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let wanted = filter.filter(|f| !f.is_empty());
    let directives =
        wanted.map_or_else(|| format!("warn,chela={level},{},{more}", ours(level)), str::to_owned);
    let filter = EnvFilter::try_new(&directives).map_err(|e| {
        format!("CHELA_LOG=`{directives}` is no filter: {e}; examples: debug, chela_client=trace")
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(true);
    let file = folder.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)).and_then(Rotating::open);
    let started = match (file, verbose > 0 || wanted.is_some()) {
        (Ok(file), true) => builder.with_ansi(false).with_writer(file.and(io::stderr)).try_init(),
        (Ok(file), false) => builder.with_ansi(false).with_writer(file).try_init(),
        (Err(_), true) => builder.with_ansi(false).with_writer(io::stderr).try_init(),
        (Err(_), false) => return Ok(()),
    };
    started.map_err(|e| e.to_string())
}

fn ours(level: &str) -> String {
    ["client", "agent", "tools", "config", "store", "server", "engine"]
        .map(|name| format!("chela_{name}={level}"))
        .join(",")
}

/// An append-only file that is renamed to `chela.log.1`, `.2`, … when it is full.
struct Rotating {
    folder: PathBuf,
    file: File,
    length: u64,
}

impl Rotating {
    fn open(folder: &Path) -> io::Result<Mutex<Rotating>> {
        std::fs::create_dir_all(folder)?;
        let (file, length) = append(&folder.join("chela.log"))?;
        Ok(Mutex::new(Self { folder: folder.to_path_buf(), file, length }))
    }

    fn rotate(&self) -> io::Result<(File, u64)> {
        let name = |n: usize| match n {
            0 => self.folder.join("chela.log"),
            n => self.folder.join(format!("chela.log.{n}")),
        };
        for n in (0..KEPT).rev() {
            match std::fs::rename(name(n), name(n + 1)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        append(&name(0))
    }
}

fn append(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

impl Write for Rotating {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.length >= ROTATE_AT {
            (self.file, self.length) = self.rotate()?;
        }
        let written = self.file.write(bytes)?;
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_set_aside_and_the_oldest_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let log = Rotating::open(folder.path()).unwrap();
        let mut log = log.into_inner().unwrap();
        for round in 0..6u8 {
            log.length = ROTATE_AT;
            log.write_all(&[b'0' + round, b'\n']).unwrap();
        }
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["chela.log", "chela.log.1", "chela.log.2", "chela.log.3"]);
        let text = |n: &str| std::fs::read_to_string(folder.path().join(n)).unwrap();
        assert_eq!(text("chela.log"), "5\n");
        assert_eq!(text("chela.log.3"), "2\n");
    }
}
