//! Services and their pods, as far as their addresses go. Which of these are announced is for `services` to say.

use serde::{Deserialize, Serialize};

use super::Meta;

/// A service, as far as its addresses go.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Service {
    /// What is wanted.
    pub spec: ServiceSpec,
    /// What it was given.
    pub status: ServiceStatus,
}

/// What is wanted of a service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpec {
    /// The API server's default is ClusterIP.
    #[serde(rename = "type")]
    pub kind: String,
    /// The first of `clusterIPs`, or `None` as text.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    /// One of each family.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    /// Addresses that the operator routes to the cluster.
    #[serde(rename = "externalIPs")]
    pub external_ips: Vec<String>,
    /// The address that is asked for.
    #[serde(rename = "loadBalancerIP")]
    pub load_balancer_ip: String,
    /// `Local`: only nodes with a pod of it take its packets.
    pub external_traffic_policy: String,
}

/// What a service was given.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Its load balancer.
    pub load_balancer: LoadBalancer,
}

/// A load balancer of a service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct LoadBalancer {
    /// Its addresses.
    pub ingress: Vec<Ingress>,
}

/// One way in.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Ingress {
    /// Empty where it has a name only.
    pub ip: String,
}

/// Some of a service's pods.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSlice {
    pub metadata: Meta,
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: String,
    /// The pods.
    pub endpoints: Vec<Endpoint>,
}

/// One pod of a service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    /// Where it runs.
    pub node_name: String,
    /// Whether it can be sent packets.
    pub conditions: Conditions,
}

/// `None` is yes for `ready` and `serving`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Conditions {
    /// It takes new connections.
    pub ready: Option<bool>,
    /// It takes packets, also while it ends.
    pub serving: Option<bool>,
    /// It ends.
    pub terminating: Option<bool>,
}
