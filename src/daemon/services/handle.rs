//! The daemon as seen by its operators: the control socket, HTTP and signals hold one of these.
//!
//! In: questions, orders, a new configuration, the word to stop. Out: answers, and what happens as it happens. It leaves transport and
//! rights to `control` and `http`, and meaning to the core.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::api::{Answer, Command, Explanation, KernelAnswer, Question, RouteFilter};
use crate::config::Config;
use crate::speaker::reload_plan::Change;
use crate::speaker::{Input, Params, StopMode};

use super::api::{Gone, LastReload, RouterApi};
use super::config_handle::{Command as ConfigCommand, ConfigHandle};
use super::forwarding;
use super::tcp_md5_stats::md5_refused;
use crate::daemon::core::Request;
use crate::daemon::core::listener::{AllowedPeers, Refused};
use crate::daemon::counters::DaemonMetrics;
use crate::daemon::event_log::{EventLog, LogLevel, Stamped};
use crate::daemon::netlink::lookup;
use crate::daemon::protocol::Reloaded;

/// Prefixes inside the one that was asked for, that `why` names.
const LONGER: usize = 8;

/// Cheap to clone.
#[derive(Clone)]
pub struct DaemonHandle {
    core: mpsc::Sender<Request>,
    config: ConfigHandle,
    event_log: EventLog,
    log: LogLevel,
    counters: Arc<DaemonMetrics>,
}

impl DaemonHandle {
    /// Over the two queues: to the core, and to the configuration manager.
    pub fn new(
        core: mpsc::Sender<Request>,
        config: ConfigHandle,
        event_log: EventLog,
        log: LogLevel,
        counters: Arc<DaemonMetrics>,
    ) -> DaemonHandle {
        DaemonHandle { core, config, event_log, log, counters }
    }

    /// What these parameters change; with `apply` they are taken over.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn plan(&self, params: Box<Params>, apply: bool) -> Result<Vec<Change>, Gone> {
        let (reply, answer) = oneshot::channel();
        match self.answered(Request::Plan(params, apply, reply), answer).await {
            Some(Answer::Plan(changes)) => Ok(changes),
            _ => Err(Gone),
        }
    }

    /// Listens on these addresses, for these peers; what the kernel refuses of it comes back.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn listen(&self, addresses: Vec<SocketAddr>, allowed: AllowedPeers) -> Result<Vec<Refused>, Gone> {
        let (reply, refused) = oneshot::channel();
        self.request(Request::Listen { addresses, allowed, reply }).await?;
        refused.await.map_err(|_| Gone)
    }

    /// # Errors
    /// [`Gone`].
    pub async fn stop(&self, mode: StopMode) -> Result<(), Gone> {
        self.tell(Input::Stop(mode)).await
    }

    async fn request(&self, request: Request) -> Result<(), Gone> {
        self.core.send(request).await.map_err(|_| Gone)
    }

    async fn answered(&self, request: Request, answer: oneshot::Receiver<Answer>) -> Option<Answer> {
        self.request(request).await.ok()?;
        answer.await.ok()
    }

    /// The first prefixes inside this one, of the whole table: a page at a time, so that the core does other things between two.
    async fn longer(&self, net: IpNet) -> Vec<IpNet> {
        let filter = RouteFilter { net: Some(net), longer: true, ..RouteFilter::default() };
        let (mut found, mut cursor) = (BTreeSet::new(), Some(0));
        while let Some(at) = cursor.filter(|_| found.len() < LONGER) {
            let (reply, answer) = oneshot::channel();
            let question = Question::Routes { filter: filter.clone(), cursor: at };
            let Some(Answer::Routes(page)) = self.answered(Request::Query(question, reply), answer).await else { break };
            found.extend(page.rows.iter().map(|row| row.net).filter(|inside| *inside != net));
            cursor = page.next;
        }
        found.into_iter().take(LONGER).collect()
    }

    /// What the kernel does with a packet to what was asked for; of a prefix, to its first address that a host may have.
    fn kernel_answer(&self, story: &Explanation) -> Option<KernelAnswer> {
        let host = story.asked.prefix_len() == story.asked.max_prefix_len();
        let address = story.asked.hosts().next().filter(|_| !host).unwrap_or(story.asked.addr());
        let answer = lookup::route_to(address).inspect_err(|error| tracing::debug!(%error, "the kernel was asked for a route")).ok()?;
        Some(forwarding::kernel_answer(address, &answer, story, &self.config.config().fib))
    }

    async fn of_core(&self, question: Question) -> Option<Answer> {
        let (reply, answer) = oneshot::channel();
        self.answered(Request::Query(question, reply), answer).await
    }

    /// What only the kernel knows of it, and what takes more than one look at the tables.
    async fn completed(&self, mut story: Box<Explanation>) -> Box<Explanation> {
        story.kernel = self.kernel_answer(&story);
        if story.longer.len() < LONGER {
            story.longer = self.longer(story.net).await;
        }
        story
    }

    /// What this machine does with a packet.
    async fn forwarding(&self, packet: forwarding::Packet) -> Option<Answer> {
        let Answer::Status(status) = self.of_core(Question::Status).await? else { return None };
        let Answer::Why(story) = self.of_core(Question::Why { net: packet.to.into(), longest: true }).await? else { return None };
        let story = self.completed(story).await;
        Some(Answer::Forwarding(Box::new(forwarding::report(packet, story, status.draining, &self.config.config()))))
    }
}

