//! What RPKI caches say (RFC 6811).
//!
//! In: [`Report`]s of whoever talks to the caches. Out: the [`Table`] that import judges by, and what operators are told. Who is judged again when it
//! changes is `origins`' affair.

use std::sync::Arc;

use ipnet::IpNet;

use super::io::{Effect, Effects};
use super::params::Params;
use crate::api::{RpkiCacheRow, RpkiReport, RpkiVerdict, VrpRow};
use crate::num::{Asn, Family, Instant};
use crate::rpki::{CacheParams, CacheState, Covers, Report, Source, Table, Vrp};

/// VRPs that one answer names at most.
const NAMED: usize = 64;

/// What is known of origins, and from whom.
#[derive(Default)]
pub(super) struct Validation {
    /// What holds.
    pub table: Arc<Table>,
    /// Which caches were asked for.
    asked: Vec<CacheParams>,
    caches: Vec<CacheState>,
    source: Option<Source>,
    /// Tables that took the place of others.
    updates: u64,
}

impl Validation {
    /// Asks for the caches that are configured now, if they are others.
    pub fn ask(&mut self, params: &Params, effects: &mut Effects) {
        if self.asked != params.rpki {
            self.asked.clone_from(&params.rpki);
            effects.push(Effect::Rpki(params.rpki.clone()));
        }
    }

    /// Takes in how caches stand; another table, with what it changes, is to be judged by.
    pub fn learn(&mut self, report: Report) -> Option<Arc<Covers>> {
        (self.caches, self.source) = (report.caches, report.source);
        let update = report.update?;
        self.table = update.table;
        self.updates += 1;
        Some(update.changed)
    }

    /// Caches are configured.
    pub fn is_on(&self) -> bool {
        !self.asked.is_empty()
    }

    /// What there is to judge by, in words; `Err`: nothing.
    pub fn words(&self, now: Instant) -> Option<Result<String, String>> {
        let first = self.asked.first().filter(|_| self.is_on())?;
        let Some(source) = &self.source else {
            let failed = self.caches.iter().find_map(|cache| Some(format!("{}: {}", cache.params.address, cache.last_error.as_ref()?)));
            let why = failed.unwrap_or_else(|| format!("{} is asked", first.address));
            return Some(Err(format!("no RPKI cache is synchronised, so that every route is not-found ({why})")));
        };
        let vrps = self.table.len();
        let ago = now.since(source.at).as_secs();
        Some(Ok(format!("{vrps} VRPs of {} (serial {}, {ago} s ago)", source.address, source.serial)))
    }

    /// What is used comes from a cache that has been lost.
    pub fn warning(&self, now: Instant) -> Option<String> {
        let source = self.source.as_ref()?;
        let lost = self.caches.iter().find(|cache| cache.params.address == source.address && cache.state != "synchronised");
        let why = lost?.last_error.as_deref().unwrap_or("it is connected anew");
        let left = source.expires.since(now).as_secs();
        Some(format!("RPKI cache {} is lost ({why}); what it said is used for {left} s more", source.address))
    }

    /// How caches stand, and what their VRPs say of a prefix.
    pub fn report(&self, asked: Option<(IpNet, Option<Asn>)>, now: Instant) -> RpkiReport {
        let count = |family| self.table.count(family) as u64;
        let source = self.source.as_ref();
        RpkiReport {
            source: source.map(|source| source.address.to_string()),
            session: source.map(|source| source.session),
            serial: source.map(|source| source.serial),
            age_seconds: source.map(|source| now.since(source.at).as_secs_f64()),
            expires_seconds: source.map(|source| source.expires.since(now).as_secs_f64()),
            vrps_ipv4: count(Family::Ipv4Unicast),
            vrps_ipv6: count(Family::Ipv6Unicast),
            updates: self.updates,
            caches: self.caches.iter().map(|cache| cache_row(cache, source, now)).collect(),
            verdict: asked.map(|(net, asn)| verdict(&self.table, net.trunc(), asn)),
        }
    }
}

fn cache_row(cache: &CacheState, source: Option<&Source>, now: Instant) -> RpkiCacheRow {
    RpkiCacheRow {
        cache: cache.params.address.to_string(),
        preference: cache.params.preference,
        state: cache.state.to_owned(),
        in_use: source.is_some_and(|source| source.address == cache.params.address),
        since_seconds: now.since(cache.since).as_secs_f64(),
        version: cache.version,
        connections: cache.connections,
        failures: cache.failures,
        again_seconds: cache.again.map(|at| at.since(now).as_secs_f64()),
        last_error: cache.last_error.clone(),
    }
}

fn verdict(table: &Table, net: IpNet, asn: Option<Asn>) -> RpkiVerdict {
    let row = |vrp: Vrp| VrpRow {
        net: vrp.net,
        max_length: vrp.max_len,
        asn: vrp.asn,
        matches: asn.map(|asn| asn == vrp.asn && asn.0 != 0 && net.prefix_len() <= vrp.max_len),
    };
    let all = table.covering(net).count();
    RpkiVerdict {
        net,
        asn,
        state: asn.map(|asn| table.validate(&net, Some(asn)).to_string()),
        covering: table.covering(net).take(NAMED).map(row).collect(),
        more: all.saturating_sub(NAMED) as u64,
    }
}
