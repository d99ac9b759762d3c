//! One daemon for one control socket: two with the same configuration would fight over sessions and routes.
//!
//! In: the path of the control socket. Out: a lock that the kernel lets go when the process ends, however it ends. It is taken before
//! anything else, so of two that start in the same instant one runs and the other says so.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Held for as long as the control socket is ours.
#[derive(Debug)]
pub struct InstanceLock {
    socket: PathBuf,
    _file: File,
}

impl InstanceLock {
    /// Locks `SOCKET.lock`, which stays behind when the daemon ends: to remove it would let two in.
    ///
    /// # Errors
    /// Another daemon has it or answers at the socket; the folder cannot be written to; something stands there that is no socket.
    pub fn take(socket: &Path) -> io::Result<InstanceLock> {
        if let Some(folder) = socket.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(|error| about(folder, &error))?;
        }
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        // Neither a FIFO nor a link that somebody has put there is waited for or followed.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).custom_flags(flags).open(&path);
        let file = file.map_err(|error| about(&path, &error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(in_use(socket)),
            Err(error) => return Err(about(&path, &error.into())),
        }
        nobody_answers(socket)?;
        Ok(InstanceLock { socket: socket.to_owned(), _file: file })
    }

    /// Is it this socket's?
    pub fn is_for(&self, socket: &Path) -> bool {
        self.socket == socket
    }
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("control socket {}: {error}", path.display()))
}

fn in_use(socket: &Path) -> io::Error {
    let text = format!("control socket {}: another catbird runs with it", socket.display());
    io::Error::new(io::ErrorKind::AddrInUse, text)
}

/// What does not lock files, such as an older catbird, may have the socket nevertheless.
fn nobody_answers(socket: &Path) -> io::Result<()> {
    match fs::symlink_metadata(socket) {
        Err(_) => Ok(()),
        Ok(meta) if !meta.file_type().is_socket() => {
            let text = format!("control socket {}: something else stands there, and is not ours to remove", socket.display());
            Err(io::Error::new(io::ErrorKind::AlreadyExists, text))
        }
        Ok(_) if UnixStream::connect(socket).is_ok() => Err(in_use(socket)),
        // What is left of a daemon that died.
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("catbird-instance-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a folder");
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).expect("our own folder");
        }
    }

    #[test]
    fn of_many_that_start_at_once_one_runs() {
        let folder = Folder::new("many");
        let socket = folder.0.join("sub/sock");
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| InstanceLock::take(&socket))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        let said = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).all(|error| error.to_string().contains("another catbird"));
        assert!(said, "{outcomes:?}");
        drop(outcomes);
        InstanceLock::take(&socket).expect("free again");
    }

    #[test]
    fn what_is_no_socket_is_left_alone_and_a_socket_that_answers_is_another_daemon() {
        let folder = Folder::new("others");
        let (file, socket) = (folder.0.join("file"), folder.0.join("sock"));
        fs::write(&file, "mine").expect("written");
        assert_eq!(InstanceLock::take(&file).expect_err("no socket").kind(), io::ErrorKind::AlreadyExists);
        let listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
        assert_eq!(InstanceLock::take(&socket).expect_err("it answers").kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        InstanceLock::take(&socket).expect("a socket that nobody serves is ours to replace");
    }
}
