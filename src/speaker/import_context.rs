//! What a route from a peer is judged by, besides the route: whoever changes a part of it judges again what depends on it.
//!
//! In: the peer's configuration, its session, the node's own numbers. Out: [`ImportContext`], which tells what keeps a route out and what
//! policy makes of it, and [`ImportCache`], the verdict on the attribute set that came last.
//!
//! RFC 4271 §9.1.2 (loops), §6.3 (first AS), RFC 4456 §8 (reflection loops), RFC 8326 §4.2 (graceful shutdown), RFC 9234 §5 (route leaks), RFC 6811 §2
//! (origins).

use super::params::{Params, PeerConfig};
use crate::num::{Asn, Family, Nlri, Role};
use crate::peer::Session;
use crate::policy::{Chain, PeerFacts, PeerName, Source, Verdict};
use crate::rib::{Cause, Route};
use crate::rpki::{Table, Validity};
use crate::wire::{Community, PathAttributes};

/// The verdict on the attribute set that came last, for the next UPDATE or prefix of its family with the same.
#[derive(Default)]
pub(super) struct ImportCache {
    last: Option<(Family, CachedVerdict)>,
}

/// The attributes as received, and what import made of them.
pub(super) type CachedVerdict = (PathAttributes, Route, Cause);

impl ImportCache {
    /// The verdict, if it was of this family and these attributes.
    pub fn take(&mut self, family: Family, attrs: &PathAttributes) -> Option<CachedVerdict> {
        self.last.take().filter(|(of, (set, ..))| *of == family && set.is_same(attrs)).map(|(_, verdict)| verdict)
    }

    /// Keeps a verdict for the next prefix; `None` where the next one could get another.
    pub fn put(&mut self, family: Family, verdict: Option<CachedVerdict>) {
        self.last = verdict.map(|verdict| (family, verdict));
    }
}

/// Made once for a session, and again when a part of it changes.
pub(super) struct ImportContext {
    chain: Chain,
    facts: PeerFacts,
    /// Ours towards the peer, and the peer's AS (RFC 9234).
    role: Option<(Role, Asn)>,
}

impl ImportContext {
    /// For a session that has just been negotiated, or a configuration that has changed.
    pub fn new(config: &PeerConfig, session: &Session) -> ImportContext {
        let external = !session.is_internal();
        let chain = config.import.clone().unwrap_or_else(|| Chain::unconfigured(external));
        let name = PeerName { name: config.session.name.as_str().into(), addr: session.remote.ip(), asn: session.remote_as };
        let source = if external { Source::External } else { Source::Internal };
        let role = session.role.map(|role| (role, session.remote_as));
        ImportContext {
            chain,
            role,
            facts: PeerFacts { peer: Some(name), external, local_as: session.local_as, source, validity: Validity::NotFound },
        }
    }

    /// Can two prefixes with the same attributes get different verdicts?
    pub fn depends_on_prefix(&self) -> bool {
        self.chain.depends_on_prefix()
    }

    /// Does policy ask what VRPs say?
    pub fn depends_on_validity(&self) -> bool {
        self.chain.depends_on_validity()
    }

    /// What keeps a route out whatever policy says.
    pub fn obstacle(&self, attrs: &PathAttributes, config: &PeerConfig, session: &Session, params: &Params) -> Option<Cause> {
        let path = attrs.as_path();
        // With `local_asn` both numbers are ours: this peer knows one, the others put the other into their paths.
        let looped = |asn| path.count(asn) > usize::from(config.allow_own_as);
        if looped(session.local_as) || (params.asn != session.local_as && looped(params.asn)) {
            return Some(Cause::AsLoop);
        }
        if self.facts.external && config.enforce_first_as && path.first_as() != Some(session.remote_as) {
            return Some(Cause::FirstAsDiffers);
        }
        if self.leaked(attrs) {
            return Some(Cause::RouteLeak);
        }
        if !self.facts.external {
            if attrs.originator_id() == Some(session.local_id) {
                return Some(Cause::OriginatorLoop);
            }
            if params.cluster_id.is_some_and(|own| attrs.cluster_list().any(|c| c == own)) {
                return Some(Cause::ClusterLoop);
            }
        }
        (attrs.next_hop().addr() == session.local.ip()).then_some(Cause::NextHopRefused)
    }

    /// RFC 9234 §5, ingress 1 and 2: what is for customers alone comes down from a provider, or from the peer that said so.
    fn leaked(&self, attrs: &PathAttributes) -> bool {
        match (self.role, attrs.only_to_customer()) {
            (Some((Role::Provider | Role::Rs, _)), Some(_)) => true,
            (Some((Role::Peer, theirs)), Some(said)) => said != theirs,
            _ => false,
        }
    }

    /// RFC 9234 §5, ingress 3: the mark that the neighbour would have made, had it known how.
    fn mark(&self, attrs: &PathAttributes) -> Option<Asn> {
        let (role, theirs) = self.role?;
        (role.learns_downwards() && attrs.only_to_customer().is_none()).then_some(theirs)
    }

    /// Policy's verdict, GRACEFUL_SHUTDOWN where it counts, and the mark of what goes to customers alone.
    pub fn judge(&self, nlri: &Nlri, attrs: &PathAttributes, config: &PeerConfig, vrps: &Table) -> Verdict {
        let verdict = if self.depends_on_validity() {
            // As it was received, whatever rules make of its path (RFC 6811 §2).
            let validity = vrps.validate(&nlri.net, attrs.as_path().route_origin(self.facts.local_as));
            self.chain.judge(&nlri.net, attrs, &PeerFacts { validity, ..self.facts.clone() })
        } else {
            self.chain.judge(&nlri.net, attrs, &self.facts)
        };
        let last = self.facts.external && config.graceful_shutdown && attrs.has_community(Community::GRACEFUL_SHUTDOWN);
        let mark = self.mark(attrs);
        match verdict {
            Verdict::Accept(changed) if last || mark.is_some() => {
                let mut edit = changed.as_ref().unwrap_or(attrs).edit();
                if last {
                    edit.set_local_pref(Some(0));
                }
                if let Some(asn) = mark {
                    edit.mark_only_to_customer(asn);
                }
                Verdict::Accept(Some(edit.finish()))
            }
            other => other,
        }
    }
}
