//! What may be typed after `catbird`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use super::decode::DecodeArgs;
use super::simulate::SimulateArgs;
use crate::config::DEFAULT_SOCKET;
use crate::config::model::Flavour;
use crate::daemon::protocol::VERSION;
use crate::num::Asn;
use crate::wire::MAX_SHUTDOWN_TEXT;

/// Where the configuration is looked for.
pub const DEFAULT_FILE: &str = "/etc/catbird/catbird.toml";

/// A BGP speaker for clusters: announces a node's pod blocks, learns everybody else's, and keeps the kernel's routes true.
#[derive(Debug, Parser)]
#[command(name = "catbird", version = VERSION, after_help = EXIT_CODES, max_term_width = 110)]
pub struct Args {
    /// The control socket of the daemon to ask (`run` makes its own where `[control]` of its file says)
    #[arg(long, global = true, value_name = "PATH", env = "CATBIRD_SOCKET", default_value = DEFAULT_SOCKET, hide_env = true)]
    pub socket: PathBuf,
    /// Answer in JSON: stable snake_case keys, base units (the same as --format json)
    #[arg(long, global = true)]
    pub json: bool,
    /// How lists look: aligned columns; one line a row with tabs between; JSON
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t)]
    pub format: Format,
    #[command(subcommand)]
    pub command: Command,
}

/// How answers look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Tsv,
    Json,
}

