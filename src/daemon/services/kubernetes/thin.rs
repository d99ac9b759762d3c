//! An object of the API as it is read from the wire: without what nobody here asks for.
//!
//! In: JSON of any kind of object. Out: its metadata without the managed fields, of its status the addresses, the load balancer, a pod's phase and
//! whether a node ends, and the rest as it is.
//! A kubelet's Node is 15 kB, nearly all of it images and conditions, and comes again with each sign of life: what is not kept is not built at all.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use kube::Resource;
use kube::api::{ApiResource, ObjectMeta};
use kube::core::DynamicResourceScope;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use crate::source::NodeCondition;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Thin {
    pub metadata: ObjectMeta,
    /// All but metadata, `apiVersion` and `kind`.
    pub rest: Map<String, Value>,
}

/// Of the metadata.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    name: Option<String>,
    namespace: Option<String>,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

/// Of the status.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    addresses: Option<Value>,
    load_balancer: Option<Value>,
    phase: Option<Value>,
    #[serde(borrow)]
    conditions: Option<Vec<Condition<'a>>>,
}

/// Of a condition. Times are in it, too, and each sign of life writes new ones.
#[derive(Deserialize)]
struct Condition<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
}

impl Status<'_> {
    fn kept(self) -> impl Iterator<Item = (&'static str, Value)> {
        let that_counts = |c: Condition<'_>| {
            let (kind, status) = (c.kind.into_owned(), c.status.into_owned());
            let condition = NodeCondition { kind, status, message: c.message.unwrap_or_default().into_owned() };
            condition.counts().then(|| json!({"type": condition.kind, "status": condition.status, "message": condition.message}))
        };
        let conditions: Vec<Value> = self.conditions.into_iter().flatten().filter_map(that_counts).collect();
        let conditions = (!conditions.is_empty()).then_some(Value::Array(conditions));
        let all = [("addresses", self.addresses), ("loadBalancer", self.load_balancer), ("phase", self.phase), ("conditions", conditions)];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Thin;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of the API")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Thin, A::Error> {
        let mut thin = Thin { metadata: ObjectMeta::default(), rest: Map::new() };
        while let Some(field) = map.next_key::<Cow<'de, str>>()? {
            match &*field {
                "apiVersion" | "kind" => drop(map.next_value::<IgnoredAny>()?),
                "metadata" => {
                    let Kept { name, namespace, resource_version, labels, annotations } = map.next_value()?;
                    thin.metadata = ObjectMeta { name, namespace, resource_version, labels, annotations, ..ObjectMeta::default() };
                }
                "status" => {
                    let status: Option<Status<'de>> = map.next_value()?;
                    let kept: Map<String, Value> =
                        status.into_iter().flat_map(Status::kept).map(|(name, value)| (name.to_owned(), value)).collect();
                    thin.rest.insert(field.into_owned(), Value::Object(kept));
                }
                _ => drop(thin.rest.insert(field.into_owned(), map.next_value()?)),
            }
        }
        Ok(thin)
    }
}

impl<'de> Deserialize<'de> for Thin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Thin, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

impl Resource for Thin {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(of: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&of.kind)
    }

    fn group(of: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&of.group)
    }

    fn version(of: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&of.version)
    }

    fn api_version(of: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&of.api_version)
    }

    fn plural(of: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&of.plural)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_nobody_asks_for_is_not_kept() {
        let node = json!({"apiVersion": "v1", "kind": "Node", "spec": {"podCIDRs": ["10.244.1.0/24"]},
            "metadata": {"name": "a", "resourceVersion": "7", "labels": {"rack": "1"}, "managedFields": [{"manager": "kubelet"}], "uid": "x"},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}], "images": [{"names": ["x"]}], "conditions": []}});
        let thin: Thin = serde_json::from_str(&node.to_string()).expect("an object");
        assert_eq!((thin.metadata.name.as_deref(), thin.metadata.resource_version.as_deref()), (Some("a"), Some("7")));
        assert!(thin.metadata.managed_fields.is_none() && thin.metadata.uid.is_none());
        let rest =
            json!({"spec": {"podCIDRs": ["10.244.1.0/24"]}, "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}});
        assert_eq!(Value::Object(thin.rest), rest);
        let ready = |message: Value| {
            let conditions =
                json!([{"type": "MemoryPressure"}, {"type": "Ready", "lastHeartbeatTime": "2026-11-01T00:00:00Z", "message": message}]);
            let text = json!({"kind": "Node", "metadata": {}, "status": {"conditions": conditions, "phase": "Running"}}).to_string();
            serde_json::from_str::<Thin>(&text).expect("an object").rest["status"].clone()
        };
        assert_eq!(ready(Value::Null), json!({"phase": "Running"}), "a time is no news");
        assert_eq!(
            ready("node is shutting down".into())["conditions"],
            json!([{"type": "Ready", "status": "", "message": "node is shutting down"}])
        );
        let slice: Thin =
            serde_json::from_str(r#"{"addressType": "IPv4", "endpoints": [], "metadata": {"name": "s"}, "status": null}"#).expect("one");
        assert_eq!(slice.rest.keys().collect::<Vec<_>>(), ["addressType", "endpoints", "status"]);
        assert!(serde_json::from_str::<Thin>("[]").is_err());
    }
}
