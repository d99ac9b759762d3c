//! Under which names the daemon of this machine wrote its routes: a small file beside the control socket, a line for each name.
//!
//! A name is what the kernel shows of a route besides its prefix: table, protocol, and the metrics of learned routes and of blackholes.
//! In: the name under which we write now. Out: the names of before; routes that stand under these are ours ([`Params::former`],
//! [`Params::former_metrics`]). The kernel's routes and /run live equally long. Without the file, or where it cannot be written, only what
//! bears the present name is known as ours.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::fib::{Metric, Owner, Params};

/// Names that are kept, and octets that are read.
const MOST: usize = 8;
const FILE_MOST: u64 = 1024;

/// A line of the file: `254 186 1024 1024`. The metric of learned routes is `any` where it follows LOCAL_PREF.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    owner: Owner,
    /// None where a former release wrote the line.
    metrics: Vec<Metric>,
}

impl Name {
    fn of(params: &Params) -> Name {
        Name { owner: params.owner(), metrics: vec![params.metric, Metric::Fixed(params.block_metric)] }
    }

    fn parse(line: &str) -> Option<Name> {
        let mut words = line.split(' ');
        let owner = Owner { table: words.next()?.parse().ok()?, protocol: words.next()?.parse().ok()? };
        let metric = |word: &str| if word == "any" { Some(Metric::FromLocalPref) } else { word.parse().ok().map(Metric::Fixed) };
        Some(Name { owner, metrics: words.map(metric).collect::<Option<_>>()? })
    }

    fn line(&self) -> String {
        let metric = |metric: &Metric| match metric {
            Metric::Fixed(number) => format!(" {number}"),
            Metric::FromLocalPref => " any".to_owned(),
        };
        format!("{} {}{}\n", self.owner.table, self.owner.protocol, self.metrics.iter().map(metric).collect::<String>())
    }
}

/// The file, which begins with the name of now.
#[derive(Clone, Debug)]
pub struct OwnerFile {
    path: PathBuf,
}

impl OwnerFile {
    /// In the folder of the control socket.
    pub fn beside(socket: &Path) -> OwnerFile {
        OwnerFile { path: socket.with_extension("owner") }
    }

    /// Puts our name first, and says in `params` what stands under names of before.
    pub fn open(&self, params: &mut Params) {
        let now = Name::of(params);
        let mut before = self.read().unwrap_or_default();
        before.retain(|name| *name != now);
        before.truncate(MOST);
        for name in &before {
            if name.owner == now.owner {
                params.former_metrics.extend(&name.metrics);
            } else if !params.former.contains(&name.owner) {
                params.former.push(name.owner);
            }
        }
        before.insert(0, now);
        self.write(&before);
    }

    /// Other metrics hold from now on, as a reload says. Table and protocol stay as they were at the start.
    pub fn note_metrics(&self, params: &Params) {
        let names = self.read().unwrap_or_default();
        let Some(first) = names.first() else { return };
        let now = Name { owner: first.owner, ..Name::of(params) };
        if now != *first {
            let before = names.into_iter().filter(|name| *name != now).take(MOST);
            self.write(&std::iter::once(now.clone()).chain(before).collect::<Vec<_>>());
        }
    }

    /// What was left under names of before is gone: others may use them again.
    pub fn forget_former(&self) {
        let mut names = self.read().unwrap_or_default();
        names.truncate(1);
        self.write(&names);
    }

    fn read(&self) -> io::Result<Vec<Name>> {
        let meta = fs::symlink_metadata(&self.path)?;
        if !meta.is_file() || meta.len() > FILE_MOST {
            return Ok(Vec::new());
        }
        Ok(fs::read_to_string(&self.path)?.lines().filter_map(Name::parse).collect())
    }

    fn write(&self, names: &[Name]) {
        let new = self.path.with_extension("owner.new");
        if let Err(error) = fs::write(&new, names.iter().map(Name::line).collect::<String>()).and_then(|()| fs::rename(&new, &self.path)) {
            tracing::warn!(file = %self.path.display(), %error, "a later change of [fib] table, protocol or metric will not know the routes of before");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a daemon with these settings takes for ours besides.
    fn opened(file: &OwnerFile, table: u32, protocol: u8, metric: Metric) -> (Vec<Owner>, Vec<Metric>) {
        let mut params = Params { table, protocol, metric, ..Params::default() };
        file.open(&mut params);
        (params.former, params.former_metrics)
    }

    fn file(test: &str) -> OwnerFile {
        let dir = std::env::temp_dir().join(format!("catbird-owner-{test}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        OwnerFile::beside(&dir.join("catbird.sock"))
    }

    const METRIC: Metric = Metric::Fixed(1024);

    #[test]
    fn the_names_of_before_are_told_until_they_are_forgotten() {
        let file = file("names");
        let owner = |(table, protocol)| Owner { table, protocol };
        let [a, b] = [(254, 186), (254, 200)].map(owner);
        assert_eq!(opened(&file, 254, 186, METRIC), (vec![], vec![]), "the first start");
        assert_eq!(opened(&file, 254, 186, METRIC).0, []);
        assert_eq!(opened(&file, 254, 200, METRIC).0, [a]);
        assert_eq!(opened(&file, 100, 200, METRIC).0, [b, a], "killed before all of it was removed");
        assert_eq!(opened(&file, 100, 200, METRIC).0, [b, a]);
        file.forget_former();
        assert_eq!(opened(&file, 100, 200, METRIC).0, []);
        fs::write(&file.path, "nonsense\n254 300\n254 12\n254 13 many\n").unwrap();
        assert_eq!(opened(&file, 100, 200, METRIC), (vec![Owner { table: 254, protocol: 12 }], vec![]), "as the first release wrote it");
        fs::remove_dir_all(file.path.parent().unwrap()).unwrap();
    }

    #[test]
    fn so_are_the_metrics_of_before() {
        let file = file("metrics");
        opened(&file, 254, 186, METRIC);
        assert_eq!(opened(&file, 254, 186, Metric::Fixed(900)).1, [METRIC, METRIC]);
        file.note_metrics(&Params { metric: Metric::FromLocalPref, block_metric: 7, ..Params::default() });
        let all = opened(&file, 254, 186, METRIC).1;
        assert!([Metric::FromLocalPref, Metric::Fixed(7), Metric::Fixed(900)].iter().all(|metric| all.contains(metric)), "{all:?}");
        file.forget_former();
        assert_eq!(opened(&file, 254, 186, METRIC).1, []);
        fs::remove_dir_all(file.path.parent().unwrap()).unwrap();
    }
}
