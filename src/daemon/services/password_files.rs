//! Password files while the daemon runs: a new key is taken over without a reload, and only its peers reconnect.
//!
//! In: the configuration in force, and the files that it names. Out: the same configuration with the new keys, which the keeper applies; what
//! differs is then a key, and so `Change::Restart` for those peers and nothing for the others. It leaves looking at the right time to `reload`.
//!
//! A file that is gone, empty, too long or not text changes nothing: the last good key stays in force, for a session without a key, or with
//! half of one, is what nobody wanted (RFC 2385). Where there never was a good one, its peers stay down until there is. Both are said in the
//! log once for each version of the file, and in `status` for as long as it lasts.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::model::{Password, PeerOptions};
use crate::config::{Config, PASSWORD_OCTETS, read_text, usable_secret};
use crate::daemon::counters::DaemonMetrics;

use super::files::{Reader, Version, version};

/// How often the files are looked at.
pub const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// In warnings and metrics.
const TOPIC: &str = "passwords";

/// All password files of the configuration in force.
#[derive(Default)]
pub struct Watch {
    /// What each was like when it was last read; `None`: it could not be read.
    seen: HashMap<PathBuf, Option<Version>>,
    unusable: BTreeMap<PathBuf, String>,
    reader: Reader,
}

/// A file of another version than the one last seen.
type Fresh = (PathBuf, Option<Version>, io::Result<String>);

impl Watch {
    /// The configuration with the keys that are new, if any are.
    pub async fn look(&mut self, config: &Config, counters: &DaemonMetrics) -> Option<Config> {
        let in_force = files(config);
        self.unusable.retain(|file, _| in_force.contains_key(file));
        let (paths, seen) = (in_force.keys().cloned().collect::<Vec<_>>(), self.seen.clone());
        let fresh = match self.reader.run(move || Ok(read_fresh(paths, &seen))).await {
            Ok(fresh) => fresh,
            Err(error) => {
                counters.file_read(TOPIC, vec![format!("password files are not read, and the last good keys stay: {error}")]);
                return None;
            }
        };
        let mut new: Option<Config> = None;
        for (file, version, text) in fresh {
            self.seen.insert(file.clone(), version);
            let old = in_force.get(&file).and_then(Option::as_ref);
            match text.and_then(|text| usable_secret(&text).map_err(io::Error::other)) {
                Ok(secret) => {
                    self.unusable.remove(&file);
                    if old != Some(&secret) {
                        tracing::info!(file = %file.display(), "a new password; the sessions that use it reconnect");
                        let config = new.get_or_insert_with(|| config.clone());
                        passwords(config).filter(|p| p.place.file() == Some(&file)).for_each(|p| p.secret = Ok(secret.clone()));
                    }
                }
                Err(why) => {
                    let effect = if old.is_some() { "the last good one stays" } else { "its peers stay down" };
                    let text = format!("no usable password in {}, and {effect}: {why}", file.display());
                    tracing::warn!("{text}");
                    self.unusable.insert(file, text);
                }
            }
        }
        counters.file_read(TOPIC, self.unusable.values().cloned().collect());
        new
    }
}

fn read_fresh(paths: Vec<PathBuf>, seen: &HashMap<PathBuf, Option<Version>>) -> Vec<Fresh> {
    let versions = paths.into_iter().map(|path| (version(&path).ok(), path));
    let fresh = versions.filter(|(now, path)| seen.get(path) != Some(now));
    fresh.map(|(now, path)| (path.clone(), now, read_text(&path, PASSWORD_OCTETS))).collect()
}

/// Where a file cannot be read now, the key that is in force stays in force.
pub fn keep_last_good(new: &mut Config, in_force: &Config) {
    let known = files(in_force);
    for password in passwords(new).filter(|p| p.secret.is_err()) {
        if let Some(Some(secret)) = password.place.file().and_then(|file| known.get(file)) {
            password.secret = Ok(secret.clone());
        }
    }
}

/// Is there anything to look at?
pub fn has_files(config: &Config) -> bool {
    let sessions = config.sessions.iter().map(|s| &s.options);
    sessions.chain(config.ranges.iter().map(|r| &r.options)).any(|options| options.passwords().any(|p| p.place.file().is_some()))
}