impl RouterApi for DaemonHandle {
    async fn tell(&self, input: Input) -> Result<(), Gone> {
        let (told, heard) = oneshot::channel();
        self.request(Request::Tell(input, told)).await?;
        heard.await.map_err(|_| Gone)
    }

    async fn query(&self, question: Question) -> Option<Answer> {
        if matches!(question, Question::Peers { .. } | Question::Peer { .. }) {
            self.tell(Input::Md5Refused(md5_refused())).await.ok()?;
        }
        if let Question::Forwarding { to, from, at, mark } = question {
            return self.forwarding(forwarding::Packet { to, from, at, mark }).await;
        }
        Some(match self.of_core(question).await? {
            Answer::Why(story) => Answer::Why(self.completed(story).await),
            other => other,
        })
    }

    async fn command(&self, command: Command) -> Option<Answer> {
        let (reply, answer) = oneshot::channel();
        self.answered(Request::Command(command, reply), answer).await
    }

    /// With `confirm` the former configuration comes back after that time unless [`RouterApi::confirm`] is called.
    async fn reload(&self, confirm: Option<Duration>) -> Result<Reloaded, String> {
        let (reply, outcome) = oneshot::channel();
        self.config.command(ConfigCommand::Reload { confirm, reply }).await.map_err(|gone| gone.to_string())?;
        outcome.await.map_err(|_| Gone.to_string())?
    }

    async fn diff(&self, text: Option<(String, String)>) -> Result<Reloaded, String> {
        let (reply, outcome) = oneshot::channel();
        self.config.command(ConfigCommand::Diff { text, reply }).await.map_err(|gone| gone.to_string())?;
        outcome.await.map_err(|_| Gone.to_string())?
    }

    async fn confirm(&self) -> bool {
        let (reply, outcome) = oneshot::channel();
        self.config.command(ConfigCommand::Confirm { reply }).await.is_ok() && outcome.await.unwrap_or(false)
    }

    fn last_reload(&self) -> LastReload {
        self.config.state()
    }

    fn config(&self) -> Arc<Config> {
        self.config.config()
    }

    fn monitor(&self) -> broadcast::Receiver<Arc<Stamped>> {
        self.event_log.subscribe()
    }

    fn set_log_level(&self, level: &str) -> Result<(), String> {
        self.log.set(level)
    }

    fn counters(&self) -> &DaemonMetrics {
        &self.counters
    }
}
