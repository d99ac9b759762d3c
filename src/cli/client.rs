//! The client's end of the control socket.
//!
//! In: a request. Out: its replies one by one, or one sentence that says why there are none and what to do.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::daemon::protocol::{Reply, Request};

/// The longest wait for a place, and for each line of an answer. A large reload takes seconds; more is a daemon that is stopped or held up.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a request led nowhere.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No socket there.
    #[error("the daemon is not running (no socket at {0}); start it with `catbird run`, or name its socket with --socket")]
    NotRunning(PathBuf),
    /// A socket that nobody serves.
    #[error("the daemon is not running (nobody answers at {0})")]
    Stale(PathBuf),
    /// The socket's mode keeps us out.
    #[error("no permission to use {0}; you need to be root or in the socket's group")]
    NoPermission(PathBuf),
    #[error(
        "the daemon at {path} has not answered for {} s: is it stopped (`kill -CONT`), or held up? Its /livez and its log tell more",
        after.as_secs()
    )]
    /// The daemon does not answer in time.
    Silent { path: PathBuf, after: Duration },
    /// Any other failure of the system.
    #[error("cannot talk to the daemon at {path}: {error}")]
    Other { path: PathBuf, error: io::Error },
    /// An answer that does not belong to the question: another version, perhaps.
    #[error("the daemon said something that this catbird does not understand ({0}); are both of the same version?")]
    Strange(String),
    /// The daemon refused, in its words.
    #[error("{0}")]
    Failed(String),
    /// Our own output went away (`| head`): nothing to say.
    #[error("output: {0}")]
    Output(#[from] io::Error),
}

impl ClientError {
    fn from_io(error: io::Error, path: &Path) -> ClientError {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Silent { path, after: TIMEOUT },
            io::ErrorKind::NotFound => ClientError::NotRunning(path),
            io::ErrorKind::ConnectionRefused => ClientError::Stale(path),
            io::ErrorKind::PermissionDenied => ClientError::NoPermission(path),
            _ => ClientError::Other { path, error },
        }
    }
}

/// A request's replies, in the order they come.
pub struct Replies {
    lines: BufReader<UnixStream>,
    path: PathBuf,
    ended: bool,
}

/// Asks the daemon at `path`.
///
/// # Errors
/// It is not there, or does not let us.
pub fn ask(path: &Path, request: &Request) -> Result<Replies, ClientError> {
    let mut stream = connect(path, request).map_err(|error| ClientError::from_io(error, path))?;
    let mut line = serde_json::to_vec(request).map_err(|error| ClientError::Strange(error.to_string()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(|error| ClientError::from_io(error, path))?;
    Ok(Replies { lines: BufReader::new(stream), path: path.to_owned(), ended: false })
}

/// Waits for a place in the daemon's queue, for a bounded time.
fn connect(path: &Path, request: &Request) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    // Events come when they come.
    let patience = (!matches!(request, Request::Monitor { .. })).then_some(TIMEOUT);
    socket.set_read_timeout(patience)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

impl Replies {
    /// What comes before the deadline, so many at most: for those that never end.
    ///
    /// # Errors
    /// The daemon goes away, or refuses.
    pub fn until(mut self, deadline: Instant, most: usize) -> Result<Vec<Reply>, ClientError> {
        let mut heard = Vec::new();
        while heard.len() < most {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let patience = self.lines.get_ref().set_read_timeout(Some(left));
            patience.map_err(|error| ClientError::from_io(error, &self.path))?;
            match self.read() {
                Ok(Some(reply)) => heard.push(reply),
                Ok(None) | Err(ClientError::Silent { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(heard)
    }

    fn read(&mut self) -> Result<Option<Reply>, ClientError> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).map_err(|error| ClientError::from_io(error, &self.path))?;
        if read == 0 {
            let error = io::Error::new(io::ErrorKind::UnexpectedEof, "it went away in the middle of its answer");
            return Err(ClientError::Other { path: self.path.clone(), error });
        }
        match serde_json::from_str(&line) {
            Ok(Reply::End) => Ok(None),
            Ok(Reply::Failed(why)) => Err(ClientError::Failed(why)),
            Ok(reply) => Ok(Some(reply)),
            Err(error) => Err(ClientError::Strange(error.to_string())),
        }
    }
}

impl Iterator for Replies {
    type Item = Result<Reply, ClientError>;

    fn next(&mut self) -> Option<Result<Reply, ClientError>> {
        if self.ended {
            return None;
        }
        let reply = self.read().transpose();
        self.ended = !matches!(reply, Some(Ok(_)));
        reply
    }
}
