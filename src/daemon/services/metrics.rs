//! Prometheus metrics: one snapshot of the router and of the process, turned into families.
//!
//! In: a [`Snapshot`] of the core's numbers, the shell's [`DaemonMetrics`], how the last reload went. Out: text in the exposition format. Nothing
//! is counted here. A scrape is made from one snapshot, so its numbers belong together, and a peer that is no longer configured has no
//! series because nothing remembers it.
//!
//! Which peers have series of their own is the configuration's choice (`metrics.per_peer`); the others are summed by kind, with no `peer`
//! label. A mesh of 500 nodes with 499 peers each would otherwise be millions of series. [`PEER_SERIES`] and [`FIXED_SERIES`] are bounds.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};

use crate::api::{FamilyRow, LastDown, PeerMetrics, Snapshot, Status};
use crate::config::model::PerPeer;
use crate::daemon::counters::{BfdMetrics, DaemonMetrics};
use crate::daemon::protocol::SourceRow;
use crate::num::Family;

/// Series of one peer at most.
pub const PEER_SERIES: usize = 29;
/// Series besides those of single peers at most.
pub const FIXED_SERIES: usize = 260;

use MetricType::{COUNTER, GAUGE, HISTOGRAM};

/// A metric that is ours.
pub struct Known {
    /// With its unit, and `_total` if it counts.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricType,
    /// Those that it may have; `peer` is absent where peers are summed.
    pub labels: &'static [&'static str],
    /// As in the exposition.
    pub help: &'static str,
}

