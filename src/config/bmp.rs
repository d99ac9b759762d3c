//! `[[bmp]]`: monitoring stations (RFC 7854).
//!
//! In: the sections as typed. Out: [`StationParams`], each station once, sorted. What stations are told is `speaker`'s.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use toml::de::DeValue;

use super::raw::{List, Opt};
use super::reader::{Section, Value};
use super::report::{Diagnostics, Problem, Span};
use super::validate::Validator;
use super::values::{Interval, Keyword, Time, read_keyword};
use crate::bmp::{MOST_STATIONS, StationParams, Table, Tables};

/// What a station is told unless it says otherwise.
const DEFAULT_TABLES: Tables = Tables { adj_in_pre: true, adj_in_post: false, adj_out: false, loc_rib: true };

/// Between two reports of numbers, at least.
const LEAST_STATISTICS: Duration = Duration::from_secs(1);

impl Keyword for Table {
    const KEYWORDS: &'static [(&'static str, Table)] =
        &[("adj-in-pre", Table::AdjInPre), ("adj-in-post", Table::AdjInPost), ("adj-out", Table::AdjOut), ("loc-rib", Table::LocRib)];
}

impl Value for Table {
    fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<Table> {
        read_keyword(value, span, diagnostics)
    }
}

/// One station as typed.
#[derive(Clone, Debug)]
pub struct RawStation {
    pub address: Opt<IpAddr>,
    pub port: Opt<NonZeroU16>,
    pub tables: List<Table>,
    pub statistics: Opt<Time>,
    pub retry: Opt<Interval>,
    pub timeout: Opt<Interval>,
}

pub(super) fn read(mut section: Section<'_>) -> RawStation {
    let raw = RawStation {
        address: section.need("address", "where the station listens, such as \"192.0.2.9\""),
        port: section.need("port", "RFC 7854 gives BMP none of its own; pmbmpd listens on 1790"),
        tables: section.some("tables"),
        statistics: section.take("statistics"),
        retry: section.take("retry"),
        timeout: section.take("timeout"),
    };
    section.finish();
    raw
}

impl Validator<'_> {
    pub(super) fn stations(&self, raw: &[RawStation]) -> Vec<StationParams> {
        let mut stations: Vec<StationParams> = Vec::new();
        for station in raw {
            let (Some(address), Some(port)) = (&station.address, &station.port) else { continue };
            let to = SocketAddr::new(address.value, port.value.get());
            if stations.iter().any(|known| known.address == to) {
                let what = format!("{to} is named twice");
                let help = "a station has one connection; say all of its `tables` in one [[bmp]]".to_owned();
                self.diagnostics.report(address.span.clone(), Problem::Conflict { what, help });
            }
            if stations.len() == MOST_STATIONS {
                let what = format!("there are more than {MOST_STATIONS} stations");
                let help = "each is told everything; let one station pass it on to others".to_owned();
                self.diagnostics.report(address.span.clone(), Problem::Conflict { what, help });
                break;
            }
            stations.push(self.station(station, to));
        }
        stations.sort_by_key(|station| station.address);
        stations
    }

    fn station(&self, raw: &RawStation, address: SocketAddr) -> StationParams {
        let tables = raw.tables.as_ref().map_or(DEFAULT_TABLES, |list| {
            let mut tables = Tables::default();
            list.value.iter().for_each(|table| tables.add(table.value));
            tables
        });
        let or = |typed: &Opt<Interval>, default| typed.as_ref().map_or(Duration::from_secs(default), |at| at.value.0);
        StationParams {
            address,
            tables,
            statistics: self.statistics(&raw.statistics),
            retry: or(&raw.retry, 30),
            timeout: or(&raw.timeout, 60),
        }
    }

    /// Zero: never.
    fn statistics(&self, typed: &Opt<Time>) -> Option<Duration> {
        let Some(at) = typed else { return Some(Duration::from_secs(60)) };
        if !at.value.0.is_zero() && at.value.0 < LEAST_STATISTICS {
            let expected = "an interval of at least a second, such as \"60s\"; 0: never".to_owned();
            self.diagnostics.report(at.span.clone(), Problem::BadValue { found: at.value.to_string(), expected });
        }
        Some(at.value.0).filter(|every| !every.is_zero())
    }
}
