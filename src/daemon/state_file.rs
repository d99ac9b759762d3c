//! What the router is to know of itself after its death: a file beside the control socket, in the words of [`Remembered`].
//!
//! In: what the core wants written down. Out: what stood there at the start. The file lives as long as /run does, and so as long as the
//! kernel's routes; it is replaced whole. A file that cannot be read or understood is as good as none, and that is said.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tokio::sync::watch;

use crate::config::read_text;
use crate::speaker::Remembered;

/// Ten thousand clients need a tenth of it.
const FILE_MOST: u64 = 8 << 20;

/// The file.
#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// The file of the daemon with this control socket, and what it says.
    pub fn open(socket: &Path) -> (StateFile, Option<Remembered>) {
        let file = StateFile { path: socket.with_extension("state") };
        let known = match file.read() {
            Ok(known) => Some(known),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(file = %file.path.display(), %error, "what an earlier run wrote down is not read; what was ordered before (a drain, peers down, blocks added) is not known");
                None
            }
        };
        (file, known)
    }

    fn read(&self) -> io::Result<Remembered> {
        Ok(serde_json::from_str(&read_text(&self.path, FILE_MOST)?)?)
    }

    /// Replaces it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn write(&self, known: &Remembered) -> io::Result<()> {
        let new = self.path.with_extension("state.new");
        fs::write(&new, serde_json::to_string(known)? + "\n")?;
        fs::rename(&new, &self.path)
    }

    /// Writes the latest down, until the core has ended.
    ///
    /// # Errors
    /// None; the shape is that of a service.
    pub async fn serve(self, mut news: watch::Receiver<Option<Remembered>>) -> io::Result<()> {
        let mut failed = false;
        while news.changed().await.is_ok() {
            let (file, known) = (self.clone(), news.borrow_and_update().clone());
            let written = tokio::task::spawn_blocking(move || known.map_or(Ok(()), |known| file.write(&known))).await;
            let error = written.map_err(io::Error::other).and_then(|written| written).err();
            if let Some(error) = error.as_ref().filter(|_| !failed) {
                tracing::warn!(file = %self.path.display(), %error, "a drain, peers down, blocks added and the clients of listen ranges will not be known after a restart");
            }
            failed = error.is_some();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_down_is_read_and_nonsense_is_as_good_as_nothing() {
        let dir = std::env::temp_dir().join(format!("catbird-state-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let socket = dir.join("catbird.ctl");
        let (file, known) = StateFile::open(&socket);
        assert_eq!(known, None, "the first start");
        let remote = |text: &str| crate::peer::Remote { addr: text.parse().unwrap(), zone: None };
        let known = Remembered {
            drained: true,
            clients: [remote("10.0.0.7"), remote("fd00::7")].into(),
            blocks: ["10.244.9.0/26", "fd00:9::/122"].map(|net| net.parse().unwrap()).into(),
            down: [remote("10.0.0.9")].into(),
            devices: ["catbird".to_owned()].into(),
        };
        file.write(&known).unwrap();
        assert_eq!(StateFile::open(&socket).1, Some(known));
        fs::write(dir.join("catbird.state"), "{\"drained\":true,\"clients\":[],\"of\":\"another release\"}").unwrap();
        assert_eq!(StateFile::open(&socket).1, Some(Remembered { drained: true, ..Remembered::default() }));
        fs::write(dir.join("catbird.state"), "nonsense").unwrap();
        assert_eq!(StateFile::open(&socket).1, None);
        fs::remove_dir_all(&dir).unwrap();
    }
}