/// Each file once, with its key in force.
fn files(config: &Config) -> HashMap<PathBuf, Option<String>> {
    let sessions = config.sessions.iter().map(|s| &s.options);
    let all = sessions.chain(config.ranges.iter().map(|r| &r.options)).flat_map(|options| options.passwords());
    all.filter_map(|p| Some((p.place.file()?.to_owned(), p.secret.clone().ok()))).collect()
}

fn passwords(config: &mut Config) -> impl Iterator<Item = &mut Password> {
    let sessions = config.sessions.iter_mut().map(|s| &mut s.options);
    sessions.chain(config.ranges.iter_mut().map(|r| &mut r.options)).flat_map(PeerOptions::passwords_mut)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Environment;

    fn config(file: &Path) -> Config {
        let read = |path: &Path| std::fs::read_to_string(path).map(|text| text.as_str().into()).map_err(|e| e.to_string());
        let text = format!(
            "[node]\nasn = 64512\nrouter_id = \"10.0.0.1\"\n[[peer]]\naddress = \"10.0.0.2\"\nasn = 64512\npassword_file = \"{}\"\n\
             [[peer]]\naddress = \"10.0.0.3\"\nasn = 64512\n",
            file.display()
        );
        let checked = Config::parse("test", &text, &Environment { hostname: None, read: &read, memory_limit: None });
        checked.config.expect("no mistakes")
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("catbird-passwords-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).expect("a temporary directory");
            Folder(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("password")
        }

        fn replace(&self, text: &str) {
            let new = self.0.join("new");
            std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, self.file())).expect("written");
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).expect("it was ours");
        }
    }

    fn secret(config: &Config, peer: usize) -> Option<Option<String>> {
        config.sessions[peer].options.password.as_ref().map(|p| p.secret.clone().ok())
    }

    #[tokio::test]
    async fn a_replaced_password_is_taken_over_once_and_an_unusable_one_never() {
        let (folder, counters) = (Folder::new("replaced"), DaemonMetrics::default());
        folder.replace("first\n");
        let old = config(&folder.file());
        let mut watch = Watch::default();
        assert!(watch.look(&old, &counters).await.is_none(), "the key in force is not news");
        folder.replace("first\n");
        assert!(watch.look(&old, &counters).await.is_none(), "another file with the same key is none either");
        assert_eq!(counters.files(), [(TOPIC, true)]);
        for unusable in ["", "\n", &"x".repeat(81)] {
            folder.replace(unusable);
            assert!(watch.look(&old, &counters).await.is_none(), "{unusable:?}");
        }
        std::fs::remove_file(folder.file()).expect("it is there");
        assert!(watch.look(&old, &counters).await.is_none());
        assert!(matches!(counters.warnings().as_slice(), [one] if one.contains("the last good one stays")), "{:?}", counters.warnings());
        folder.replace("second\n");
        let new = watch.look(&old, &counters).await.expect("a new key");
        assert_eq!((secret(&new, 0), secret(&new, 1)), (Some(Some("second".to_owned())), None));
        assert_eq!(new.sessions[1], old.sessions[1], "the other peer is not concerned");
        assert!(watch.look(&new, &counters).await.is_none());
        assert!(counters.warnings().is_empty());
    }

    #[tokio::test]
    async fn a_password_that_comes_later_brings_its_peer_up_and_a_lost_one_stays_over_a_reload() {
        let (folder, counters) = (Folder::new("later"), DaemonMetrics::default());
        let unread = config(&folder.file());
        let mut watch = Watch::default();
        assert!(watch.look(&unread, &counters).await.is_none());
        assert!(matches!(counters.warnings().as_slice(), [one] if one.contains("its peers stay down")), "{:?}", counters.warnings());
        folder.replace("late\n");
        let read = watch.look(&unread, &counters).await.expect("a key");
        let mut reloaded = unread.clone();
        keep_last_good(&mut reloaded, &read);
        assert_eq!(secret(&reloaded, 0), Some(Some("late".to_owned())));
    }
}
