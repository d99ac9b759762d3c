//! A chain of policies, and the verdict that it comes to.
//!
//! In: policies in order. Out: accepted, with new attributes if a rule changed any, or refused, by a rule with a name.
//! What the conditions and edits of a rule mean is `rule`'s affair.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::rule::{Condition, Edit, NextHopEdit, Rule, Step};
use super::{LocalKind, PeerFacts};
use crate::num::Family;
use crate::wire::PathAttributes;

/// A named list of rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Of `[policy.NAME]`.
    pub name: Arc<str>,
    /// Tried in this order.
    pub rules: Vec<Rule>,
    /// For a route that passed the last rule.
    pub otherwise: Step,
}

impl Policy {
    /// Everything, unchanged.
    pub fn all() -> Policy {
        Policy { name: "all".into(), rules: Vec::new(), otherwise: Step::Accept }
    }

    /// Nothing.
    pub fn none() -> Policy {
        Policy { name: "none".into(), rules: Vec::new(), otherwise: Step::Reject }
    }

    /// The blocks that this node originates; in a longer chain the policies after it see the rest.
    pub fn own_blocks() -> Policy {
        let rule = Rule { when: vec![Condition::RouteType(vec![LocalKind::Block])], then: Step::Accept, ..Rule::default() };
        Policy { name: "own-blocks".into(), rules: vec![rule], otherwise: Step::Next }
    }
}

/// What decided: a policy, and one of its rules unless it was the policy's end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RuleRef {
    /// Its name.
    pub policy: Arc<str>,
    /// From 1, as people count; `None` where no rule matched.
    pub rule: Option<u32>,
    /// Of the rule, if it has one.
    pub name: Option<Arc<str>>,
}

impl RuleRef {
    /// What stands for the policy where an external session has none (RFC 8212).
    pub const NO_POLICY: &str = "no-policy";

    /// What stands for the policy when a route passed all policies of a chain and none accepted it.
    pub const END_OF_CHAIN: &str = "end-of-chain";

    fn of(policy: &Arc<str>, rule: Option<(usize, &Rule)>) -> RuleRef {
        let number = rule.map(|(index, _)| u32::try_from(index).map_or(u32::MAX, |i| i.saturating_add(1)));
        RuleRef { policy: policy.clone(), rule: number, name: rule.and_then(|(_, r)| r.name.clone()) }
    }

    /// RFC 8212 spoke, not an operator.
    pub fn is_no_policy(&self) -> bool {
        &*self.policy == RuleRef::NO_POLICY
    }
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.rule, &self.name) {
            _ if self.is_no_policy() => f.write_str("RFC 8212: an external session needs a policy and has none"),
            _ if &*self.policy == RuleRef::END_OF_CHAIN => f.write_str("the end of the chain: no policy accepted it"),
            (_, Some(name)) => write!(f, "policy {}, rule {name}", self.policy),
            (Some(rule), None) => write!(f, "policy {}, rule {rule}", self.policy),
            (None, None) => write!(f, "policy {}", self.policy),
        }
    }
}

/// What a chain says of a route.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// `Some` if the attributes changed.
    Accept(Option<PathAttributes>),
    Reject(RuleRef),
}

/// A route that passed, with what the export must know besides its attributes.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// `None`: as they were.
    pub attrs: Option<PathAttributes>,
    /// A rule spoke about MED, so the session's own rule for MED does not apply.
    pub med_decided: bool,
    /// What the rules say of NEXT_HOP; the export fills it in.
    pub next_hop: Option<NextHopEdit>,
}

