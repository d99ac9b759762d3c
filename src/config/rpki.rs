//! `[[rpki]]`: caches that say which AS may originate which prefix (RFC 8210).
//!
//! In: the sections as typed. Out: [`CacheParams`], each cache once, the most preferred first; and what is wrong with rules that ask what they say.

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use toml::de::DeValue;

use super::Config;
use super::model::ChainRef;
use super::policy::RawPolicy;
use super::raw::Opt;
use super::reader::{Section, Value};
use super::report::{Diagnostics, Problem, Span};
use super::validate::Validator;
use super::values::{Interval, Keyword, read_keyword};
use crate::rpki::{CacheParams, MOST_CACHES, Validity};

/// The port of RFC 8210 §9.
const PORT: u16 = 323;

/// Caches that say nothing else are as good as each other.
const PREFERENCE: u8 = 100;

/// More than twice of what all the world has.
const MOST_VRPS: u32 = 2_000_000;

impl Keyword for Validity {
    const KEYWORDS: &'static [(&'static str, Validity)] =
        &[("valid", Validity::Valid), ("invalid", Validity::Invalid), ("not-found", Validity::NotFound)];
}

impl Value for Validity {
    fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<Validity> {
        read_keyword(value, span, diagnostics)
    }
}

/// One cache as typed.
#[derive(Clone, Debug)]
pub struct RawCache {
    pub address: Opt<IpAddr>,
    pub port: Opt<NonZeroU16>,
    pub preference: Opt<u8>,
    pub refresh: Opt<Interval>,
    pub retry: Opt<Interval>,
    pub expire: Opt<Interval>,
    pub timeout: Opt<Interval>,
    pub max_vrps: Opt<NonZeroU32>,
}

pub(super) fn read(mut section: Section<'_>) -> RawCache {
    let raw = RawCache {
        address: section.need("address", "where the cache listens, such as \"192.0.2.9\""),
        port: section.take("port"),
        preference: section.take("preference"),
        refresh: section.take("refresh"),
        retry: section.take("retry"),
        expire: section.take("expire"),
        timeout: section.take("timeout"),
        max_vrps: section.take("max_vrps"),
    };
    section.finish();
    raw
}

impl Validator<'_> {
    pub(super) fn caches(&self, raw: &[RawCache]) -> Vec<CacheParams> {
        let mut caches: Vec<CacheParams> = Vec::new();
        for cache in raw {
            let Some(address) = &cache.address else { continue };
            let to = SocketAddr::new(address.value, cache.port.as_ref().map_or(PORT, |port| port.value.get()));
            if caches.iter().any(|known| known.address == to) {
                let (what, help) = (format!("{to} is named twice"), "leave one of them out".to_owned());
                self.diagnostics.report(address.span.clone(), Problem::Conflict { what, help });
            }
            if caches.len() == MOST_CACHES {
                let what = format!("there are more than {MOST_CACHES} caches");
                let help = "one is used at a time, and the others are there for when it is lost".to_owned();
                self.diagnostics.report(address.span.clone(), Problem::Conflict { what, help });
                break;
            }
            self.cache_times(cache);
            let time = |typed: &Opt<Interval>| typed.as_ref().map(|at| at.value.0);
            caches.push(CacheParams {
                address: to,
                preference: cache.preference.as_ref().map_or(PREFERENCE, |at| at.value),
                refresh: time(&cache.refresh),
                retry: time(&cache.retry),
                expire: time(&cache.expire),
                timeout: time(&cache.timeout).unwrap_or(Duration::from_secs(60)),
                max_vrps: cache.max_vrps.as_ref().map_or(MOST_VRPS, |at| at.value.get()),
            });
        }
        caches.sort_by_key(|cache| (cache.preference, cache.address));
        caches
    }

    /// RFC 8210 §6: what is used must not end before it is asked for again.
    fn cache_times(&self, cache: &RawCache) {
        let (Some(refresh), Some(expire)) = (&cache.refresh, &cache.expire) else { return };
        if expire.value.0 <= refresh.value.0 {
            let what = "`expire` is not longer than `refresh`".to_owned();
            let help = "what the cache said would count no more before it is asked again".to_owned();
            self.diagnostics.report(expire.span.clone(), Problem::Conflict { what, help });
        }
    }
}

/// Rules that ask what caches say: on import alone, and in vain where there is none.
pub(super) fn judge_rules(raw: &[RawPolicy], config: &Config, diagnostics: &Diagnostics) {
    for policy in raw {
        let names = |chain: &ChainRef| matches!(chain, ChainRef::Policies(names) if names.contains(&policy.name.value));
        let mut options = config.sessions.iter().map(|s| &s.options).chain(config.ranges.iter().map(|r| &r.options));
        let exported = options.any(|options| names(&options.export));
        for span in policy.validity_spans() {
            if exported {
                let what = format!("policy `{}` asks `rpki`, and is an export policy of a peer", policy.name.value);
                let help = "origins are judged on import: attach a community there, and ask for that on export".to_owned();
                diagnostics.report(span.clone(), Problem::Conflict { what, help });
            } else if config.rpki.is_empty() {
                let what = "`rpki` is asked, and no [[rpki]] names a cache".to_owned();
                diagnostics.report(span.clone(), Problem::Odd { what, help: "every route is not-found".to_owned() });
            }
        }
    }
}
