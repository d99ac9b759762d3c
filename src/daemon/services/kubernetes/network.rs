//! `NetworkUnavailable`: some clouds' controllers say of a new node that it has no network, and no pod is put there until somebody says that it has.
//!
//! In: that the CNI configuration is ours and written, and our own Node. Out: the condition is `False`, said by us, where it was `True`. Nobody else's
//! network is spoken for: without `cni` nothing is said, and the rights to say it are in the manifests of that overlay alone.

use std::path::Path;
use std::sync::Arc;

use kube::api::{Api, ApiResource, Patch, PatchParams};
use serde_json::json;

use super::access::Shared;
use super::objects::Objects;
use super::thin::Thin;
use super::watch::chain;

/// In the status of this node.
///
/// # Errors
/// The API's, or its way's.
pub(super) async fn is_available(shared: &Shared, kubeconfig: Option<&Path>, objects: &Arc<Objects>, node: &str) -> Result<(), String> {
    let client = shared.way(kubeconfig)?.client("nodes", objects);
    let resource = ApiResource {
        group: String::new(),
        version: "v1".to_owned(),
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        plural: "nodes".to_owned(),
    };
    let api: Api<Thin> = Api::all_with(client, &resource);
    let now = k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let said = json!({"status": {"conditions": [{
        "type": "NetworkUnavailable", "status": "False", "reason": "CatbirdIsUp", "message": "catbird has the node's routes and its CNI configuration",
        "lastTransitionTime": now, "lastHeartbeatTime": now,
    }]}});
    let patched = api.patch_status(node, &PatchParams::default(), &Patch::Strategic(said)).await;
    patched.map(drop).map_err(|error| format!("NetworkUnavailable of Node {node} cannot be set: {}", chain(&error)))
}