impl Args {
    /// `--json` is an older way to say `--format json`.
    pub fn form(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

/// Told by `--help`; kept true by `cli::Exit`.
const EXIT_CODES: &str = "\
Exit codes:
  0  it was done, or the answer was given
  1  it was refused, or the configuration has errors
  2  it was not understood, or a file cannot be read
  3  the daemon is not running, or this user may not talk to it

Colours are for terminals only, and off with NO_COLOR=1.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground. TERM ends it as `on_term` says, HUP reads the file again
    #[command(after_help = "Examples:\n  catbird run\n  catbird run -c ./node-a.toml")]
    Run {
        /// The configuration
        #[arg(short, long, value_name = "FILE", default_value = DEFAULT_FILE)]
        config: PathBuf,
    },
    /// Tell every mistake of a configuration, with its place
    #[command(after_help = "Examples:\n  catbird check\n  catbird check --strict new.toml\n  catbird check --node node-b - < new.toml")]
    Check {
        /// The configuration (default: /etc/catbird/catbird.toml, or with --objects none: then nothing but the objects counts); `-` is standard
        /// input
        file: Option<PathBuf>,
        /// Print what these objects of a cluster mean for a node: a file that `kubectl get -o yaml` or `-o json` wrote, or a folder of such
        #[arg(long, value_name = "PATH")]
        objects: Option<PathBuf>,
        /// With --objects and no FILE: whose objects count (default: by what is there)
        #[arg(long, requires = "objects", value_parser = flavour)]
        flavour: Option<Flavour>,
        /// Warnings count as errors: a password file that cannot be read, a peer without policy
        #[arg(long)]
        strict: bool,
        /// As the node of this name (default: CATBIRD_NODE, or the host name)
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
    },
    /// Tell what a reload would change against what runs, what each change costs, and which sessions it touches
    #[command(after_help = "Examples:\n  catbird diff\n  catbird diff new.toml\n  catbird diff --from old.toml new.toml")]
    Diff {
        /// The new configuration (default: the daemon's own file, as it is now)
        file: Option<PathBuf>,
        /// Compare with this file instead of with what runs; no daemon is asked
        #[arg(long, value_name = "FILE", requires = "file")]
        from: Option<PathBuf>,
        /// Compare what two sets of objects mean (as `check --objects` reads them), with FILE for both; no daemon is asked
        #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], conflicts_with = "from")]
        objects: Vec<PathBuf>,
        /// With --objects and no FILE: whose objects count (default: by what is there)
        #[arg(long, requires = "objects", value_parser = flavour)]
        flavour: Option<Flavour>,
        /// With --objects, for every node
        #[arg(long, requires = "objects", conflicts_with = "node")]
        all: bool,
        /// With --from or --objects, as the node of this name (default: CATBIRD_NODE, or the host name)
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
    },
    /// Read the configuration again and apply it whole, or not at all
    #[command(after_help = "Examples:\n  catbird reload\n  catbird reload --confirm 60s && catbird confirm")]
    Reload {
        /// Go back after this time (such as 60s) unless `catbird confirm` comes
        #[arg(long, value_name = "TIME", value_parser = time)]
        confirm: Option<Duration>,
    },
    /// Keep the configuration that `reload --confirm` brought
    #[command(after_help = "Examples:\n  catbird reload --confirm 60s && catbird confirm")]
    Confirm,
    /// One screen: who, how many, since when
    #[command(after_help = "Examples:\n  catbird status\n  catbird status --memory\n  catbird status --json")]
    Status {
        /// Below it, what the daemon's memory is taken by
        #[arg(long)]
        memory: bool,
    },
    /// All peers, one a line
    #[command(after_help = "Examples:\n  catbird peers --down\n  catbird peers --kind external --format tsv")]
    Peers {
        /// Only those that are not up, with the reason
        #[arg(long)]
        down: bool,
        /// Only those of these kinds
        #[arg(long, value_name = "KIND", value_delimiter = ',')]
        kind: Vec<Kind>,
    },
    /// One peer: everything about it, or what to do with it
    #[command(
        after_help = "Examples:\n  catbird peer tor\n  catbird peer tor received --rejected\n  catbird peer tor down -m 'new optics' && catbird peer tor up"
    )]
    Peer {
        /// Name or address
        peer: String,
        #[command(subcommand)]
        what: Option<PeerCommand>,
    },
    /// The routes in use (Loc-RIB)
    #[command(
        after_help = "Examples:\n  catbird routes 10.244.2.7\n  catbird routes 10.244.0.0/16 --longer\n  catbird routes --best --community 65001:7\n  catbird routes --peer tor --count"
    )]
    Routes {
        /// A prefix, or an address for its longest match
        #[arg(value_name = "PREFIX|ADDRESS")]
        what: Option<Target>,
        /// Also everything inside the prefix
        #[arg(long)]
        longer: bool,
        /// Only paths of this peer (name or address)
        #[arg(long, value_name = "PEER")]
        peer: Option<String>,
        /// Only what is used
        #[arg(long)]
        best: bool,
        /// Only paths with this community, of any kind
        #[arg(long, value_name = "COMMUNITY")]
        community: Option<String>,
        /// Only paths whose AS path has these numbers in a row
        #[arg(long, value_name = "ASNS")]
        as_path: Option<String>,
        /// How many there are
        #[arg(long)]
        count: bool,
    },
    /// Explain a prefix: who announced it, what decided, what the kernel does with it, to whom it is announced
    #[command(after_help = "Examples:\n  catbird why 10.244.2.0/26\n  catbird why 10.244.2.7")]
    Why {
        /// A prefix, or an address for the prefix that its packets follow
        #[arg(value_name = "PREFIX|ADDRESS")]
        what: Target,
    },
    /// The journey of a packet over all nodes on its way, and the first that does otherwise than BGP says
    #[command(
        after_help = "Each node on the way is asked over its HTTP ([metrics] listen), this one over its control socket.\n\nExamples:\n  catbird path 10.244.0.7 10.244.2.9\n  catbird path node-a 192.0.2.80 --port 9179\n  catbird path 10.244.0.7 10.244.2.9 --node 10.0.0.3=127.0.0.1:9003"
    )]
    Path {
        /// An address of a pod or node, or the name of a peer
        from: String,
        /// Likewise, or any other address
        to: String,
        /// The packet's fwmark, for `ip rule`
        #[arg(long, value_name = "N", default_value_t)]
        mark: u32,
        /// Port of the other nodes' HTTP (default: this node's)
        #[arg(long, value_name = "PORT")]
        port: Option<u16>,
        /// Ask the node with this address elsewhere, such as through a forwarded port
        #[arg(long, value_name = "ADDRESS=HOST:PORT", value_parser = elsewhere)]
        node: Vec<(IpAddr, SocketAddr)>,
    },
    /// Kernel routes: wanted, installed, failed, foreign
    #[command(after_help = "Examples:\n  catbird fib\n  catbird fib 10.244.2.0/26\n  catbird fib --format tsv")]
    Fib { prefix: Option<IpNet> },
    /// Next hops and how they are resolved
    #[command(after_help = "Examples:\n  catbird nexthops")]
    Nexthops,
    /// BFD sessions: whether the path to each peer is alive
    #[command(after_help = "Examples:\n  catbird bfd\n  catbird bfd tor-1")]
    Bfd {
        /// Everything about this one's (name or address)
        peer: Option<String>,
    },
    /// RPKI caches, and what they say of a prefix and the AS that originates it
    #[command(after_help = "Examples:\n  catbird rpki\n  catbird rpki 192.0.2.0/24\n  catbird rpki 192.0.2.0/24 AS64500")]
    Rpki {
        prefix: Option<IpNet>,
        /// Its origin: a number, with or without AS before it
        #[arg(value_name = "AS", value_parser = asn)]
        asn: Option<Asn>,
    },
    /// Monitoring stations (BMP), and how far behind each is
    #[command(after_help = "Examples:\n  catbird bmp")]
    Bmp,
    /// This node's pod blocks and where each comes from
    #[command(after_help = "Examples:\n  catbird blocks")]
    Blocks,
    /// Announce or withdraw a pod block, also after a restart of the daemon; a reboot forgets it
    #[command(after_help = "Examples:\n  catbird block add 10.244.9.0/26\n  catbird block remove 10.244.9.0/26")]
    Block {
        #[command(subcommand)]
        what: BlockCommand,
    },
    /// What happens, as it happens
    #[command(after_help = "Examples:\n  catbird monitor\n  catbird monitor peers,routes\n  catbird monitor --json routes")]
    Monitor {
        /// Only these (default: all)
        #[arg(value_enum, value_delimiter = ',')]
        streams: Vec<Stream>,
    },
    /// Sessions, rates, kernel and events on one screen that follows what happens; ends with q
    #[command(after_help = "Examples:\n  catbird top\n  catbird top --interval 5s")]
    Top {
        /// Between two looks at the numbers; where an answer takes long, more
        #[arg(long, value_name = "TIME", value_parser = interval, default_value = "1s")]
        interval: Duration,
    },
    /// Leave the cluster gently: GRACEFUL_SHUTDOWN (RFC 8326), withdraw, close; returns when all of it is done
    #[command(after_help = "Examples:\n  catbird drain\n  catbird drain --no-wait\n  catbird drain --if-shutdown")]
    Drain {
        /// Return at once; `catbird status` says when it is done
        #[arg(long)]
        no_wait: bool,
        /// Only if the cluster says that the machine shuts down, for a preStop hook: a daemon that is replaced leaves its routes where they are
        #[arg(long)]
        if_shutdown: bool,
    },
    /// Come back after a drain
    #[command(after_help = "Examples:\n  catbird undrain")]
    Undrain,
    /// Look at what this machine gives, and say what of it will hurt; works without a daemon
    #[command(after_help = "Examples:\n  catbird doctor\n  catbird doctor --json")]
    Doctor,
    /// The log
    #[command(after_help = "Examples:\n  catbird log set debug")]
    Log {
        #[command(subcommand)]
        what: LogCommand,
    },
    /// Show the messages in a capture, an MRT file or hexadecimal digits, with a verdict on each
    Decode(DecodeArgs),
    /// Write a configuration of BIRD, FRR or GoBGP as one of catbird, and say line by line what has no counterpart
    #[command(
        after_help = "Examples:\n  catbird convert /etc/bird/bird.conf > catbird.toml\n  catbird convert /etc/frr/frr.conf -o catbird.toml --secrets .\n  catbird convert --from gobgp - < gobgpd.toml"
    )]
    Convert(ConvertArgs),
    /// Run a cluster in virtual time: these very routers by the thousand, what breaks, and what comes of it; works without a daemon
    Simulate(SimulateArgs),
    /// What answers in JSON look like, as JSON Schema
    #[command(after_help = "Examples:\n  catbird schema > catbird.schema.json")]
    Schema,
    /// A server of the Model Context Protocol on standard input and output: the read-only answers as tools for an assistant
    #[command(after_help = "Examples:\n  catbird mcp\n  ssh node-b catbird mcp")]
    Mcp,
    /// Completions for a shell, on standard output; peers' names are asked of the daemon
    #[command(after_help = "Examples:\n  catbird completions bash > /etc/bash_completion.d/catbird")]
    Completions { shell: clap_complete::Shell },
    /// Write a manual page for each command into a folder
    #[command(after_help = "Examples:\n  catbird man /usr/local/share/man/man1")]
    Man {
        /// It is there already
        folder: PathBuf,
    },
}

