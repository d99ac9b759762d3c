//! Password files while the daemon runs: a new key is taken over without a reload, and only its peers reconnect.
//!
//! In: the configuration in force, and the files that it names. Out: the same configuration with the new keys, which the keeper applies; what
//! differs is then a key, and so `Change::Restart` for those peers and nothing for the others. It leaves looking at the right time to `reload`.
//!
//! A file that is gone, empty, too long or not text changes nothing: the last good key stays in force, for a session without a key, or with
//! half of one, is what nobody wanted (RFC 2385). The log says so once for each version of the file.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::model::Password;
use crate::config::{self, Config};

use super::blocks::{Version, version};

/// How often the files are looked at.
pub const LOOK: Duration = Duration::from_secs(2);

/// What each file was like when it was last read; `None`: it could not be read.
#[derive(Default)]
pub struct Watch {
    seen: HashMap<PathBuf, Option<Version>>,
}

impl Watch {
    /// The configuration with the keys that are new, if any are.
    pub fn look(&mut self, config: &Config) -> Option<Config> {
        let mut new: Option<Config> = None;
        for (file, old) in files(config) {
            if let Some(secret) = self.fresh(&file, old.as_deref()) {
                tracing::info!(file = %file.display(), "a new password; the sessions that use it reconnect");
                let config = new.get_or_insert_with(|| config.clone());
                passwords(config).filter(|p| p.file == file).for_each(|p| p.secret = Ok(secret.clone()));
            }
        }
        new
    }

    /// The key in the file, if the file is another version and the key another one.
    fn fresh(&mut self, file: &Path, old: Option<&str>) -> Option<String> {
        let now = version(file).ok();
        if self.seen.insert(file.to_owned(), now) == Some(now) {
            return None;
        }
        match read(file) {
            Ok(secret) => (old != Some(&secret)).then_some(secret),
            Err(why) => {
                tracing::warn!(file = %file.display(), %why, "no usable password; the last good one stays");
                None
            }
        }
    }
}

fn read(file: &Path) -> io::Result<String> {
    config::usable_secret(&std::fs::read_to_string(file)?).map_err(io::Error::other)
}

/// Where a file cannot be read now, the key that is in force stays in force.
pub fn keep_last_good(new: &mut Config, in_force: &Config) {
    let known = files(in_force);
    for password in passwords(new).filter(|p| p.secret.is_err()) {
        if let Some(Some(secret)) = known.get(&password.file) {
            password.secret = Ok(secret.clone());
        }
    }
}

/// Is there anything to look at?
pub fn has_files(config: &Config) -> bool {
    let sessions = config.sessions.iter().map(|s| &s.setup);
    sessions.chain(config.ranges.iter().map(|r| &r.setup)).any(|setup| setup.password.is_some())
}

/// Each file once, with its key in force.
fn files(config: &Config) -> HashMap<PathBuf, Option<String>> {
    let sessions = config.sessions.iter().map(|s| &s.setup);
    let all = sessions.chain(config.ranges.iter().map(|r| &r.setup)).filter_map(|setup| setup.password.as_ref());
    all.map(|p| (p.file.clone(), p.secret.clone().ok())).collect()
}

fn passwords(config: &mut Config) -> impl Iterator<Item = &mut Password> {
    let sessions = config.sessions.iter_mut().map(|s| &mut s.setup);
    sessions.chain(config.ranges.iter_mut().map(|r| &mut r.setup)).filter_map(|setup| setup.password.as_mut())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Surroundings;

    fn config(file: &Path) -> Config {
        let read = |path: &Path| std::fs::read_to_string(path).map(|text| text.as_str().into()).map_err(|e| e.to_string());
        let text = format!(
            "[node]\nasn = 64512\nrouter_id = \"10.0.0.1\"\n[[peer]]\naddress = \"10.0.0.2\"\nasn = 64512\npassword_file = \"{}\"\n\
             [[peer]]\naddress = \"10.0.0.3\"\nasn = 64512\n",
            file.display()
        );
        let checked = Config::parse("test", &text, &Surroundings { hostname: None, read: &read });
        checked.config.expect("no mistakes")
    }

    #[test]
    fn a_replaced_password_is_taken_over_once_and_an_unusable_one_never() {
        let dir = std::env::temp_dir().join(format!("catbird-secrets-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        let file = dir.join("password");
        let replace = |text: &str| {
            let new = dir.join("new");
            std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &file)).expect("written");
        };
        replace("first\n");
        let old = config(&file);
        let mut watch = Watch::default();
        assert!(watch.look(&old).is_none(), "the key in force is not news");
        replace("first\n");
        assert!(watch.look(&old).is_none(), "another file with the same key is none either");
        for unusable in ["", "\n", &"x".repeat(81)] {
            replace(unusable);
            assert!(watch.look(&old).is_none(), "{unusable:?}");
        }
        std::fs::remove_file(&file).expect("it is there");
        assert!(watch.look(&old).is_none());
        replace("second\n");
        let new = watch.look(&old).expect("a new key");
        let key = |config: &Config, peer: usize| config.sessions[peer].setup.password.as_ref().map(|p| p.secret.clone());
        assert_eq!((key(&new, 0), key(&new, 1)), (Some(Ok("second".to_owned())), None));
        assert_eq!(new.sessions[1], old.sessions[1], "the other peer is not concerned");
        assert!(watch.look(&new).is_none());
        std::fs::remove_file(&file).expect("it is there");
        let mut reloaded = config(&file);
        assert!(key(&reloaded, 0).is_some_and(|key| key.is_err()), "at the start there would be none");
        keep_last_good(&mut reloaded, &new);
        assert_eq!(key(&reloaded, 0), Some(Ok("second".to_owned())), "a reload keeps the last good one");
        std::fs::remove_dir_all(&dir).expect("it was ours");
    }
}
