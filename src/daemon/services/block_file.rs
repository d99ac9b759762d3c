//! Pod blocks from a file that somebody else keeps: read again whenever it was replaced.
//!
//! In: a path; one prefix a line, `#` begins a comment. Out: the file's blocks, whole, to the core. It leaves blocks of the configuration and
//! of the control socket to the speaker, which joins all sources.
//!
//! A file that is half written, unreadable, invalid or gone changes nothing: the last good one stays in force and the log says why. To be told
//! apart from a finished one, a finished file ends with a newline; one of no octets is about to be written. (A line of comment alone says "no
//! blocks".) Replace it by rename to be sure. A block that cannot be one, by itself or because a neighbour's address lies in it, is left out
//! and said, and judged again with each configuration.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::Config;
use crate::speaker::{BlockSource, Input};

use super::api::{Gone, RouterApi};
use super::files::FileWatch;

/// In warnings and metrics.
pub const TOPIC: &str = "blocks";

/// How often the file is looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Larger files are not block lists.
const MAX_OCTETS: u64 = 4 << 20;

/// Why a file is not taken.
#[derive(Debug)]
pub enum Unusable {
    /// The system's.
    Io(io::Error),
    /// No newline at the end.
    Unfinished,
    /// Not a prefix, or one with bits behind its length.
    Line {
        /// From one.
        number: usize,
        /// Without its comment.
        text: String,
    },
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::Io(error) => error.fmt(f),
            Unusable::Unfinished => f.write_str("it does not end with a newline, so it is still being written"),
            Unusable::Line { number, text } => write!(f, "line {number}: {text:?} is not a prefix such as 10.244.1.0/26"),
        }
    }
}

/// The prefixes of a finished file, each once, in the order of the file.
///
/// # Errors
/// [`Unusable`], and then none of it is to be used.
pub fn parse(text: &str) -> Result<Vec<IpNet>, Unusable> {
    if !text.ends_with('\n') {
        return Err(Unusable::Unfinished);
    }
    let mut blocks = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let word = line.split('#').next().unwrap_or_default().trim();
        if word.is_empty() {
            continue;
        }
        match word.parse::<IpNet>() {
            Ok(net) if net.trunc() == net => blocks.push(net),
            _ => return Err(Unusable::Line { number: index + 1, text: word.to_owned() }),
        }
    }
    let mut seen = std::collections::HashSet::new();
    blocks.retain(|net| seen.insert(*net));
    Ok(blocks)
}

/// Looks at the file until the daemon ends.
///
/// # Errors
/// None; the shape is that of a service.
pub async fn serve<A: RouterApi>(api: A, path: PathBuf) -> io::Result<()> {
    let mut watch = FileWatch::new(path, MAX_OCTETS);
    let _over = Over(api.clone());
    let (mut listed, mut unread, mut judged_by) = (None, None, api.config());
    loop {
        let (fresh, config) = (look(&mut watch).await, api.config());
        let anew = fresh.is_some() || !Arc::ptr_eq(&config, &judged_by);
        judged_by = config;
        match fresh {
            Some(Ok(blocks)) => (listed, unread) = (Some(blocks), None),
            Some(Err(why)) => unread = Some(unusable(watch.path(), &why)),
            None => {}
        }
        if anew && announce(&api, watch.path(), listed.as_deref(), unread.as_ref()).await.is_err() {
            return Ok(());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Hands the blocks of the last good file on, but for those that would cut off a neighbour or are none. Says what is left out, or not read.
async fn announce<A: RouterApi>(api: &A, path: &Path, listed: Option<&[IpNet]>, unread: Option<&String>) -> Result<(), Gone> {
    let (blocks, mut texts) = judge(path, listed.unwrap_or_default(), &api.config());
    texts.extend(unread.cloned());
    for text in &texts {
        tracing::warn!("{text}");
    }
    api.counters().file_read(TOPIC, texts);
    if listed.is_none() {
        return Ok(());
    }
    tracing::info!(file = %path.display(), blocks = blocks.len(), "blocks read");
    api.tell(Input::Blocks { source: BlockSource::File, blocks }).await
}

/// What can be a block, and what is to be said of the rest.
fn judge(path: &Path, listed: &[IpNet], config: &Config) -> (Vec<IpNet>, Vec<String>) {
    let (mut blocks, mut refused) = (Vec::new(), Vec::new());
    for block in listed {
        match config.objection_to_block(block) {
            None => blocks.push(*block),
            Some(why) => refused.push(format!("{block} in {} cannot be a block and is left out: {why}", path.display())),
        }
    }
    (blocks, refused)
}

/// `None`: nothing new since the last look.
async fn look(watch: &mut FileWatch) -> Option<Result<Vec<IpNet>, Unusable>> {
    Some(watch.look().await?.map_err(Unusable::Io).and_then(|text| parse(&text)))
}

fn unusable(path: &Path, why: &Unusable) -> String {
    format!("the blocks in {} are not read, and the last good ones stay: {why}", path.display())
}

/// Where the configuration names another file or none, nothing is to be said of this one.
struct Over<A: RouterApi>(A);

impl<A: RouterApi> Drop for Over<A> {
    fn drop(&mut self) {
        self.0.counters().file_forgotten(TOPIC);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let dir = std::env::temp_dir().join(format!("catbird-blocks-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&dir).expect("a temporary directory");
            Dir(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).expect("it was ours");
        }
    }

    fn nets(words: &[&str]) -> Vec<IpNet> {
        words.iter().map(|w| w.parse().expect("a prefix")).collect()
    }

    #[test]
    fn a_finished_file_is_a_list_of_prefixes() {
        let text = "# node-1\n10.244.1.0/26 # first\n\nfd00:10:244::/122\n10.244.1.0/26\n";
        assert_eq!(parse(text).expect("all legal"), nets(&["10.244.1.0/26", "fd00:10:244::/122"]));
        assert_eq!(parse("# none\n").expect("a comment"), []);
    }

    #[test]
    fn half_a_file_is_not_taken_even_if_it_would_parse() {
        for text in ["", "10.244.1.0/26\n10.244.2.0/2", "10.244.1.0/26"] {
            assert!(matches!(parse(text), Err(Unusable::Unfinished)), "{text:?}");
        }
        for text in ["10.244.1.0/26\n10.244.2.1/26\n", "10.244.1.0/26\nrubbish\n"] {
            assert!(matches!(parse(text), Err(Unusable::Line { number: 2, .. })), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_replaced_file_is_read_once_and_a_lost_one_is_said_once() {
        let dir = Dir::new("replaced");
        let path = dir.0.join("blocks");
        let mut watch = FileWatch::new(path.clone(), MAX_OCTETS);
        assert!(matches!(look(&mut watch).await, Some(Err(Unusable::Io(_)))), "not there yet");
        assert!(look(&mut watch).await.is_none());

        for (n, net) in ["10.244.1.0/26", "10.244.2.0/26"].into_iter().enumerate() {
            let new = dir.0.join(format!("new{n}"));
            std::fs::write(&new, format!("{net}\n")).expect("written");
            std::fs::rename(&new, &path).expect("renamed");
            assert_eq!(look(&mut watch).await.expect("new").expect("good"), nets(&[net]));
            assert!(look(&mut watch).await.is_none(), "the same version is not news");
        }
        std::fs::remove_file(&path).expect("it is there");
        assert!(matches!(look(&mut watch).await, Some(Err(Unusable::Io(_)))));
        assert!(look(&mut watch).await.is_none());
    }
}
