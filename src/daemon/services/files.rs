//! Files that others keep: read without being held up by what stands there in their place.
//!
//! In: a path and the most octets that belong there. Out: the text, or place and cause. Only regular files are read: a FIFO, a device or a
//! socket is refused without waiting for it. What still can take for ever is storage that hangs; so [`Reader`] reads on a thread of its
//! own and gives up waiting after a time. It asks for no second thread while the first still waits.
//!
//! Files are looked at every second or two instead of by inotify: it works the same on overlay, FUSE and network storage, follows the chain
//! of links by which kubelet replaces a ConfigMap (`file -> ..data/file`, `..data -> ..2026_11_30`) without watching each of them, and costs
//! one `stat` a file.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::config::read_text;

/// The longest wait for storage.
pub const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// What tells one version of a file from the next: device, inode, length, time of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(u64, u64, u64, i64, i64);

/// Of the file that all links lead to.
///
/// # Errors
/// The kernel's.
pub fn version(path: &Path) -> io::Result<Version> {
    let meta = std::fs::metadata(path)?;
    Ok(Version(meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
}

/// Does file work on a thread that may be left behind.
pub struct Reader {
    patience: Duration,
    /// Storage has not answered it yet.
    waiting: Option<JoinHandle<()>>,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader { patience: READ_TIMEOUT, waiting: None }
    }
}

impl Reader {
    /// What `work` comes to, or that storage hangs: said again for each call until it answers.
    ///
    /// # Errors
    /// The work's own, or [`io::ErrorKind::TimedOut`].
    pub async fn run<T: Send + 'static>(&mut self, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        if self.waiting.as_ref().is_some_and(|task| !task.is_finished()) {
            return Err(self.hangs());
        }
        let (done, outcome) = tokio::sync::oneshot::channel();
        let task = tokio::task::spawn_blocking(move || drop(done.send(work())));
        match tokio::time::timeout(self.patience, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(io::Error::other("our reader failed")),
            Err(_) => {
                self.waiting = Some(task);
                Err(self.hangs())
            }
        }
    }

    fn hangs(&self) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, format!("its storage has not answered for {:?}", self.patience))
    }
}

/// One file, and which version of it was read last.
pub struct FileWatch {
    path: PathBuf,
    limit: u64,
    seen: Option<Version>,
    failed: bool,
    reader: Reader,
}

impl FileWatch {
    /// Files of more than `limit` octets are refused.
    pub fn new(path: PathBuf, limit: u64) -> FileWatch {
        FileWatch { path, limit, seen: None, failed: false, reader: Reader::default() }
    }

    /// As configured.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text of a version that was not read yet, or why there is none; `None`: nothing new since the last look.
    pub async fn look(&mut self) -> Option<io::Result<String>> {
        let (path, limit, seen) = (self.path.clone(), self.limit, self.seen);
        let work = move || {
            let now = version(&path)?;
            Ok((now, (seen != Some(now)).then(|| read_text(&path, limit))))
        };
        match self.reader.run(work).await {
            Ok((version, text)) => {
                (self.seen, self.failed) = (Some(version), false);
                text
            }
            Err(_) if self.failed => None,
            Err(error) => {
                (self.seen, self.failed) = (None, true);
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("catbird-files-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).expect("a folder");
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).expect("our own folder");
        }
    }

    fn error(path: &Path, limit: u64) -> String {
        read_text(path, limit).expect_err("not to be read").to_string()
    }

    #[test]
    fn only_a_regular_file_of_a_reasonable_size_is_read() {
        let folder = Folder::new("kinds");
        let path = |name: &str| folder.0.join(name);
        std::fs::write(path("good"), "text").expect("written");
        assert_eq!(read_text(&path("good"), 4).expect("fits"), "text");
        assert!(error(&path("good"), 3).contains("more than 3 octets"));
        std::fs::write(path("latin"), [0xff, 0xfe]).expect("written");
        assert!(error(&path("latin"), 10).contains("UTF-8"));
        rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).expect("a FIFO");
        assert!(error(&path("fifo"), 10).starts_with("a FIFO where"), "nobody writes to it, and nobody waits for that");
        std::os::unix::fs::symlink("/dev/zero", path("endless")).expect("a link");
        assert!(error(&path("endless"), 10).starts_with("a device where"));
        assert!(error(&folder.0, 10).starts_with("a folder where"));
        assert_eq!(read_text(&path("nothing"), 10).expect_err("not there").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_link_that_is_swapped_makes_another_version() {
        let folder = Folder::new("links");
        for name in ["a", "b"] {
            std::fs::create_dir_all(folder.0.join(name)).expect("a folder");
            std::fs::write(folder.0.join(name).join("file"), "same").expect("written");
        }
        let swap = |to: &str| {
            let new = folder.0.join("new");
            std::os::unix::fs::symlink(to, &new).and_then(|()| std::fs::rename(&new, folder.0.join("..data"))).expect("swapped");
        };
        swap("a");
        std::os::unix::fs::symlink("..data/file", folder.0.join("file")).expect("a link");
        let before = version(&folder.0.join("file")).expect("there");
        assert_eq!(version(&folder.0.join("file")).expect("there"), before);
        swap("b");
        assert_ne!(version(&folder.0.join("file")).expect("there"), before);
    }

    #[tokio::test]
    async fn storage_that_hangs_holds_one_thread_and_is_asked_again_when_it_answers() {
        let mut reader = Reader { patience: Duration::from_millis(20), waiting: None };
        let (release, held) = std::sync::mpsc::channel::<()>();
        let outcome = reader.run(move || held.recv().map_err(io::Error::other)).await;
        assert_eq!(outcome.expect_err("hangs").kind(), io::ErrorKind::TimedOut);
        assert!(reader.run(|| Ok(())).await.is_err(), "no second thread");
        release.send(()).expect("it waits");
        while reader.waiting.as_ref().is_some_and(|task| !task.is_finished()) {
            tokio::task::yield_now().await;
        }
        reader.patience = READ_TIMEOUT;
        assert_eq!(reader.run(|| Ok(7)).await.expect("answers again"), 7);
    }
}
