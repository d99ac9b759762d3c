//! The file in which a run leaves what it knew of the cluster, so that the next one need not wait for the API.
//!
//! In: the store. Out: a file with a version and a check in its first line, written whole beside the old one and put in its place. One that is of another
//! version, damaged or not there is none. Secrets are not in it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::ser::Error as _;
use serde_json::Value;

use super::objects::Objects;
use crate::config::model::Flavour;
use crate::config::read_text;
use crate::daemon::services::files::Reader;
use crate::source::Store;

/// Octets of the longest one.
const OCTETS: u64 = 1 << 28;

/// First words of the file; another format has another number.
const HEAD: &str = "catbird objects 1";

fn head(flavour: Flavour, body: &str) -> String {
    format!("{HEAD} {flavour} {:016x}", check(body))
}

/// What an earlier run of this flavour left.
pub(super) fn load(path: &Path, flavour: Flavour) -> Option<Store> {
    let text =
        read_text(path, OCTETS).map_err(|error| tracing::debug!(%error, "nothing is known of the cluster from an earlier run")).ok()?;
    let store = parse(&text, flavour);
    if store.is_none() {
        tracing::warn!(file = %path.display(), "the file is of another version or flavour or damaged, and is not used");
    }
    store
}

fn parse(text: &str, flavour: Flavour) -> Option<Store> {
    let (first, body) = text.split_once('\n')?;
    (first == head(flavour, body)).then_some(())?;
    let mut store = Store::default();
    for object in serde_json::from_str::<Vec<Value>>(body).ok()? {
        store.insert(object);
    }
    Some(store)
}

/// FNV-1a.
fn check(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3))
}

fn shown(store: &Store, flavour: Flavour) -> Result<String, serde_json::Error> {
    let mut body = vec![b'['];
    for (n, object) in store.without_secrets().enumerate() {
        body.extend((n > 0).then_some(b','));
        serde_json::to_writer(&mut body, &object)?;
    }
    body.push(b']');
    let body = String::from_utf8(body).map_err(serde_json::Error::custom)?;
    Ok(format!("{}\n{body}", head(flavour, &body)))
}

/// Writes the file when something has changed.
pub(super) struct Saver {
    path: Option<PathBuf>,
    flavour: Flavour,
    /// How often the objects had changed when the file was written.
    written: Option<u64>,
    reader: Reader,
}

impl Saver {
    pub fn new(path: Option<PathBuf>, flavour: Flavour) -> Saver {
        Saver { path, flavour, written: None, reader: Reader::default() }
    }

    /// Does nothing where no object says anything else than when the file was written, as is so of nearly all calls.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn save(&mut self, objects: &Objects) -> io::Result<()> {
        let Some(path) = self.path.clone() else { return Ok(()) };
        // Asked before the objects are looked at: what changes in between is written the next time.
        let now = Some(objects.changes());
        if now == self.written {
            return Ok(());
        }
        let Some(text) = objects.with(|store| shown(store, self.flavour)).transpose().map_err(io::Error::other)? else { return Ok(()) };
        self.reader.run(move || replace(&path, &text)).await?;
        self.written = now;
        Ok(())
    }
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let beside = path.with_extension("new");
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn store() -> Store {
        let mut store = Store::default();
        store.insert(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a", "labels": {"rack": "1"}},
            "spec": {"podCIDRs": ["10.244.1.0/24"]}, "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}}));
        store.insert(json!({"apiVersion": "projectcalico.org/v3", "kind": "BGPPeer", "metadata": {"name": "p"},
            "spec": {"peerIP": "192.0.2.1", "asNumber": 65001, "keepaliveTime": "1m30s", "ttlSecurity": 2, "filters": ["f"]}}));
        store.insert(json!({"apiVersion": "projectcalico.org/v3", "kind": "BGPFilter", "metadata": {"name": "f"},
            "spec": {"importV4": [{"action": "Accept", "asPathPrefix": [65001], "operations": [{"setPriority": {"value": 7}}]}]}}));
        store
    }

    #[test]
    fn what_was_written_is_read_again_without_secrets() {
        let mut with_secret = store();
        with_secret.insert(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"key": "hunter2"}}));
        let text = shown(&with_secret, Flavour::Calico).expect("JSON");
        assert!(!text.contains("hunter2"));
        assert_eq!(parse(&text, Flavour::Calico), Some(store()));
        assert_eq!(parse(&text, Flavour::Nodes), None, "of another flavour");
    }

    #[test]
    fn a_damaged_or_foreign_file_is_none() {
        let text = shown(&store(), Flavour::Nodes).expect("JSON");
        let parse = |text: &str| parse(text, Flavour::Nodes);
        assert_eq!(parse(&text.replace("10.244.1.0", "10.244.9.0")), None);
        assert_eq!(parse(&text.replace("objects 1", "objects 2")), None);
        assert_eq!(parse(text.get(..text.len() / 2).expect("half")), None);
        assert_eq!(parse(""), None);
    }

    #[tokio::test]
    async fn the_file_is_written_when_an_object_says_something_new_and_not_before() {
        let folder = std::env::temp_dir().join(format!("catbird-saver-{}", std::process::id()));
        let path = folder.join("objects");
        let objects = Objects::starting_with(Some(store()));
        let mut saver = Saver::new(Some(path.clone()), Flavour::Calico);
        saver.save(&objects).await.expect("written");
        assert_eq!(load(&path, Flavour::Calico), Some(store()));
        std::fs::remove_file(&path).expect("it is there");
        saver.save(&objects).await.expect("nothing to do");
        assert!(!path.exists(), "nothing was new");
        objects.has_changed();
        saver.save(&objects).await.expect("written");
        assert!(path.exists());
        std::fs::remove_dir_all(&folder).expect("ours");
    }
}
