//! `catbird why`: the whole account of a prefix, from what the tables hold anyway; and, for who watches, each change of it as it happens.
//!
//! In: a prefix or an address. Out: who announced it, who was refused and by which rule, which step of the decision chose with which values,
//! what the kernel has, and to whom it is announced. RFC 4271 §9.1.2.2 names the steps.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::circle;
use super::fib_sync::Desired;
use super::format;
use super::io::Effects;
use super::query::{LOOK_AT, Query};
use super::sessions::{Entry, Sessions};
use crate::api::{DepartedRow, Explanation, ExportRow, Fate, FibRow, PathExplanation, ResolutionRow};
use crate::num::{Family, Instant, PeerId};
use crate::peer::Timer;
use crate::rib::nexthop::NhId;
use crate::rib::update_group::ExportVerdict;
use crate::rib::{Best, BestChange, PathView, Rib, Sharing, Standing, Step};
use crate::stats::Notice;

/// Longer and shorter prefixes that an account names at most.
const NEIGHBOURS: usize = 8;

/// Changes of one settlement that are told one by one; a monitor that is behind loses the rest anyway.
const TOLD_ONE_BY_ONE: usize = 256;

impl Query<'_> {
    /// Everything that the tables know of a prefix: its paths and what became of each, the kernel's route, and what each peer is announced.
    /// `longest`: what packets to the first address of `asked` follow, if that is another prefix.
    pub(super) fn explanation(&mut self, asked: &IpNet, longest: bool, now: Instant) -> Explanation {
        let found = self.rib.longest_match(asked.addr()).and_then(|dest| self.rib.net(dest));
        let net = found.filter(|_| longest).unwrap_or(*asked);
        let paths = self.rib.find(&net).map(|dest| self.rib.why(dest, self.nexthops)).unwrap_or_default();
        let best = paths.iter().find(|(_, standing)| matches!(standing, Standing::Best(_))).map(|(view, _)| view);
        let sharing = self.rib.find(&net).map_or(Sharing::Evenly { promised: 0 }, |dest| self.rib.sharing(dest));
        let told: Vec<PathExplanation> =
            paths.iter().map(|(view, standing)| self.path_explanation(view, *standing, best, &sharing, now)).collect();
        let fib = self.fib_rows(Some(&net), 0).rows.into_iter().next();
        let exports = self.exports(&net);
        let Query { params, rib, nexthops, origination, .. } = self;
        let not_written = Desired { params, rib, nexthops, origination }.not_written(&net).map(|rule| rule.to_string());
        let departed = self.rib.departed(&net).filter(|_| told.is_empty()).map(|gone| DepartedRow {
            peer: format::name_of(self.sessions, gone.peer).to_owned(),
            why: gone.cause.to_string(),
            ago_seconds: u64::from(self.rib.seconds().saturating_sub(gone.seconds)),
        });
        let (covering, longer) = (self.covering(&net), self.longer(&net));
        let from = self.params.origin(&net).map(str::to_owned);
        Explanation { net, asked: *asked, covering, longer, from, departed, paths: told, fib, kernel: None, not_written, exports }
    }

    /// Shorter prefixes that are used, the longest first.
    fn covering(&self, net: &IpNet) -> Vec<IpNet> {
        let shorter = (0..net.prefix_len()).rev().filter_map(|len| Some(IpNet::new(net.addr(), len).ok()?.trunc()));
        let used = |net: &IpNet| self.rib.find(net).is_some_and(|dest| self.rib.best(dest).is_some());
        shorter.filter(used).take(NEIGHBOURS).collect()
    }

    /// Some of the prefixes inside it, among as many as one answer may look at.
    fn longer(&self, net: &IpNet) -> Vec<IpNet> {
        let inside = |n: &IpNet| n != net && net.contains(n);
        let mut some: Vec<IpNet> = self
            .rib
            .dests(Family::of(net), 0)
            .take(LOOK_AT)
            .filter_map(|dest| self.rib.net(dest))
            .filter(inside)
            .take(NEIGHBOURS)
            .collect();
        some.sort();
        some
    }

    fn exports(&mut self, net: &IpNet) -> Vec<ExportRow> {
        let live: Vec<(PeerId, String)> = self.sessions.iter().filter(|e| e.live.is_some()).map(|e| (e.id, e.name().to_owned())).collect();
        let mut exports = Vec::with_capacity(live.len());
        for (id, peer) in live {
            let verdict = self.groups.why(self.rib, id, net);
            let announced = matches!(verdict, ExportVerdict::Sent { .. });
            let explanation = match &verdict {
                ExportVerdict::Withheld(reason) => reason.to_string(),
                other => other.to_string(),
            };
            exports.push(ExportRow { peer, announced, reason: verdict.code().to_owned(), explanation });
        }
        exports
    }

    fn path_explanation(
        &self,
        view: &PathView<'_>,
        standing: Standing,
        best: Option<&PathView<'_>>,
        sharing: &Sharing,
        now: Instant,
    ) -> PathExplanation {
        let attrs = view.attrs.unwrap_or(view.received);
        let by = |step: Step| (self.deciding_value(step, view), best.and_then(|best| self.deciding_value(step, best)));
        let (fate, step, (value, best_value)) = match standing {
            Standing::Best(step) => (Fate::Best, Some(step), by(step)),
            Standing::Lost(step) => (if view.shares { Fate::Shares } else { Fate::Lost }, Some(step), by(step)),
            Standing::Unreachable => (Fate::Ineligible, None, (None, None)),
            Standing::Refused => (Fate::Refused, None, (None, None)),
        };
        let id = view.attrs.and_then(|a| a.nh());
        let resolution = id.map(|id| self.resolution_row(attrs.next_hop().addr(), id));
        let mut explained = PathExplanation {
            route: self.route_row(view, attrs),
            fate,
            step: step.map(|step| format::snake_case(&format!("{step:?}"))),
            value,
            best_value,
            resolution,
            link_bandwidth: attrs.link_bandwidth().filter(|_| view.shares && *sharing != Sharing::Evenly { promised: 0 }),
            shared_bandwidth: if view.shares { shared_bandwidth(sharing) } else { None },
            stale_seconds_left: self.sessions.get(view.source.id).filter(|_| view.stale).and_then(|entry| stale_left(entry, now)),
            explanation: String::new(),
        };
        explained.explanation = explained.verdict();
        explained
    }

    /// Why a prefix that has paths has no kernel route, as a row.
    pub(super) fn unwritten(&self, net: &IpNet) -> Option<FibRow> {
        let Query { params, rib, nexthops, origination, .. } = *self;
        let by_rule = || Desired { params, rib, nexthops, origination }.not_written(net).map(|rule| rule.to_string());
        let unreachable = || {
            let (view, _) = rib.why(rib.find(net)?, nexthops).into_iter().find(|(_, standing)| *standing == Standing::Unreachable)?;
            let (addr, id) = (view.attrs?.next_hop().addr(), view.attrs?.nh()?);
            Some(format!("its next hop {addr} cannot be reached: {}", self.resolution_row(addr, id)))
        };
        let why = by_rule().or_else(unreachable)?;
        Some(FibRow { net: *net, state: "none".to_owned(), wanted: None, installed: None, errno: None, error: Some(why) })
    }

    /// Where a next hop leads, and if that is back to itself, by which way.
    pub(super) fn resolution_row(&self, addr: IpAddr, id: NhId) -> ResolutionRow {
        let resolution = self.nexthops.resolution(id);
        let row = format::resolution(self.nexthops, resolution, self.nexthops.carried_by(id));
        match circle::find(self.rib, self.nexthops, addr, resolution) {
            Some(circle) => ResolutionRow {
                unusable: Some("circle".to_owned()),
                explanation: Some(circle.to_string()),
                circle: circle.addresses(),
                ..row
            },
            None => row,
        }
    }

    /// What a step compares, of one path.
    fn deciding_value(&self, step: Step, view: &PathView<'_>) -> Option<String> {
        let attrs = view.attrs?;
        let pref = attrs.preference();
        let source = view.source;
        Some(match step {
            Step::Only | Step::Local => return None,
            Step::LongLived => if pref.long_lived { "llgr-stale" } else { "fresh" }.to_owned(),
            Step::LocalPref => pref.local_pref.to_string(),
            Step::AsPathLength => format!("length {}", pref.as_path_len),
            Step::Origin => attrs.origin().to_string(),
            Step::Med => pref.med.to_string(),
            Step::ExternalOverInternal => format!("{:?}", source.kind).to_lowercase(),
            Step::NextHopMetric => format!("metric {}", self.nexthops.resolution(attrs.nh()?).metric()?),
            Step::OlderExternal => format!("{} s old", self.rib.seconds().saturating_sub(view.since)),
            Step::RouterId => pref.originator.unwrap_or(source.router_id).addr().to_string(),
            Step::ClusterListLength => pref.cluster_len.to_string(),
            Step::PeerAddress => source.addr.to_string(),
            Step::PathId => view.path_id.0.to_string(),
        })
    }
}

