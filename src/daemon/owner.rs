//! Under which table and protocol the daemon of this machine wrote its routes last: a line in a file beside the control socket.
//!
//! In: the name under which we write now. Out: the names of before, if `[fib] table` or `protocol` are others since; routes that stand
//! under these are ours (`fib::Params::former`). The kernel's routes and /run live equally long. Without the file, or where it cannot
//! be written, only what bears the present name is known as ours.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::fib::Owner;

/// Names that are kept, and octets that are read.
const MOST: usize = 8;
const FILE_MOST: u64 = 1024;

/// The file, which begins with the name of now.
#[derive(Debug)]
pub struct OwnerFile {
    path: PathBuf,
    now: Owner,
}

impl OwnerFile {
    /// Puts our name first. Out: those of before that are not ours now.
    pub fn open(socket: &Path, now: Owner) -> (OwnerFile, Vec<Owner>) {
        let file = OwnerFile { path: socket.with_extension("owner"), now };
        let mut before = file.read().unwrap_or_default();
        before.retain(|owner| *owner != now);
        before.truncate(MOST);
        file.write(&before);
        (file, before)
    }

    /// What was left under names of before is gone: others may use them again.
    pub fn forget_former(&self) {
        self.write(&[]);
    }

    fn read(&self) -> io::Result<Vec<Owner>> {
        let meta = fs::symlink_metadata(&self.path)?;
        if !meta.is_file() || meta.len() > FILE_MOST {
            return Ok(Vec::new());
        }
        let owner = |line: &str| {
            let (table, protocol) = line.split_once(' ')?;
            Some(Owner { table: table.parse().ok()?, protocol: protocol.parse().ok()? })
        };
        Ok(fs::read_to_string(&self.path)?.lines().filter_map(owner).collect())
    }

    fn write(&self, before: &[Owner]) {
        let lines = std::iter::once(&self.now).chain(before).map(|o| format!("{} {}\n", o.table, o.protocol));
        let new = self.path.with_extension("owner.new");
        if let Err(error) = fs::write(&new, lines.collect::<String>()).and_then(|()| fs::rename(&new, &self.path)) {
            tracing::warn!(file = %self.path.display(), %error, "a later change of [fib] table or protocol will not know the routes of before");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_before_are_told_until_they_are_forgotten() {
        let dir = std::env::temp_dir().join(format!("catbird-owner-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let socket = dir.join("catbird.ctl");
        let [a, b, c] = [(254, 186), (254, 200), (100, 200)].map(|(table, protocol)| Owner { table, protocol });
        assert_eq!(OwnerFile::open(&socket, a).1, [], "the first start");
        assert_eq!(OwnerFile::open(&socket, a).1, []);
        assert_eq!(OwnerFile::open(&socket, b).1, [a]);
        assert_eq!(OwnerFile::open(&socket, c).1, [b, a], "killed before all of it was removed");
        let (file, before) = OwnerFile::open(&socket, c);
        assert_eq!(before, [b, a]);
        file.forget_former();
        assert_eq!(OwnerFile::open(&socket, c).1, []);
        fs::write(dir.join("catbird.owner"), "nonsense\n254 300\n254 12\n").unwrap();
        assert_eq!(OwnerFile::open(&socket, c).1, [Owner { table: 254, protocol: 12 }]);
        fs::remove_dir_all(&dir).unwrap();
    }
}