const fn known(name: &'static str, kind: MetricType, labels: &'static [&'static str], help: &'static str) -> Known {
    Known { name, kind, labels, help }
}

/// All of them. A name is a promise: the README lists the same, which a test compares.
pub const METRICS: &[Known] = &[
    known("catbird_build_info", GAUGE, &["version"], "Version of the running catbird; always 1."),
    known("catbird_start_time_seconds", GAUGE, &[], "When the daemon started, in seconds since 1970."),
    known("catbird_ready", GAUGE, &[], "1 if /readyz says yes."),
    known("catbird_peers", GAUGE, &["kind", "state"], "Configured peers by kind and state; state down: switched off by the operator."),
    known("catbird_peer_up", GAUGE, &["peer", "kind", "peer_as", "name"], "1 if the session with this peer is established."),
    known(
        "catbird_peer_state",
        GAUGE,
        &["peer", "kind"],
        "State of the session: 1 Idle, 2 Connect, 3 Active, 4 OpenSent, 5 OpenConfirm, 6 Established.",
    ),
    known("catbird_peer_admin_up", GAUGE, &["peer", "kind"], "0 if an operator has switched this peer off."),
    known(
        "catbird_peer_established_timestamp_seconds",
        GAUGE,
        &["peer", "kind"],
        "When the session was established, in seconds since 1970; absent while it is not.",
    ),
    known("catbird_peer_flaps_total", COUNTER, &["peer", "kind"], "Established sessions that ended."),
    known(
        "catbird_peer_last_down_info",
        GAUGE,
        &["peer", "kind", "reason", "direction", "code", "subcode"],
        "Why the last session ended; always 1.",
    ),
    known(
        "catbird_peer_expects_routes",
        GAUGE,
        &["peer", "kind"],
        "1 if the import policy may let something in; 0 for a peer that is only announced to.",
    ),
    known("catbird_messages_total", COUNTER, &["peer", "kind", "direction", "type"], "UPDATE and KEEPALIVE messages."),
    known(
        "catbird_notifications_total",
        COUNTER,
        &["peer", "kind", "direction", "code", "subcode"],
        "NOTIFICATION messages by code and subcode (RFC 4271 section 4.5).",
    ),
    known(
        "catbird_routes",
        GAUGE,
        &["peer", "kind", "family", "view"],
        "Routes of a peer: received, accepted, rejected, stale (Adj-RIB-In), advertised (Adj-RIB-Out).",
    ),
    known(
        "catbird_route_changes_total",
        COUNTER,
        &["peer", "kind", "action", "result"],
        "Prefixes announced or withdrawn in UPDATE messages.",
    ),
    known(
        "catbird_malformed_attributes_total",
        COUNTER,
        &["peer", "kind", "attribute", "action"],
        "Malformed attributes and what was done about them (RFC 7606).",
    ),
    known("catbird_max_prefix_ratio", GAUGE, &["peer", "kind", "family"], "Received prefixes divided by the most that this peer may send."),
    known("catbird_rib_routes", GAUGE, &["family"], "Prefixes in the Loc-RIB."),
    known("catbird_rib_paths", GAUGE, &["family"], "Paths in the Loc-RIB, of all peers."),
    known("catbird_attribute_sets", GAUGE, &[], "Distinct sets of path attributes in memory."),
    known("catbird_table_bytes", GAUGE, &["part"], "Octets that the tables hold: routes, attributes, export (what peers are announced)."),
    known("catbird_table_budget_bytes", GAUGE, &[], "Octets that the tables may hold ([limits] memory); absent without a limit."),
    known("catbird_neighbour_entries", GAUGE, &["family"], "Entries of the kernel's neighbour table (ARP, ND), of all network namespaces."),
    known(
        "catbird_neighbour_limit",
        GAUGE,
        &["family"],
        "Entries that the kernel's neighbour table takes (gc_thresh3); absent where it cannot be read.",
    ),
    known("catbird_bestpath_duration_seconds", HISTOGRAM, &[], "Time of one round of route selection."),
    known("catbird_convergence_seconds", HISTOGRAM, &[], "Time from an UPDATE to the kernel's answer for the routes that follow from it."),
    known(
        "catbird_fib_routes",
        GAUGE,
        &["table", "family", "state"],
        "Kernel routes: wanted, installed, failed, and foreign ones that stand in the way.",
    ),
    known("catbird_fib_operations_total", COUNTER, &["op", "result"], "Changes to kernel routes by kind and result."),
    known("catbird_fib_reconciles_total", COUNTER, &[], "Comparisons of all wanted routes with the kernel's."),
    known("catbird_fib_repaired_routes_total", COUNTER, &[], "Kernel routes put right after somebody else changed them."),
    known(
        "catbird_netlink_overruns_total",
        COUNTER,
        &[],
        "Times that the kernel had more to say than was kept, so that everything was read again.",
    ),
    known("catbird_netlink_dumps_total", COUNTER, &[], "Readings of all links, addresses and routes of the kernel."),
    known("catbird_tunnels", GAUGE, &[], "Nodes that the overlay's devices carry packets to."),
    known(
        "catbird_tunnel_repairs_total",
        COUNTER,
        &[],
        "Settings and entries of overlay devices put right after somebody else changed them.",
    ),
    known("catbird_tunnel_failures_total", COUNTER, &[], "Changes to overlay devices that the kernel refused."),
    known("catbird_queue_depth", GAUGE, &["queue"], "Entries that wait in a queue of the daemon."),
    known("catbird_backpressure_seconds_total", COUNTER, &["queue"], "Time that was spent waiting because a queue was full."),
    known("catbird_unsent_bytes", GAUGE, &[], "Octets that wait in the daemon because peers do not read fast enough."),
    known(
        "catbird_connections",
        GAUGE,
        &["state"],
        "TCP connections of the daemon: open, half_open (no OPEN yet), lingering (being closed).",
    ),
    known(
        "catbird_connections_refused_total",
        COUNTER,
        &["reason"],
        "Connections turned away: from no configured peer, too many at once, further away than ttl_security allows, or after failed sessions.",
    ),
    known(
        "catbird_tcp_md5_refused_segments_total",
        COUNTER,
        &["reason"],
        "TCP segments that the kernel dropped because of TCP-MD5: missing (no signature), unexpected (no key here), wrong (another key).",
    ),
    known(
        "catbird_core_step_seconds",
        HISTOGRAM,
        &[],
        "The longest step of each cycle of the core, in which no other session is served. A few milliseconds at most.",
    ),
    known(
        "catbird_log_lines_dropped_total",
        COUNTER,
        &["reason"],
        "Lines of the log that were not written: stalled (standard error is not read), repeated (too many of one kind at once).",
    ),
    known(
        "catbird_file_read_successful",
        GAUGE,
        &["file"],
        "1 if what was last read from files of this kind is usable: blocks, passwords; absent where none is configured.",
    ),
    known("catbird_accept_failures_total", COUNTER, &[], "Connections that could not be accepted for want of descriptors or memory."),
    known("catbird_dials_total", COUNTER, &["result"], "Attempts to connect to a peer, by result."),
    known("catbird_config_last_reload_successful", GAUGE, &[], "1 if the last reading of the configuration was taken over."),
    known("catbird_config_last_reload_timestamp_seconds", GAUGE, &[], "When the configuration was last read, in seconds since 1970."),
    known("catbird_bfd_sessions", GAUGE, &["state"], "BFD sessions that are wanted, by state: up, down."),
    known(
        "catbird_bfd_up",
        GAUGE,
        &["peer", "kind"],
        "1 if the BFD session with this peer is up; absent where none is wanted, and where one end holds it down.",
    ),
    known("catbird_neighbours_found_total", COUNTER, &["peer", "kind"], "Neighbours that were found on the link of a peer by interface."),
    known(
        "catbird_neighbours_lost_total",
        COUNTER,
        &["peer", "kind"],
        "How often the neighbour of a peer by interface was known to be gone.",
    ),
    known("catbird_bfd_downs_total", COUNTER, &["peer", "kind"], "BFD sessions that went down."),
    known(
        "catbird_bfd_packets_total",
        COUNTER,
        &["direction"],
        "BFD packets received (and not dropped), sent, and failed: not taken by the kernel.",
    ),
    known("catbird_bfd_dropped_packets_total", COUNTER, &["reason"], "BFD packets that were dropped, by reason (RFC 5880 section 6.8.6)."),
    known("catbird_bfd_realtime", GAUGE, &[], "1 if the kernel runs BFD's thread before others (SCHED_FIFO)."),
    known("catbird_bfd_late_wakeups_total", COUNTER, &[], "Wake-ups of BFD's thread that came more than 5 ms late."),
    known("catbird_rpki_synchronised", GAUGE, &[], "1 if there are VRPs to judge origins by; 0: every route is not-found."),
    known("catbird_rpki_vrps", GAUGE, &["family"], "VRPs that origins are judged by."),
    known("catbird_rpki_expires_seconds", GAUGE, &[], "How long these count if the cache says nothing more."),
    known("catbird_rpki_updates_total", COUNTER, &[], "How often other VRPs took the place of those before."),
    known(
        "catbird_rpki_cache_up",
        GAUGE,
        &["cache"],
        "1 if this RPKI cache is synchronised, or not needed; 0 if it is wanted and not to be had.",
    ),
    known("catbird_rpki_cache_in_use", GAUGE, &["cache"], "1 if the VRPs of this cache are used."),
    known("catbird_rpki_cache_connections_total", COUNTER, &["cache"], "How often this RPKI cache was connected."),
    known("catbird_rpki_cache_failures_total", COUNTER, &["cache"], "How often this RPKI cache was lost, or not to be had."),
    known("catbird_bmp_up", GAUGE, &["station"], "1 if this monitoring station is connected."),
    known("catbird_bmp_connections_total", COUNTER, &["station"], "How often this monitoring station was connected."),
    known("catbird_bmp_messages_total", COUNTER, &["station"], "BMP messages that were made for this station."),
    known("catbird_bmp_bytes_total", COUNTER, &["station"], "Octets of these messages."),
    known("catbird_bmp_waiting", GAUGE, &["station"], "Prefixes and events that this station has yet to be told."),
    known("catbird_bmp_overruns_total", COUNTER, &["station"], "How often this station was so slow that it had to begin anew."),
    known("catbird_local_blocks", GAUGE, &["source", "family"], "Pod blocks of this node by source."),
    known("catbird_graceful_restart_active", GAUGE, &[], "1 while kernel routes of an earlier run wait to be learned again."),
    known("catbird_graceful_restart_stale_routes", GAUGE, &[], "Routes of restarting peers that are kept until they are said again."),
    known("catbird_draining", GAUGE, &[], "1 after catbird drain."),
    known(
        "catbird_source_up",
        GAUGE,
        &["kind"],
        "1 if objects of this kind are watched at the cluster's API; 0 while something is wrong with it.",
    ),
    known("catbird_source_objects", GAUGE, &["kind"], "Objects of the cluster's API that are known."),
    known("catbird_source_events_total", COUNTER, &["kind"], "Objects that the API said were added, changed or deleted."),
    known("catbird_source_received_bytes_total", COUNTER, &["kind"], "Octets of the API's answers."),
    known(
        "catbird_source_last_contact_timestamp_seconds",
        GAUGE,
        &["kind"],
        "When the API last said anything, in seconds since 1970; absent if it never did.",
    ),
    known("catbird_source_lists_total", COUNTER, &["kind"], "Whole lists: at the start, and when a watch had lost its place."),
    known("catbird_source_errors_total", COUNTER, &["kind"], "Requests that the API refused or did not answer, and watches that broke."),
    known("catbird_source_paged", GAUGE, &["kind"], "1 if lists come in pages, because the API has none that come as a stream."),
];

/// What a scrape needs besides the snapshot.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Whose metrics are series of their own.
    pub per_peer: Option<PerPeer>,
    /// As `/readyz` says.
    pub ready: bool,
    /// Seconds since 1970.
    /// Seconds since 1970.
    pub started: f64,
    /// The kernel's.
    pub neighbours: Vec<super::neighbours::Table>,
    /// Of the last one.
    pub reload_successful: bool,
    /// Seconds since 1970, of the last one or the start.
    pub reloaded: f64,
}

