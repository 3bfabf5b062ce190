//! Where the server listens.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use axum::Router;
use tokio::net::{TcpListener, UnixListener, lookup_host};

use super::args::Serve;
use crate::exit::{Code, Failure, Outcome};

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Host and port.
    Tcp(String, u16),
    /// A unix socket.
    Unix(PathBuf),
}

impl Place {
    /// The place of the flags.
    ///
    /// # Errors
    /// It lets other machines in, and no key keeps them out.
    pub fn of(args: &Serve, has_key: bool) -> Result<Self, Failure> {
        if let Some(path) = &args.uds {
            return Ok(Self::Unix(path.clone()));
        }
        let host = args.host.trim_start_matches('[').trim_end_matches(']');
        let own = match host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => host.eq_ignore_ascii_case("localhost"),
        };
        if !own && !has_key {
            let failure =
                Failure::usage(format!("--host {host} lets other machines in, and there is no key"));
            return Err(failure.hint("give one with --api-key KEY or VLLM_API_KEY, or keep --host 127.0.0.1"));
        }
        Ok(Self::Tcp(host.to_owned(), args.port))
    }
}

/// An open listener.
#[derive(Debug)]
pub enum Listener {
    /// A port, and the name of the host as it was given.
    Tcp(TcpListener, SocketAddr),
    /// A unix socket, removed at the end.
    Unix(UnixListener, Socket),
}

/// The file of a unix socket.
#[derive(Debug)]
pub struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        // Somebody may have removed it already.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Opens it.
    ///
    /// # Errors
    /// The address is taken, unknown or not this machine's.
    pub async fn bind(place: &Place) -> Result<Self, Failure> {
        match place {
            Place::Tcp(host, port) => {
                let failed = |error: io::Error| taken(format!("{host}:{port}"), &error);
                let address = lookup_host((host.as_str(), *port)).await.map_err(failed)?.next();
                let address = address
                    .ok_or_else(|| Failure::usage(format!("--host {host} is the name of no address")))?;
                let listener = TcpListener::bind(address).await.map_err(failed)?;
                let address = listener.local_addr()?;
                Ok(Self::Tcp(listener, address))
            }
            Place::Unix(path) => {
                clear(path)?;
                let failed = |error: io::Error| taken(path.display(), &error);
                let listener = UnixListener::bind(path).map_err(failed)?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
                Ok(Self::Unix(listener, Socket(path.clone())))
            }
        }
    }

    /// What clients are told.
    pub fn url(&self) -> String {
        match self {
            Self::Tcp(_, address) => format!("http://{address}/v1"),
            Self::Unix(_, socket) => format!("unix:{}", socket.0.display()),
        }
    }

    /// Answers until `stop`, and then to the end of what is under way.
    pub async fn serve(self, app: Router, stop: impl Future<Output = ()> + Send + 'static) -> Outcome {
        match self {
            Self::Tcp(listener, _) => {
                // Tokens are small and must not wait for one another.
                let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
                    let _ = stream.set_nodelay(true);
                });
                axum::serve(listener, app).with_graceful_shutdown(stop).await?;
            }
            Self::Unix(listener, _socket) => {
                axum::serve(listener, app).with_graceful_shutdown(stop).await?;
            }
        }
        Ok(())
    }
}

fn taken(what: impl fmt::Display, error: &io::Error) -> Failure {
    let failure = Failure::new(Code::Usage, format!("cannot listen on {what}: {error}"));
    match error.kind() {
        io::ErrorKind::AddrInUse => failure.hint("another server has it; choose another with --port"),
        io::ErrorKind::AddrNotAvailable => failure.hint("it is no address of this machine"),
        _ => failure,
    }
}

/// Removes the socket of a server that is gone. One that answers, and any other file, stays.
fn clear(path: &Path) -> Outcome {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    let dead = found.file_type().is_socket()
        && std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if dead {
        std::fs::remove_file(path)?;
        return Ok(());
    }
    let what = if found.file_type().is_socket() { "a server answers there" } else { "there is a file" };
    Err(Failure::usage(format!("--uds {}: {what} already", path.display())))
}
