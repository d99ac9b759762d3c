//! `catbird why`: the whole account of a prefix, from what the tables hold anyway.
//!
//! In: a prefix. Out: who announced it, who was refused and by which rule, which step of the decision chose, what the kernel has, and to whom
//! it is announced. RFC 4271 §9.1.2.2 names the steps.

use ipnet::IpNet;

use super::fib_sync::Desired;
use super::format;
use super::query::Query;
use crate::api::{DepartedRow, Explanation, ExportRow, PathExplanation};
use crate::num::PeerId;
use crate::rib::update_group::ExportVerdict;
use crate::rib::{PathView, Standing};

impl Query<'_> {
    /// Everything that the tables know of a prefix: its paths and what became of each, the kernel's route, and what each peer is announced.
    pub(super) fn explanation(&mut self, net: &IpNet) -> Explanation {
        let paths = self.rib.find(net).map(|dest| self.rib.why(dest, self.nexthops)).unwrap_or_default();
        let paths: Vec<PathExplanation> = paths.iter().map(|(view, standing)| self.path_explanation(view, *standing)).collect();
        let fib = self.fib_rows(Some(net), 0).rows.into_iter().next();
        let live: Vec<(PeerId, String)> = self.sessions.iter().filter(|e| e.live.is_some()).map(|e| (e.id, e.name().to_owned())).collect();
        let mut exports = Vec::new();
        for (id, peer) in live {
            let verdict = self.groups.why(self.rib, id, net);
            let announced = matches!(verdict, ExportVerdict::Sent { .. });
            let reason = match verdict {
                ExportVerdict::Withheld(reason) => reason.to_string(),
                other => other.to_string(),
            };
            exports.push(ExportRow { peer, announced, reason });
        }
        let Query { params, rib, nexthops, origination, .. } = self;
        let not_written = Desired { params, rib, nexthops, origination }.not_written(net).map(|rule| rule.to_string());
        let departed = self.rib.departed(net).filter(|_| paths.is_empty()).map(|gone| DepartedRow {
            peer: format::name_of(self.sessions, gone.peer).to_owned(),
            why: gone.cause.to_string(),
            ago_seconds: u64::from(self.rib.seconds().saturating_sub(gone.seconds)),
        });
        Explanation { net: *net, departed, paths, fib, not_written, exports }
    }

    fn path_explanation(&self, view: &PathView<'_>, standing: Standing) -> PathExplanation {
        let verdict = match standing {
            Standing::Best(step) => format!("best: {}", format::won(step)),
            Standing::Lost(_) if view.shares => "shares the load with the best".to_owned(),
            Standing::Lost(step) => format!("lost: {}", format::lost(step)),
            Standing::Unreachable => "ineligible: its next hop cannot be reached".to_owned(),
            Standing::Refused => format!("refused: {}", view.cause),
        };
        let attrs = view.attrs.unwrap_or(view.received);
        let known = view.attrs.and_then(|a| a.nh()).map(|id| format::resolution(self.nexthops, self.nexthops.resolution(id)));
        PathExplanation { route: format::route(self.sessions, view, attrs), verdict, next_hop_via: known }
    }
}