/// One scrape as text.
///
/// # Errors
/// What the encoder did not like; a mistake of ours.
pub fn expose(snapshot: &Snapshot, counters: &DaemonMetrics, around: &Surroundings) -> prometheus::Result<String> {
    let registry = Registry::new();
    registry.register(Box::new(Scrape::new(snapshot, counters, around)?))?;
    registry.register(Box::new(ProcessCollector::for_self()))?;
    let mut families = registry.gather();
    // The collector counts whole seconds.
    if let Some(cpu) = families.iter_mut().find(|f| f.name() == "process_cpu_seconds_total") {
        for metric in cpu.mut_metric() {
            let mut counter = Counter::default();
            counter.set_value(crate::daemon::sys::process_time().as_secs_f64());
            metric.set_counter(counter);
        }
    }
    TextEncoder::new().encode_to_string(&families)
}

/// A collector that has its snapshot already.
struct Scrape {
    descs: Vec<Desc>,
    families: Vec<MetricFamily>,
}

impl Scrape {
    fn new(snapshot: &Snapshot, counters: &DaemonMetrics, around: &Surroundings) -> prometheus::Result<Scrape> {
        let desc = |m: &Known| Desc::new(m.name.into(), m.help.into(), Vec::new(), Default::default());
        let descs = METRICS.iter().map(desc).collect::<prometheus::Result<Vec<Desc>>>()?;
        let mut families = Families::default();
        families.whole(snapshot, counters, around);
        families.peers(snapshot, around);
        Ok(Scrape { descs, families: families.finish() })
    }
}

