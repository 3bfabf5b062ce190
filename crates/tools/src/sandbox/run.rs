//! The agent's side: a command that runs, and its end.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::Child;

use super::helper::{ARGUMENT, Stage};
use super::{Command, Plan, Sandbox, Word};

/// What is still in the pipe when all processes are gone is there at once; only something that
/// was not ended could keep it open.
const DRAIN: Duration = Duration::from_millis(100);

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// It never started: why not.
    Failed(String),
}

/// A running command. Dropped, it ends with all that it started.
#[derive(Debug)]
pub struct Running {
    child: Child,
    control: BufReader<UnixStream>,
    output: pipe::Receiver,
    line: Vec<u8>,
    started: bool,
    end: Option<End>,
}

impl Sandbox {
    /// Starts a command.
    ///
    /// # Errors
    /// The helper cannot be started.
    pub async fn start(&self, command: Command<'_>) -> io::Result<Running> {
        let confined = command.scan.map(|scan| self.confined(&command, scan));
        let stage = match (&confined, command.network) {
            (None, _) => Stage::Open,
            (Some(_), false) => Stage::Offline,
            (Some(_), true) => Stage::Online,
        };
        let plan = Plan {
            command: command.text.to_owned(),
            cwd: command.cwd.to_owned(),
            env: command.env,
            confined,
        };
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (reader, writer) = io::pipe()?;
        let mut helper = tokio::process::Command::new(&self.settings.program);
        helper.args([ARGUMENT, stage.word()]).env_clear();
        // One that is killed ends its namespaces; without them, only the helper knows what to end.
        helper.kill_on_drop(stage != Stage::Open);
        helper.stdin(OwnedFd::from(theirs)).stdout(writer.try_clone()?).stderr(writer);
        let child = helper.spawn()?;
        // It holds the far ends of socket and pipe.
        drop(helper);
        let mut control = UnixStream::from_std(ours)?;
        let mut line = serde_json::to_vec(&plan)?;
        line.push(b'\n');
        // A helper that failed before it read the plan has said why.
        let _ = control.write_all(&line).await;
        Ok(Running {
            child,
            control: BufReader::new(control),
            output: pipe::Receiver::from_owned_fd(reader.into())?,
            line: Vec::new(),
            started: false,
            end: None,
        })
    }
}

impl Running {
    /// New bytes of the output (stdout and stderr in one, in order) into `buffer`; 0 when the
    /// command has ended and everything was read. Can be dropped while it waits.
    ///
    /// # Errors
    /// The pipe cannot be read.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.end.is_none() {
            tokio::select! {
                biased;
                read = self.output.read(buffer) => match read? {
                    0 => self.listen().await,
                    read => return Ok(read),
                },
                read = self.control.read_until(b'\n', &mut self.line) => {
                    let read = read.unwrap_or(0);
                    self.heard(read);
                }
            }
        }
        // Everything that could write is being ended.
        match tokio::time::timeout(DRAIN, self.output.read(buffer)).await {
            Ok(read) => read,
            Err(_) => Ok(0),
        }
    }

    async fn listen(&mut self) {
        while self.end.is_none() {
            let read = self.control.read_until(b'\n', &mut self.line).await.unwrap_or(0);
            self.heard(read);
        }
    }

    fn heard(&mut self, read: usize) {
        if read == 0 {
            let early = "the helper ended without a word".to_owned();
            self.end = Some(if self.started { End::Killed(libc::SIGKILL) } else { End::Failed(early) });
            return;
        }
        if self.line.last() != Some(&b'\n') {
            return;
        }
        match serde_json::from_slice(&self.line) {
            Ok(Word::Started) => self.started = true,
            Ok(Word::Exited(code)) => self.end = Some(End::Exited(code)),
            Ok(Word::Killed(signal)) => self.end = Some(End::Killed(signal)),
            Ok(Word::Failed(why)) => self.end = Some(End::Failed(why)),
            Ok(Word::Layers(_)) | Err(_) => {
                self.end = Some(End::Failed("the helper cannot be understood".to_owned()));
            }
        }
        self.line.clear();
    }

    /// How it ended; none while it runs.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Ends the command with all that it started, and waits until nothing of it is left.
    pub async fn stop(mut self) {
        let Self { child, control, .. } = &mut self;
        // The helper takes the closed socket for the order to end everything.
        let _ = control.get_mut().shutdown().await;
        drop(tokio::time::timeout(Duration::from_secs(2), child.wait()).await);
        let _ = child.start_kill();
        let _ = child.wait().await;
    }
}
