//! `[[redistribute]]`, and the interfaces that are none of our business.
//!
//! In: the sections as typed. Out: [`RedistributeParams`]. What becomes of it is `speaker`'s.

use super::policy::Prefixes;
use super::raw::{List, Opt, Protocol, Raw};
use super::reader::Section;
use super::report::Problem;
use super::validate::{Validator, or};
use crate::kernel::NamePattern;
use crate::policy::{LocalKind, PrefixRange, PrefixSet};
use crate::speaker::{RedistributeParams, RedistributeRule, Shape};

/// One rule as typed.
#[derive(Clone, Debug)]
pub struct RawRedistribute {
    pub prefixes: List<Prefixes>,
    pub protocols: List<Protocol>,
    pub interfaces: List<String>,
    pub shape: Opt<Shape>,
    pub kind: Opt<LocalKind>,
}

pub(super) fn read(mut section: Section<'_>) -> RawRedistribute {
    let raw = RawRedistribute {
        prefixes: section.need_some("prefixes", "which routes may be learned, such as [\"10.244.0.0/16 ge 32\"]"),
        protocols: section.some("protocols"),
        interfaces: section.some("interfaces"),
        shape: section.take("shape"),
        kind: section.take("kind"),
    };
    section.finish();
    raw
}

impl Validator<'_> {
    pub(super) fn redistribution(&self, whole: &Raw) -> RedistributeParams {
        let raw = &whole.fib;
        if let Some(at) = raw.protocol.as_ref().filter(|at| at.value.0 < 5) {
            let expected =
                "a protocol from 5 to 255: the first are the kernel's and the administrator's, whose routes would be taken for ours";
            self.diagnostics.report(at.span.clone(), Problem::BadValue { found: at.value.0.to_string(), expected: expected.to_owned() });
        }
        let own = raw.protocol.as_ref().map_or(186, |at| at.value.0);
        let rules = whole.redistribute.iter().chain(&raw.redistribute).map(|rule| self.redistribute_rule(rule, own)).collect();
        RedistributeParams { rules, ignore: patterns(&raw.ignore_interfaces) }
    }

    fn redistribute_rule(&self, raw: &RawRedistribute, own: u8) -> RedistributeRule {
        for at in raw.protocols.iter().flat_map(|list| &list.value).filter(|at| at.value.0 == own) {
            let what = format!("protocol {own} is that of the routes that catbird writes");
            self.diagnostics
                .report(at.span.clone(), Problem::Conflict { what, help: "they are never learned; name those of others".to_owned() });
        }
        let kind = or(&raw.kind, LocalKind::Network);
        if let (LocalKind::Pod, Some(Shape::Blackhole), Some(at)) = (kind, raw.shape.as_ref().map(|at| at.value), &raw.shape) {
            let what = "a pod's address has the pod behind it, and a blackhole has none".to_owned();
            self.diagnostics.report(at.span.clone(), Problem::Odd { what, help: "perhaps kind \"block\" is meant".to_owned() });
        }
        let ranges = raw.prefixes.iter().flat_map(|list| &list.value).map(|at| at.value);
        RedistributeRule {
            prefixes: PrefixSet::new(ranges.filter_map(|p| PrefixRange::range(p.net, Some(p.min), Some(p.max)))),
            protocols: raw.protocols.iter().flat_map(|list| &list.value).map(|at| at.value.0).collect(),
            interfaces: patterns(&raw.interfaces),
            shape: raw.shape.as_ref().map(|at| at.value),
            kind,
            by_metric: false,
        }
    }
}

fn patterns(list: &List<String>) -> Vec<NamePattern> {
    list.iter().flat_map(|list| &list.value).map(|at| NamePattern::new(&at.value)).collect()
}