impl Collector for Scrape {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.families.clone()
    }
}

type Labels<'a> = &'a [(&'static str, &'a str)];

/// Metric, labels, value.
type Series = (&'static str, Vec<(&'static str, String)>, f64);

/// Series by metric.
#[derive(Default)]
struct Families(BTreeMap<&'static str, Vec<Metric>>);

impl Families {
    fn labelled(labels: Labels<'_>) -> Metric {
        let mut pairs: Vec<LabelPair> = Vec::with_capacity(labels.len());
        for (name, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pairs.push(pair);
        }
        Metric::from_label(pairs)
    }

    /// A series of a gauge or a counter, as the table of metrics has it.
    fn add(&mut self, name: &'static str, labels: Labels<'_>, value: f64) {
        let mut metric = Families::labelled(labels);
        if METRICS.iter().any(|known| known.name == name && known.kind == COUNTER) {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.0.entry(name).or_default().push(metric);
    }

    fn histogram(&mut self, name: &'static str, from: &crate::api::Histogram) {
        let mut total = 0_u64;
        let mut buckets = Vec::with_capacity(from.bounds.len());
        for (bound, count) in from.bounds.iter().zip(&from.counts) {
            total = total.saturating_add(*count);
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(total);
            buckets.push(bucket);
        }
        let mut histogram = Histogram::default();
        histogram.set_sample_count(from.counts.iter().sum());
        histogram.set_sample_sum(from.sum);
        histogram.set_bucket(buckets);
        let mut metric = Families::labelled(&[]);
        metric.set_histogram(histogram);
        self.0.entry(name).or_default().push(metric);
    }

    fn finish(mut self) -> Vec<MetricFamily> {
        let family = |known: &Known| {
            let metrics = self.0.remove(known.name)?;
            let mut family = MetricFamily::default();
            family.set_name(known.name.to_owned());
            family.set_help(known.help.to_owned());
            family.set_field_type(known.kind);
            family.set_metric(metrics);
            Some(family)
        };
        METRICS.iter().filter_map(family).collect()
    }

    /// What concerns no single peer.
    fn whole(&mut self, snapshot: &Snapshot, counters: &DaemonMetrics, around: &Surroundings) {
        let status = &snapshot.status;
        self.add("catbird_build_info", &[("version", crate::daemon::protocol::VERSION)], 1.0);
        self.add("catbird_start_time_seconds", &[], around.started);
        self.add("catbird_ready", &[], flag(around.ready));
        self.add("catbird_draining", &[], flag(status.draining));
        self.sources(&counters.sources());
        self.add("catbird_config_last_reload_successful", &[], flag(around.reload_successful));
        self.add("catbird_config_last_reload_timestamp_seconds", &[], around.reloaded);
        self.add("catbird_graceful_restart_active", &[], flag(status.recovering));
        self.add("catbird_graceful_restart_stale_routes", &[], snapshot.counters.stale_routes as f64);
        for table in &status.tables {
            let family = table.family.to_string();
            self.add("catbird_rib_routes", &[("family", &family)], table.prefixes as f64);
            self.add("catbird_rib_paths", &[("family", &family)], table.paths as f64);
        }
        self.add("catbird_attribute_sets", &[], status.attribute_sets as f64);
        self.memory(status);
        for table in &around.neighbours {
            self.add("catbird_neighbour_entries", &[("family", table.family)], table.entries as f64);
            if let Some(limit) = table.limit {
                self.add("catbird_neighbour_limit", &[("family", table.family)], limit as f64);
            }
        }
        self.blocks(snapshot);
        self.stations(snapshot);
        self.caches(snapshot);
        self.fib(snapshot);
        self.histogram("catbird_bestpath_duration_seconds", &snapshot.counters.bestpath_seconds);
        self.histogram("catbird_convergence_seconds", &snapshot.counters.convergence_seconds);
        self.shell(counters, snapshot.counters.strangers);
    }

    /// Watches of one kind are one series: passwords are watched by name.
    fn sources(&mut self, rows: &[SourceRow]) {
        let mut kinds: BTreeMap<&str, Vec<&SourceRow>> = BTreeMap::new();
        for row in rows {
            kinds.entry(&row.kind).or_default().push(row);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64());
        for (kind, rows) in kinds {
            let sum = |of: fn(&SourceRow) -> u64| rows.iter().map(|row| of(row) as f64).sum::<f64>();
            let labels = &[("kind", kind)];
            self.add("catbird_source_up", labels, flag(rows.iter().all(|row| row.error.is_none() && row.listed_seconds_ago.is_some())));
            self.add("catbird_source_objects", labels, sum(|row| row.objects as u64));
            self.add("catbird_source_events_total", labels, sum(|row| row.events));
            self.add("catbird_source_received_bytes_total", labels, sum(|row| row.octets));
            if let Some(ago) = rows.iter().filter_map(|row| row.contact_seconds_ago).reduce(f64::max) {
                self.add("catbird_source_last_contact_timestamp_seconds", labels, (now - ago).round());
            }
            self.add("catbird_source_lists_total", labels, sum(|row| row.lists));
            self.add("catbird_source_errors_total", labels, sum(|row| row.errors));
            self.add("catbird_source_paged", labels, flag(rows.iter().any(|row| row.pages)));
        }
    }

    fn memory(&mut self, status: &Status) {
        let m = &status.memory;
        for (part, octets) in [("routes", m.routes_bytes), ("attributes", m.attributes_bytes), ("export", m.export_bytes)] {
            self.add("catbird_table_bytes", &[("part", part)], octets as f64);
        }
        if let Some(budget) = m.budget_bytes {
            self.add("catbird_table_budget_bytes", &[], budget as f64);
        }
    }

    fn caches(&mut self, snapshot: &Snapshot) {
        let Some(rpki) = &snapshot.rpki else { return };
        self.add("catbird_rpki_synchronised", &[], flag(rpki.source.is_some()));
        for (family, vrps) in [(Family::Ipv4Unicast, rpki.vrps_ipv4), (Family::Ipv6Unicast, rpki.vrps_ipv6)] {
            self.add("catbird_rpki_vrps", &[("family", &family.to_string())], vrps as f64);
        }
        self.add("catbird_rpki_expires_seconds", &[], rpki.expires_seconds.unwrap_or(0.0));
        self.add("catbird_rpki_updates_total", &[], rpki.updates as f64);
        for row in &rpki.caches {
            let label = [("cache", row.cache.as_str())];
            let up = matches!(row.state.as_str(), "synchronised" | "standing by");
            self.add("catbird_rpki_cache_up", &label, flag(up));
            self.add("catbird_rpki_cache_in_use", &label, flag(row.in_use));
            self.add("catbird_rpki_cache_connections_total", &label, row.connections as f64);
            self.add("catbird_rpki_cache_failures_total", &label, row.failures as f64);
        }
    }

    fn stations(&mut self, snapshot: &Snapshot) {
        for row in &snapshot.bmp {
            let label = [("station", row.station.as_str())];
            self.add("catbird_bmp_up", &label, flag(row.since_seconds.is_some()));
            self.add("catbird_bmp_connections_total", &label, row.connections as f64);
            self.add("catbird_bmp_messages_total", &label, row.messages as f64);
            self.add("catbird_bmp_bytes_total", &label, row.bytes as f64);
            self.add("catbird_bmp_waiting", &label, row.waiting as f64);
            self.add("catbird_bmp_overruns_total", &label, row.overruns as f64);
        }
    }

    fn blocks(&mut self, snapshot: &Snapshot) {
        let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
        for family in crate::num::Family::ALL {
            counts.insert(("config".to_owned(), family.to_string()), 0);
        }
        for block in &snapshot.blocks {
            *counts.entry((block.source.clone(), crate::num::Family::of(&block.net).to_string())).or_default() += 1;
        }
        for ((source, family), count) in &counts {
            self.add("catbird_local_blocks", &[("source", source), ("family", family)], *count as f64);
        }
    }

    fn fib(&mut self, snapshot: &Snapshot) {
        for row in &snapshot.status.fib_tables {
            let (table, family, c) = (row.table.to_string(), row.family.to_string(), &row.counts);
            for (state, count) in [("wanted", c.wanted), ("installed", c.installed), ("failed", c.failed), ("foreign", c.foreign)] {
                self.add("catbird_fib_routes", &[("table", &table), ("family", &family), ("state", state)], count as f64);
            }
        }
        for op in &snapshot.counters.fib_operations {
            self.add("catbird_fib_operations_total", &[("op", &op.op), ("result", &op.result)], op.count as f64);
        }
        self.add("catbird_fib_reconciles_total", &[], snapshot.counters.fib_reconciles as f64);
        self.add("catbird_fib_repaired_routes_total", &[], snapshot.counters.fib_repaired as f64);
    }

    fn shell(&mut self, counters: &DaemonMetrics, strangers: u64) {
        self.add("catbird_queue_depth", &[("queue", "core")], counters.queue.get() as f64);
        self.add("catbird_queue_depth", &[("queue", "requests")], counters.requests.get() as f64);
        self.add("catbird_backpressure_seconds_total", &[("queue", "core")], counters.queue_wait.get().as_secs_f64());
        self.add("catbird_unsent_bytes", &[], counters.unsent_octets.get() as f64);
        for (state, gauge) in [("open", &counters.connections), ("half_open", &counters.half_open), ("lingering", &counters.lingering)] {
            self.add("catbird_connections", &[("state", state)], gauge.get() as f64);
        }
        let strangers = strangers.saturating_add(counters.unknown_peers.get());
        self.add("catbird_connections_refused_total", &[("reason", "stranger")], strangers as f64);
        self.add("catbird_connections_refused_total", &[("reason", "crowded")], counters.half_open_limited.get() as f64);
        self.add("catbird_connections_refused_total", &[("reason", "too_far")], counters.ttl_rejected.get() as f64);
        self.add("catbird_connections_refused_total", &[("reason", "penalized")], counters.penalized.get() as f64);
        self.add("catbird_log_lines_dropped_total", &[("reason", "stalled")], counters.log.stalled() as f64);
        self.add("catbird_log_lines_dropped_total", &[("reason", "repeated")], counters.log.repeated() as f64);
        for (file, good) in counters.files() {
            self.add("catbird_file_read_successful", &[("file", file)], flag(good));
        }
        self.histogram("catbird_core_step_seconds", &counters.core_steps.snapshot());
        let md5 = super::tcp_md5_stats::md5_refused();
        for (reason, count) in [("missing", md5.missing), ("unexpected", md5.unexpected), ("wrong", md5.wrong)] {
            self.add("catbird_tcp_md5_refused_segments_total", &[("reason", reason)], count as f64);
        }
        self.add("catbird_accept_failures_total", &[], counters.accept_failures.get() as f64);
        if let Some(netlink) = counters.netlink.get() {
            self.add("catbird_netlink_overruns_total", &[], netlink.overruns.load(Relaxed) as f64);
            self.add("catbird_netlink_dumps_total", &[], netlink.dumps.load(Relaxed) as f64);
            self.add("catbird_tunnels", &[], netlink.tunnels.load(Relaxed) as f64);
            self.add("catbird_tunnel_repairs_total", &[], netlink.tunnel_repairs.load(Relaxed) as f64);
            self.add("catbird_tunnel_failures_total", &[], netlink.tunnel_failures.load(Relaxed) as f64);
        }
        self.bfd(&counters.bfd);
        let failed = counters.dial_failures.get();
        self.add("catbird_dials_total", &[("result", "failed")], failed as f64);
        self.add("catbird_dials_total", &[("result", "connected")], counters.dials.get().saturating_sub(failed) as f64);
    }

    fn bfd(&mut self, bfd: &BfdMetrics) {
        let (all, up) = (bfd.sessions.get(), bfd.up.get());
        self.add("catbird_bfd_sessions", &[("state", "up")], up as f64);
        self.add("catbird_bfd_sessions", &[("state", "down")], all.saturating_sub(up) as f64);
        self.add("catbird_bfd_packets_total", &[("direction", "received")], bfd.received.load(Relaxed) as f64);
        self.add("catbird_bfd_packets_total", &[("direction", "sent")], bfd.sent.get() as f64);
        self.add("catbird_bfd_packets_total", &[("direction", "failed")], bfd.send_failures.get() as f64);
        for why in crate::bfd::Drop::ALL {
            self.add("catbird_bfd_dropped_packets_total", &[("reason", why.name())], bfd.dropped(why) as f64);
        }
        self.add("catbird_bfd_realtime", &[], flag(bfd.realtime.load(Relaxed)));
        self.add("catbird_bfd_late_wakeups_total", &[], bfd.late.get() as f64);
    }

    /// Peers by kind and state, then each that has its own series, then the rest in sums.
    fn peers(&mut self, snapshot: &Snapshot, around: &Surroundings) {
        let mut states: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        let mut sums: BTreeMap<&str, Sums> = BTreeMap::new();
        for peer in &snapshot.peers {
            for state in STATES {
                states.entry((&peer.row.kind, state)).or_default();
            }
            *states.entry((&peer.row.kind, state_label(peer))).or_default() += 1;
            if own_series(peer, around.per_peer.unwrap_or(PerPeer::External)) {
                self.peer(peer, around);
            } else {
                sums.entry(&peer.row.kind).or_default().add(peer);
            }
        }
        for ((kind, state), count) in &states {
            self.add("catbird_peers", &[("kind", kind), ("state", state)], *count as f64);
        }
        for (kind, sum) in &sums {
            self.sums(kind, sum);
        }
    }

    /// The series of one peer; the seldom ones last, as far as there is room. Their order is that of the snapshot, so what had room keeps it.
    fn peer(&mut self, peer: &PeerMetrics, around: &Surroundings) {
        let row = &peer.row;
        let base = [("peer", row.address.as_str()), ("kind", row.kind.as_str())];
        let remote_as = row.remote_as.map_or_else(String::new, |asn| asn.to_string());
        let mut series: Vec<Series> = Vec::new();
        let mut add = |name, labels: &[(&'static str, &str)], value| {
            series.push((name, labels.iter().map(|(n, v)| (*n, (*v).to_owned())).collect(), value));
        };
        add("catbird_peer_up", &[("peer_as", &remote_as), ("name", &row.name)], flag(peer.established_at_seconds.is_some()));
        add("catbird_peer_state", &[], state_number(&row.state));
        add("catbird_peer_admin_up", &[], flag(row.admin_up));
        add("catbird_peer_flaps_total", &[], row.flaps as f64);
        add("catbird_peer_expects_routes", &[], flag(peer.expects_routes));
        if let Some(state) = row.bfd.as_deref().filter(|state| !state.contains("admin")) {
            add("catbird_bfd_up", &[], flag(state == "up"));
        }
        if row.bfd.is_some() {
            add("catbird_bfd_downs_total", &[], f64::from(peer.bfd_downs));
        }
        if let Some((found, lost)) = peer.neighbours {
            add("catbird_neighbours_found_total", &[], found as f64);
            add("catbird_neighbours_lost_total", &[], lost as f64);
        }
        if let Some(seconds) = peer.established_at_seconds {
            add("catbird_peer_established_timestamp_seconds", &[], around.started + seconds);
        }
        if let Some(down) = &peer.last_down {
            let number = |n: Option<u8>| n.map_or_else(String::new, |n| n.to_string());
            let (code, subcode) = (number(down.code), number(down.subcode));
            let why = [("reason", reason(down)), ("direction", &down.direction), ("code", &code), ("subcode", &subcode)];
            add("catbird_peer_last_down_info", &why, 1.0);
        }
        let counts = Counts::of(peer);
        for ((direction, kind), count) in &counts.messages {
            add("catbird_messages_total", &[("direction", direction), ("type", kind)], *count as f64);
        }
        for ((action, result), count) in &counts.changes {
            add("catbird_route_changes_total", &[("action", action), ("result", result)], *count as f64);
        }
        let (seldom, usual): (Vec<_>, Vec<_>) = counts.routes.iter().partition(|((_, view), _)| matches!(*view, "rejected" | "stale"));
        for ((family, view), count) in usual {
            add("catbird_routes", &[("family", family), ("view", view)], *count as f64);
        }
        for family in row.families.iter().filter(|f| f.negotiated) {
            if let Some(ratio) = ratio(family) {
                add("catbird_max_prefix_ratio", &[("family", &family.family.to_string())], ratio);
            }
        }
        for n in &peer.notifications {
            let labels = [("direction", n.direction.as_str()), ("code", &n.code.to_string()), ("subcode", &n.subcode.to_string())];
            add("catbird_notifications_total", &labels, n.count as f64);
        }
        for m in &peer.malformed {
            add("catbird_malformed_attributes_total", &[("attribute", &m.attribute), ("action", &m.action)], m.count as f64);
        }
        for ((family, view), count) in seldom {
            add("catbird_routes", &[("family", family), ("view", view)], *count as f64);
        }
        for (name, labels, value) in series.into_iter().take(PEER_SERIES) {
            let own = labels.iter().map(|(n, v)| (*n, v.as_str()));
            self.add(name, &base.into_iter().chain(own).collect::<Vec<_>>(), value);
        }
    }

    /// All peers of a kind that have no series of their own.
    fn sums(&mut self, kind: &str, sums: &Sums) {
        let kind = ("kind", kind);
        self.add("catbird_peer_flaps_total", &[kind], sums.flaps as f64);
        for ((direction, of), count) in &sums.counts.messages {
            self.add("catbird_messages_total", &[kind, ("direction", direction), ("type", of)], *count as f64);
        }
        for ((action, result), count) in &sums.counts.changes {
            self.add("catbird_route_changes_total", &[kind, ("action", action), ("result", result)], *count as f64);
        }
        for ((family, view), count) in &sums.counts.routes {
            self.add("catbird_routes", &[kind, ("family", family), ("view", view)], *count as f64);
        }
        for ((direction, code), count) in &sums.notifications {
            self.add("catbird_notifications_total", &[kind, ("direction", direction), ("code", &code.to_string())], *count as f64);
        }
        for (action, count) in &sums.malformed {
            self.add("catbird_malformed_attributes_total", &[kind, ("action", action)], *count as f64);
        }
    }
}

const STATES: [&str; 7] = ["idle", "connect", "active", "open_sent", "open_confirm", "established", "down"];

/// In the labels' spelling.
fn state_label(peer: &PeerMetrics) -> &'static str {
    if !peer.row.admin_up {
        return "down";
    }
    let plain = |state: &str| state.replace('_', "").to_ascii_lowercase();
    let state = plain(&peer.row.state);
    STATES.into_iter().find(|known| plain(known) == state).unwrap_or("idle")
}

fn state_number(state: &str) -> f64 {
    let plain = state.replace('_', "").to_ascii_lowercase();
    let at = STATES.iter().position(|known| known.replace('_', "") == plain);
    at.map_or(0.0, |index| (index + 1) as f64)
}

fn own_series(peer: &PeerMetrics, per_peer: PerPeer) -> bool {
    match per_peer {
        PerPeer::All => true,
        PerPeer::External => matches!(peer.row.kind.as_str(), "external" | "internal"),
        PerPeer::None => false,
    }
}

fn flag(on: bool) -> f64 {
    if on { 1.0 } else { 0.0 }
}

fn ratio(family: &FamilyRow) -> Option<f64> {
    family.max_prefix.filter(|max| *max > 0).map(|max| family.prefixes as f64 / f64::from(max))
}

/// The NOTIFICATION's code as a word (RFC 4271 §4.5, RFC 7313, RFC 9687); its text would make a series of each.
fn reason(down: &LastDown) -> &'static str {
    match down.code {
        None => "connection_lost",
        Some(1) => "message_header_error",
        Some(2) => "open_error",
        Some(3) => "update_error",
        Some(4) => "hold_timer_expired",
        Some(5) => "fsm_error",
        Some(6) => "cease",
        Some(7) => "route_refresh_error",
        Some(8) => "send_hold_timer_expired",
        Some(_) => "other",
    }
}

/// Counters that single peers and sums have alike.
#[derive(Default)]
struct Counts {
    messages: BTreeMap<(&'static str, &'static str), u64>,
    changes: BTreeMap<(&'static str, &'static str), u64>,
    routes: BTreeMap<(String, &'static str), u64>,
}

impl Counts {
    fn of(peer: &PeerMetrics) -> Counts {
        let mut counts = Counts::default();
        counts.add(peer);
        counts
    }

    fn add(&mut self, peer: &PeerMetrics) {
        for message in &peer.messages {
            let kind = match message.kind.to_ascii_lowercase().as_str() {
                "update" => "update",
                "keepalive" | "keep_alive" => "keepalive",
                // a session has one OPEN, and what is worth knowing of a NOTIFICATION is counted by code
                _ => continue,
            };
            *self.messages.entry(("received", kind)).or_default() += message.received;
            *self.messages.entry(("sent", kind)).or_default() += message.sent;
        }
        let u = &peer.updates;
        *self.changes.entry(("announce", "received")).or_default() += u.announced_received;
        *self.changes.entry(("announce", "sent")).or_default() += u.announced_sent;
        *self.changes.entry(("withdraw", "received")).or_default() += u.withdrawn_received;
        *self.changes.entry(("withdraw", "sent")).or_default() += u.withdrawn_sent;
        for family in peer.row.families.iter().filter(|f| f.negotiated || f.received > 0) {
            let views = [
                ("received", family.received, true),
                ("accepted", family.accepted, true),
                ("advertised", family.advertised, true),
                ("rejected", family.rejected, false),
                ("stale", family.stale, false),
            ];
            for (view, count, always) in views {
                if always || count > 0 {
                    *self.routes.entry((family.family.to_string(), view)).or_default() += count;
                }
            }
        }
    }
}

/// Peers of one kind together.
#[derive(Default)]
struct Sums {
    counts: Counts,
    flaps: u64,
    notifications: BTreeMap<(String, u8), u64>,
    malformed: BTreeMap<String, u64>,
}

impl Sums {
    fn add(&mut self, peer: &PeerMetrics) {
        self.counts.add(peer);
        self.flaps = self.flaps.saturating_add(peer.row.flaps);
        for n in &peer.notifications {
            *self.notifications.entry((n.direction.clone(), n.code)).or_default() += n.count;
        }
        for m in &peer.malformed {
            *self.malformed.entry(m.action.clone()).or_default() += m.count;
        }
    }
}

#[cfg(test)]
mod tests;
