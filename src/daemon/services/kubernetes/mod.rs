//! Watches the objects of a cluster's API, and keeps what it knows of them.
//!
//! In: the API of `[kubernetes]`, or at the start the file that an earlier run left. Out: [`Objects`], shared with the keeper of the configuration, who is
//! called when they say something else than before. What they mean is [`source`](crate::source)'s; the keeper merges and applies.
//!
//! An API that is away changes nothing: what was known last stays. Nothing is concluded from objects before each kind was listed once.

#[cfg(feature = "kubernetes")]
mod access;
#[cfg(feature = "kubernetes")]
mod network;
mod objects;
mod state;
#[cfg(feature = "kubernetes")]
mod thin;
#[cfg(feature = "kubernetes")]
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::Config;
use crate::config::model::Kubernetes;
use crate::daemon::counters::DaemonMetrics;
pub use objects::Objects;

/// In warnings.
const TOPIC: &str = "kubernetes";

/// How often the file is written, if there is something new.
const SAVE_AFTER: Duration = Duration::from_secs(5);

/// Between two looks at the watches.
const REST: Duration = Duration::from_millis(100);

/// What the daemon starts with.
pub struct Configured {
    pub file: Config,
    pub objects: Arc<Objects>,
    /// Of both.
    pub in_force: Config,
}

impl Configured {
    /// From the file, and what an earlier run knew of the cluster.
    pub fn at_the_start(file: Config) -> Configured {
        let kubernetes = file.kubernetes.as_ref();
        let known = kubernetes.and_then(|k| state::load(k.state_file.as_ref()?, k.flavour));
        let objects = Arc::new(Objects::starting_with(known));
        let in_force = objects.merged(&file).unwrap_or_else(|why| {
            tracing::warn!("what an earlier run knew of the cluster makes no configuration: {why}");
            Config { provisional: true, ..file.clone() }
        });
        Configured { file, objects, in_force }
    }
}

/// What serves `[kubernetes]`.
pub struct Service {
    pub objects: Arc<Objects>,
    pub counters: Arc<DaemonMetrics>,
    pub kubernetes: Kubernetes,
    pub node: String,
}

impl Service {
    /// Of this configuration, if it asks for objects.
    pub fn of(config: &Config, objects: &Arc<Objects>, counters: &Arc<DaemonMetrics>) -> Option<Service> {
        let kubernetes = config.kubernetes.clone()?;
        Some(Service { objects: objects.clone(), counters: counters.clone(), kubernetes, node: config.node.name.clone() })
    }

    /// Until the daemon ends.
    ///
    /// # Errors
    /// None; the shape is that of a service.
    pub async fn serve(self) -> io::Result<()> {
        let mut running: BTreeMap<String, Task> = BTreeMap::new();
        let mut saver = state::Saver::new(self.kubernetes.state_file.clone(), self.kubernetes.flavour);
        #[cfg(feature = "kubernetes")]
        let shared = Arc::new(access::Shared::default());
        let (mut save_at, mut unsaved) = (Instant::now() + SAVE_AFTER, None);
        loop {
            if save_at <= Instant::now() {
                unsaved = saver.save(&self.objects).await.err();
                save_at = Instant::now() + SAVE_AFTER;
            }
            let wanted = self.objects.wanted(&self.kubernetes, &self.node);
            running.retain(|name, _| wanted.iter().any(|w| w.to_string() == *name));
            #[cfg(feature = "kubernetes")]
            for one in &wanted {
                running.entry(one.to_string()).or_insert_with(|| {
                    Task(tokio::spawn(watch::run(one.clone(), self.objects.clone(), shared.clone(), self.kubernetes.kubeconfig.clone())))
                });
            }
            self.objects.look_whether_complete(&wanted);
            let unsaved = unsaved.as_ref().map(|error| format!("what is known of the cluster cannot be kept for the next start: {error}"));
            #[cfg(feature = "kubernetes")]
            let unsaid = self.say_that_there_is_a_network(&shared).await.err();
            #[cfg(not(feature = "kubernetes"))]
            let unsaid: Option<String> = None;
            self.counters.warn(TOPIC, self.objects.warnings().into_iter().chain(unsaved).chain(unsaid).collect());
            tokio::select! {
                () = self.objects.stirred.notified() => tokio::time::sleep(REST).await,
                () = tokio::time::sleep_until(save_at) => {}
            }
        }
    }
}

#[cfg(feature = "kubernetes")]
impl Service {
    async fn say_that_there_is_a_network(&self, shared: &access::Shared) -> Result<(), String> {
        if self.kubernetes.cni.is_none() || !self.objects.is_said_to_lack_network(&self.node) {
            return Ok(());
        }
        let said = network::is_available(shared, self.kubernetes.kubeconfig.as_deref(), &self.objects, &self.node);
        tokio::time::timeout(SAVE_AFTER, said).await.unwrap_or_else(|_| Err("the API does not answer".to_owned()))
    }
}

/// Ends with its handle.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