/// Policies in order; the first that accepts or rejects decides, and what none accepts is refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Inner")]
pub struct Chain(Arc<Inner>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Inner {
    policies: Vec<Arc<Policy>>,
    /// What refuses a route that came through.
    end: Arc<str>,
    #[serde(skip)]
    depends_on_prefix: bool,
    #[serde(skip)]
    depends_on_validity: bool,
    #[serde(skip)]
    depends_on_peer: bool,
}

impl From<Inner> for Chain {
    fn from(inner: Inner) -> Chain {
        Chain::new(inner.policies, &inner.end)
    }
}

impl Chain {
    /// Accepts everything.
    pub fn all() -> Chain {
        Chain::from_policies(vec![Arc::new(Policy::all())])
    }

    /// Accepts nothing, by configuration.
    pub fn none() -> Chain {
        Chain::from_policies(vec![Arc::new(Policy::none())])
    }

    /// Accepts the blocks that this node originates.
    pub fn own_blocks() -> Chain {
        Chain::from_policies(vec![Arc::new(Policy::own_blocks())])
    }

    /// What holds where the operator named no policy: everything inside the AS, nothing outside (RFC 8212 §2).
    pub fn unconfigured(external: bool) -> Chain {
        if external { Chain::new(Vec::new(), RuleRef::NO_POLICY) } else { Chain::all() }
    }

    /// Tried in this order; the first that decides does.
    pub fn from_policies(policies: Vec<Arc<Policy>>) -> Chain {
        Chain::new(policies, RuleRef::END_OF_CHAIN)
    }

    fn new(policies: Vec<Arc<Policy>>, end: &str) -> Chain {
        let asks = |test: fn(&Condition) -> bool| policies.iter().flat_map(|p| &p.rules).flat_map(|r| &r.when).any(|c| c.some(&test));
        let depends_on_prefix = asks(|c| matches!(c, Condition::Prefix(_) | Condition::Rpki(_)));
        let depends_on_validity = asks(|c| matches!(c, Condition::Rpki(_)));
        let depends_on_peer = asks(|c| matches!(c, Condition::Peer(_)));
        Chain(Arc::new(Inner { policies, end: end.into(), depends_on_prefix, depends_on_validity, depends_on_peer }))
    }

    /// What stands for the chain as long as it lives.
    pub fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// The same chain, not just an equal one.
    pub fn ptr_eq(&self, other: &Chain) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Must it be asked for each prefix? If not, one verdict holds for all prefixes of one family, and of that alone, that share
    /// attributes and source.
    pub fn depends_on_prefix(&self) -> bool {
        self.0.depends_on_prefix
    }

    /// Does it ask what VRPs say?
    pub fn depends_on_validity(&self) -> bool {
        self.0.depends_on_validity
    }

    /// Can two peers of one kind get different verdicts for the same route?
    pub fn depends_on_peer(&self) -> bool {
        self.0.depends_on_peer
    }

    /// The policies, by name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.policies.iter().map(|p| &*p.name)
    }

    /// The policies, in order.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.0.policies.iter()
    }

    /// Is the route taken, and with which attributes?
    pub fn judge(&self, net: &IpNet, attrs: &PathAttributes, facts: &PeerFacts) -> Verdict {
        match self.run(net, attrs, facts) {
            Ok(accepted) => Verdict::Accept(accepted.attrs),
            Err(rule) => Verdict::Reject(rule),
        }
    }

    /// As [`Chain::judge`], with what only the export asks.
    ///
    /// # Errors
    /// The rule that refused the route.
    pub fn run(&self, net: &IpNet, attrs: &PathAttributes, facts: &PeerFacts) -> Result<Accepted, RuleRef> {
        let mut so_far = Accepted { attrs: None, med_decided: false, next_hop: None };
        for policy in &self.0.policies {
            for (index, rule) in policy.rules.iter().enumerate() {
                if !rule.matches(net, so_far.attrs.as_ref().unwrap_or(attrs), facts) {
                    continue;
                }
                so_far.edit(rule, Family::of(net), attrs, facts);
                match rule.then {
                    Step::Accept => return Ok(so_far),
                    Step::Reject => return Err(RuleRef::of(&policy.name, Some((index, rule)))),
                    Step::Next => {}
                }
            }
            match policy.otherwise {
                Step::Accept => return Ok(so_far),
                Step::Reject => return Err(RuleRef::of(&policy.name, None)),
                Step::Next => {}
            }
        }
        Err(RuleRef::of(self.0.policies.first().filter(|_| self.0.policies.len() == 1).map_or(&self.0.end, |only| &only.name), None))
    }
}

impl Accepted {
    fn edit(&mut self, rule: &Rule, family: Family, original: &PathAttributes, facts: &PeerFacts) {
        if rule.set.is_empty() || rule.then == Step::Reject {
            return;
        }
        let base = self.attrs.as_ref().unwrap_or(original);
        let (mut editor, mut med) = (base.edit(), base.med());
        for edit in &rule.set {
            match edit {
                Edit::Med(change) => {
                    med = change.of(med);
                    self.med_decided = true;
                }
                Edit::NextHop(next_hop) if !rule.can_lead(*next_hop, family) => continue,
                Edit::NextHop(next_hop) => self.next_hop = Some(*next_hop),
                _ => {}
            }
            edit.apply(facts, &mut editor);
        }
        if self.med_decided {
            editor.set_med(med);
        }
        self.attrs = Some(editor.finish());
    }
}

/// Equal pointers, or equal content: a reload that changed nothing changes no group.
impl PartialEq for Chain {
    fn eq(&self, other: &Chain) -> bool {
        self.ptr_eq(other) || self.0 == other.0
    }
}

impl Eq for Chain {}

impl std::hash::Hash for Chain {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.policies.len().hash(state);
        self.names().for_each(|n| n.hash(state));
        self.0.end.hash(state);
    }
}