/// `catbird convert`
#[derive(Debug, ClapArgs)]
pub struct ConvertArgs {
    /// bird.conf, frr.conf or gobgpd.toml; `-` is standard input
    pub file: PathBuf,
    /// Whose it is (default: by what stands in it)
    #[arg(long, value_enum, value_name = "DAEMON")]
    pub from: Option<Daemon>,
    /// Write the configuration here instead of to standard output
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<PathBuf>,
    /// Write each password into a file of its own in this folder, for the owner alone. Without it they are left out, and their files
    /// are said to be in /etc/catbird
    #[arg(long, value_name = "FOLDER")]
    pub secrets: Option<PathBuf>,
    /// What was left out counts as an error
    #[arg(long)]
    pub strict: bool,
}

/// Whose configuration is converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Daemon {
    Bird,
    Frr,
    Gobgp,
}

#[derive(Debug, Subcommand)]
pub enum PeerCommand {
    /// What it announced (Adj-RIB-In), with the verdict of import
    #[command(after_help = "Examples:\n  catbird peer tor received\n  catbird peer tor received --rejected")]
    Received {
        /// Only what was refused, and why
        #[arg(long)]
        rejected: bool,
    },
    /// What we announce to it (Adj-RIB-Out)
    #[command(after_help = "Examples:\n  catbird peer tor advertised")]
    Advertised,
    /// Close the session and keep it closed (RFC 9003)
    #[command(after_help = "Examples:\n  catbird peer tor down -m 'new optics'")]
    Down {
        /// Why, for the other side's log: up to 128 octets
        #[arg(short, long, value_name = "TEXT", value_parser = shutdown_text)]
        message: Option<String>,
    },
    /// Open it again
    #[command(after_help = "Examples:\n  catbird peer tor up")]
    Up,
    /// Close it and open it again; where both sides keep routes meanwhile (RFC 8538), no packet is lost
    #[command(after_help = "Examples:\n  catbird peer tor clear\n  catbird peer tor clear --hard")]
    Clear {
        /// Both sides drop the routes of the session (Hard Reset)
        #[arg(long)]
        hard: bool,
    },
    /// Policy again, without a flap
    #[command(after_help = "Examples:\n  catbird peer tor refresh in\n  catbird peer tor refresh out")]
    Refresh { direction: Direction },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// Judge again what it announced
    In,
    /// Announce everything to it again
    Out,
}

