//! Who is judged again when VRPs change (RFC 6811 §4).
//!
//! In: [`Report`]s of whoever talks to RPKI caches. Out: jobs for the peers whose policy asks what VRPs say. The table is replaced and never changed, so a route
//! is judged by all of an update or by nothing of it; what is judged again is what the VRPs that changed cover, from Adj-RIB-In, and a route whose
//! verdict is the same is not touched.

use super::jobs::JobKey;
use super::router::Speaker;
use super::sessions::Entry;
use crate::num::{Family, PeerId};
use crate::rpki::{News, Report};
use crate::stats::Notice;

impl Speaker {
    /// Asks for the caches that are configured now.
    pub(super) fn sync_caches(&mut self) {
        self.validation.ask(&self.params, &mut self.effects);
    }

    /// Another table, or a cache that stands otherwise.
    pub(super) fn on_rpki(&mut self, mut report: Report) {
        std::mem::take(&mut report.news).into_iter().for_each(|news| self.effects.notice(notice(news)));
        let Some(changed) = self.validation.learn(report) else { return };
        let asks = |entry: &Entry| entry.live.as_ref().is_some_and(|live| live.import.depends_on_validity());
        let concerned: Vec<PeerId> = self.sessions.iter().filter(|entry| asks(entry)).map(|entry| entry.id).collect();
        for id in concerned {
            if let Some(live) = self.sessions.get_mut(id).and_then(|entry| entry.live.as_mut()) {
                live.cache = Default::default();
            }
            for family in Family::ALL.into_iter().filter(|family| changed.concerns(*family)) {
                self.jobs.add_covered(JobKey::Covered(id, family), changed.clone());
            }
        }
    }
}

fn notice(news: News) -> Notice {
    match news {
        News::Synchronised { cache, vrps } => Notice::RpkiSynchronised { cache: cache.to_string(), vrps },
        News::Lost { cache, error } => Notice::RpkiLost { cache: cache.to_string(), error },
        News::Expired { cache } => Notice::RpkiExpired { cache: cache.to_string() },
    }
}