/// Of all paths, if they share the load by it.
fn shared_bandwidth(sharing: &Sharing) -> Option<u64> {
    let Sharing::ByBandwidth(paths) = sharing else { return None };
    Some(paths.iter().fold(0, |all, (_, bits)| all.saturating_add(*bits)))
}

/// Until what is stale of this peer goes, unless it is announced again.
fn stale_left(entry: &Entry, now: Instant) -> Option<f64> {
    let timers = entry
        .peer
        .timers()
        .filter(|(timer, _)| matches!(timer, Timer::Restart | Timer::Stale | Timer::LongLivedIpv4 | Timer::LongLivedIpv6))
        .map(|(_, at)| at);
    timers.min().map(|at| at.since(now).as_secs_f64())
}

/// Tells of each prefix that is used otherwise than before.
pub(super) fn notice_changes(changes: &[BestChange], rib: &Rib, sessions: &Sessions, effects: &mut Effects) {
    let name = |best: &Best| format::name_of(sessions, best.peer).to_owned();
    let gone = |net: &IpNet| rib.departed(net).map_or_else(|| "no path is left that may be used".to_owned(), |gone| gone.cause.to_string());
    let next_hop = |best: &Best| Some(best.attrs.next_hop().addr()).filter(|_| best.peer != PeerId::LOCAL);
    let mut news = changes.iter().filter(|change| change.old != change.new);
    for change in news.by_ref().take(TOLD_ONE_BY_ONE) {
        effects.notice(Notice::Route {
            net: change.net,
            best: change.new.as_ref().map(name),
            next_hop: change.new.as_ref().and_then(next_hop),
            was: change.old.as_ref().map(name),
            why: change.new.as_ref().map_or_else(|| gone(&change.net), |_| change.why.to_string()),
        });
    }
    let count = news.count();
    if count > 0 {
        effects.notice(Notice::RoutesUntold { count });
    }
}

/// The established peers to which no way leads.
pub(super) fn cut_off(sessions: &Sessions, is_reachable: impl Fn(IpAddr) -> bool) -> BTreeSet<PeerId> {
    let live = sessions.iter().filter_map(|entry| Some((entry.id, entry.live.as_ref()?.session.remote.ip())));
    live.filter(|(_, addr)| !is_reachable(*addr)).map(|(id, _)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::STEPS;

    #[test]
    fn answers_name_the_steps_as_the_decision_does() {
        let all = [
            Step::Only,
            Step::Local,
            Step::LongLived,
            Step::LocalPref,
            Step::AsPathLength,
            Step::Origin,
            Step::Med,
            Step::ExternalOverInternal,
            Step::NextHopMetric,
            Step::OlderExternal,
            Step::RouterId,
            Step::ClusterListLength,
            Step::PeerAddress,
            Step::PathId,
        ];
        let named = all.map(|step| (format::snake_case(&format!("{step:?}")), step.to_string()));
        assert_eq!(named, STEPS.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }
}