#[derive(Debug, Subcommand)]
pub enum BlockCommand {
    /// Announce it from now on, and keep it in the kernel as a blackhole
    #[command(after_help = "Examples:\n  catbird block add 10.244.9.0/26")]
    Add { block: IpNet },
    /// Withdraw it
    #[command(after_help = "Examples:\n  catbird block remove 10.244.9.0/26")]
    Remove { block: IpNet },
}

#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Set the level of the running daemon
    #[command(after_help = "Examples:\n  catbird log set debug")]
    Set { level: LevelWord },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LevelWord {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stream {
    Routes,
    Peers,
    Fib,
    /// Reloads, drains, the end
    #[value(alias = "config")]
    Daemon,
}

/// As in the column KIND.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Kind {
    Mesh,
    RrClient,
    Rr,
    Internal,
    External,
}

/// A prefix, or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Net(IpNet),
    Address(IpAddr),
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let address = text.parse().map(Target::Address).ok();
        address.or_else(|| text.parse().map(Target::Net).ok()).ok_or_else(|| "neither a prefix (10.1.0.0/26) nor an address".to_owned())
    }
}

/// As in the configuration: `90`, `90s`, `2m`.
/// RFC 9003 §3: what is longer does not reach every peer.
fn shutdown_text(text: &str) -> Result<String, String> {
    match text.len() {
        ..=MAX_SHUTDOWN_TEXT => Ok(text.to_owned()),
        long => Err(format!("{long} octets, and {MAX_SHUTDOWN_TEXT} is what every peer reads")),
    }
}

/// `10.0.0.3=127.0.0.1:9003`.
fn asn(text: &str) -> Result<Asn, String> {
    let number = text.strip_prefix("AS").or_else(|| text.strip_prefix("as")).unwrap_or(text);
    number.parse().map(Asn).map_err(|_| "the number of an AS, such as 64500 or AS64500".to_owned())
}

fn elsewhere(text: &str) -> Result<(IpAddr, SocketAddr), String> {
    let (node, http) = text.split_once('=').ok_or("ADDRESS=HOST:PORT is needed, such as 10.0.0.3=127.0.0.1:9003")?;
    Ok((node.parse().map_err(|_| format!("{node} is no address"))?, http.parse().map_err(|_| format!("{http} is no address with a port"))?))
}

