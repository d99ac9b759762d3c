//! The objects that we know of, each under its key.
//!
//! In: objects as JSON, alone or in lists, and keys of those that are gone. Out: the objects, thin, by kind; and by name those that cannot be
//! read. An object that cannot be read does not stop the others, and the last good version of it stays.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::object::{
    BgpConfiguration, BgpFilter, BgpPeer, BlockAffinity, CalicoNode, CiliumNode, EndpointSlice, EndpointStatus, IpPool, Key, Kind, Node,
    Object, Pod, Secret, Service,
};

/// What became of an object that was handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It says something else than before.
    Changed(Key),
    /// As before, as far as we read it.
    Same(Key),
    /// It cannot be read.
    Unreadable(Key, String),
    /// Of a kind that says nothing to us: `kind name`.
    Foreign(String),
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Store {
    objects: BTreeMap<Key, Object>,
    /// The pods of this node are all here: one that is missing is gone.
    pods_known: bool,
    unreadable: BTreeMap<Key, String>,
}

/// The typed objects of one kind.
macro_rules! by_kind {
    ($($name:ident: $kind:ident => $ty:ty, |$object:ident| $inner:expr;)*) => {$(
        pub fn $name(&self) -> impl Iterator<Item = (&Key, &$ty)> {
            self.of(Kind::$kind).filter_map(|(key, object)| match object {
                Object::$kind($object) => Some((key, $inner)),
                _ => None,
            })
        }
    )*};
}

impl Store {
    by_kind! {
        nodes: Node => Node, |o| o;
        calico_nodes: CalicoNode => CalicoNode, |o| o;
        cilium_nodes: CiliumNode => CiliumNode, |o| o;
        bgp_configurations: BgpConfiguration => BgpConfiguration, |o| &o.spec;
        bgp_peers: BgpPeer => BgpPeer, |o| &o.spec;
        bgp_filters: BgpFilter => BgpFilter, |o| &o.spec;
        ip_pools: IpPool => IpPool, |o| &o.spec;
        block_affinities: BlockAffinity => BlockAffinity, |o| &o.spec;
        secrets: Secret => Secret, |o| o;
        services: Service => Service, |o| o;
        pods: Pod => Pod, |o| o;
        endpoint_slices: EndpointSlice => EndpointSlice, |o| o;
        endpoint_statuses: EndpointStatus => EndpointStatus, |o| o;
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = (&Key, &Object)> {
        let first = Key { kind, namespace: String::new(), name: String::new() };
        self.objects.range(first..).take_while(move |(key, _)| key.kind == kind)
    }

    /// The names of all nodes, whichever kind of object knows them.
    pub fn node_names(&self) -> impl Iterator<Item = &str> {
        let names = self.nodes().map(|(key, _)| key.name.as_str()).chain(self.calico_nodes().map(|(key, _)| key.name.as_str()));
        names.collect::<BTreeSet<&str>>().into_iter()
    }

    /// Cilium's view of a node.
    pub fn cilium_node(&self, name: &str) -> Option<(&Key, &CiliumNode)> {
        match self.objects.get_key_value(&Key::new(Kind::CiliumNode, "", name)) {
            Some((key, Object::CiliumNode(node))) => Some((key, node)),
            _ => None,
        }
    }

    /// The keys of one kind.
    pub fn keys(&self, kind: Kind) -> impl Iterator<Item = &Key> {
        self.of(kind).map(|(key, _)| key)
    }

    /// All objects but secrets, one by one, so that [`Store::insert`] reads them again.
    pub fn without_secrets(&self) -> impl Iterator<Item = Value> {
        self.objects.iter().filter_map(|(key, object)| object.to_value(key))
    }

    /// Has it a good version of this object?
    pub fn contains(&self, key: &Key) -> bool {
        self.objects.contains_key(key)
    }

    /// Has it any object of this kind?
    pub fn has(&self, kind: Kind) -> bool {
        self.of(kind).next().is_some()
    }

    /// Whether the pods are all here.
    pub fn knows_pods(&self) -> bool {
        self.pods_known
    }

    /// All pods of the node were listed, or nobody lists them any more: then there are none here. True if that is news.
    pub fn know_pods(&mut self, known: bool) -> bool {
        if !known {
            self.objects.retain(|key, _| key.kind != Kind::Pod);
        }
        std::mem::replace(&mut self.pods_known, known) != known
    }

    /// Objects.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Objects that could not be read, and why. Where there was a good version before, it counts.
    pub fn unreadable(&self) -> impl Iterator<Item = (&Key, &str)> {
        self.unreadable.iter().map(|(key, why)| (key, why.as_str()))
    }

    /// Takes in an object, or all objects of a list.
    pub fn insert(&mut self, value: Value) -> Vec<Inserted> {
        let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (version, kind) = (text("apiVersion"), text("kind"));
        match value {
            Value::Object(mut list) if kind.ends_with("List") && list.get("items").is_some_and(Value::is_array) => {
                let items = list.remove("items").and_then(|items| if let Value::Array(items) = items { Some(items) } else { None });
                // Items of a typed list carry no kind of their own.
                let item_kind = kind.strip_suffix("List").unwrap_or_default().to_owned();
                let whole = |item| with_kind(item, &version, &item_kind);
                items.into_iter().flatten().flat_map(|item| self.insert(whole(item))).collect()
            }
            Value::Null => Vec::new(),
            value => vec![self.insert_one(&version, &kind, value)],
        }
    }

    fn insert_one(&mut self, version: &str, kind: &str, value: Value) -> Inserted {
        let of_metadata = |field: &str| value.pointer(&format!("/metadata/{field}")).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (name, namespace) = (of_metadata("name"), of_metadata("namespace"));
        let key = match Kind::of(version, kind) {
            Some(kind) => Key { kind, namespace, name },
            None if kind.is_empty() && value.get("bgpPeerName").is_some() => {
                let interface = value.get("ifaceName").and_then(Value::as_str).unwrap_or_default();
                Key::new(Kind::EndpointStatus, "", interface)
            }
            None => return Inserted::Foreign(format!("{kind} {name}")),
        };
        match Object::read(key.kind, value) {
            _ if key.name.is_empty() => Inserted::Foreign(format!("{kind} without a name")),
            Ok(object) => {
                self.unreadable.remove(&key);
                if self.objects.get(&key) == Some(&object) {
                    return Inserted::Same(key);
                }
                self.objects.insert(key.clone(), object);
                Inserted::Changed(key)
            }
            Err(why) => {
                self.unreadable.insert(key.clone(), why.clone());
                Inserted::Unreadable(key, why)
            }
        }
    }

    /// The object is gone; true if it was there.
    pub fn remove(&mut self, key: &Key) -> bool {
        self.unreadable.remove(key);
        self.objects.remove(key).is_some()
    }
}

fn with_kind(mut item: Value, version: &str, kind: &str) -> Value {
    if let Value::Object(map) = &mut item
        && !kind.is_empty()
    {
        map.entry("kind").or_insert_with(|| kind.into());
        map.entry("apiVersion").or_insert_with(|| version.into());
    }
    item
}