pub(super) fn time(text: &str) -> Result<Duration, String> {
    text.parse::<crate::config::values::Time>().map(|time| time.0)
}

/// Not so often that the answers would be all that the daemon does.
fn interval(text: &str) -> Result<Duration, String> {
    let time = time(text)?;
    if (MIN_INTERVAL..=MAX_INTERVAL).contains(&time) { Ok(time) } else { Err("it is between 200ms and 1h".to_owned()) }
}

const MIN_INTERVAL: Duration = Duration::from_millis(200);
const MAX_INTERVAL: Duration = Duration::from_secs(60 * 60);

fn flavour(text: &str) -> Result<Flavour, String> {
    use crate::config::values::Keyword;
    let known = Flavour::KEYWORDS.iter().find(|(word, _)| *word == text);
    known.map(|(_, flavour)| *flavour).ok_or_else(|| "it is \"nodes\", \"cilium\" or \"calico\"".to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn what_may_be_typed_is_sound_and_told() {
        Args::command().debug_assert();
        let help = Args::command().render_long_help().to_string();
        for exit in ["0  it was done", "1  it was refused", "2  it was not understood", "3  the daemon is not running"] {
            assert!(help.contains(exit), "{help}");
        }
    }

    #[test]
    fn an_address_asks_for_its_longest_match_and_a_prefix_for_itself() {
        let what = |text: &str| match Args::try_parse_from(["catbird", "routes", text]).map(|args| args.command) {
            Ok(Command::Routes { what, .. }) => what,
            other => panic!("{other:?}"),
        };
        assert_eq!(what("10.0.0.1"), Some(Target::Address([10, 0, 0, 1].into())));
        assert_eq!(what("10.0.0.0/8"), Some(Target::Net("10.0.0.0/8".parse().expect("a prefix"))));
        assert!(Args::try_parse_from(["catbird", "routes", "ten"]).is_err());
        assert!(Args::try_parse_from(["catbird", "reload", "--confirm", "soon"]).is_err());
    }

    #[test]
    fn a_shutdown_text_that_not_every_peer_reads_is_refused() {
        let down = |text: &str| Args::try_parse_from(["catbird", "peer", "b", "down", "-m", text]).map_err(|error| error.to_string());
        assert!(down(&"x".repeat(128)).is_ok());
        let error = down(&"ü".repeat(65)).expect_err("130 octets");
        assert!(error.contains("130 octets, and 128 is what every peer reads"), "{error}");
    }

    /// Names of commands that the README's table has, in code: `catbird NAME ...`.
    fn in_the_readme() -> BTreeSet<String> {
        let rows = include_str!("../../README.md").lines().filter(|line| line.starts_with("| `catbird "));
        let first = |row: &str| row.replace("\\|", "/").split('|').nth(1).unwrap_or_default().to_owned();
        let names = |cell: String| {
            cell.split("`catbird ").skip(1).filter_map(|rest| rest.split([' ', '`']).next().map(str::to_owned)).collect::<Vec<_>>()
        };
        rows.map(first).flat_map(names).collect()
    }

    #[test]
    fn the_readme_has_every_command_and_no_other() {
        let ours: BTreeSet<String> =
            Args::command().get_subcommands().map(|c| c.get_name().to_owned()).filter(|name| name != "help").collect();
        assert_eq!(in_the_readme(), ours);
    }

    #[test]
    fn every_example_of_the_help_is_understood() {
        let mut seen = 0;
        for mut command in Args::command().get_subcommands().cloned() {
            let help = command.render_long_help().to_string();
            let examples =
                help.split("Examples:").nth(1).unwrap_or_default().lines().filter(|line| line.trim_start().starts_with("catbird "));
            for line in examples.flat_map(|line| line.split("&&")) {
                let line = line.split(['<', '>']).next().unwrap_or_default();
                let words = line.split('\'').enumerate().flat_map(|(n, part)| match n % 2 {
                    0 => part.split_whitespace().collect::<Vec<_>>(),
                    _ => vec![part],
                });
                let understood = Args::try_parse_from(words);
                assert!(understood.is_ok(), "{line}: {}", understood.map(|_| ()).unwrap_err());
                seen += 1;
            }
        }
        assert!(seen >= 15, "{seen} examples");
    }
}
