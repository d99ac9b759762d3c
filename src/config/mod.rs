//! What the operator typed, and what the router is to be.
//!
//! In: the text of a TOML file. Out: a [`Config`] in which nothing is left to guess, and a [`Report`] with every mistake, its line, a
//! caret, and what would have been accepted. What a new one changes is [`speaker::reload_plan`](crate::speaker::reload_plan)'s to say.
//!
//! [`Config::parse`] reads nothing from disk: the files that secrets are in come through [`Environment`], so that a test or a fuzzer can
//! have its own. `load` is the one function with the world in it. What a setting does is the business of the room that it is handed to.

mod bfd;
mod blocks;
mod bmp;
mod cluster;
mod kubernetes;
#[cfg(feature = "daemon")]
mod load;
pub mod model;
mod overlay;
pub mod params;
pub mod policy;
mod raw;
pub(crate) mod reader;
mod redact;
mod redistribute;
pub mod report;
mod rpki;
mod validate;
pub mod values;

use std::path::Path;

use toml::de::DeTable;

pub(crate) use cluster::{relation, shared_address};
#[cfg(feature = "daemon")]
pub use load::{NODE_VARIABLE, PASSWORD_OCTETS, check_text, check_text_as, load, load_as, read_as, read_text};
pub use model::Config;
pub use report::{Diagnostic, Report, Severity};
pub use validate::usable_secret;
pub(crate) use validate::{hashed_id, kind};

use report::{Diagnostics, Problem};

/// Where `catbird` listens for its operator by default.
pub const DEFAULT_SOCKET: &str = "/run/catbird/catbird.sock";

/// Where what is known of a cluster is left for the next start, by default.
pub const DEFAULT_STATE: &str = "/var/lib/catbird/objects";

/// What a configuration may depend on besides its own text.
pub struct Environment<'a> {
    /// The node's name if the file does not say one.
    pub hostname: Option<String>,
    /// Reads a file that holds a secret.
    pub read: &'a dyn Fn(&Path) -> Result<SecretFile, String>,
    /// What this process may use at most, in octets.
    pub memory_limit: Option<u64>,
}

/// A file that holds a secret.
pub struct SecretFile {
    /// What it holds, the newline at its end included.
    pub text: String,
    /// Any user of the machine may read it.
    pub world_readable: bool,
}

impl From<&str> for SecretFile {
    /// One that is guarded as it should be.
    fn from(text: &str) -> SecretFile {
        SecretFile { text: text.to_owned(), world_readable: false }
    }
}

/// A configuration and everything that was found in its file.
#[derive(Clone, Debug)]
pub struct Checked {
    /// `None` if there is an error.
    pub config: Option<Config>,
    /// What a node may run with that is not in the cluster's list yet, if nothing else is wrong: it has no sessions with the cluster.
    pub unlisted: Option<Config>,
    /// What is wrong, errors and warnings.
    pub report: Report,
}

impl Config {
    /// Reads and checks a whole file. `name` is what the findings call it.
    pub fn parse(name: &str, text: &str, environment: &Environment<'_>) -> Checked {
        let diagnostics = Diagnostics::default();
        let (document, syntax) = DeTable::parse_recoverable(text);
        for error in &syntax {
            let problem = Problem::Syntax(error.message().to_owned());
            match error.span() {
                Some(span) => diagnostics.report(span, problem),
                None => diagnostics.report_for_file(problem),
            }
        }
        let has = |section| document.get_ref().contains_key(section);
        let raw = raw::Raw::read(reader::Section::root(&document, &diagnostics), has("cluster"), has("kubernetes"));
        let mut config = validate::validate(&raw, environment, &diagnostics);
        if let Some(kubernetes) = &mut config.kubernetes {
            kubernetes.typed = kubernetes::typed(&raw, text);
        }
        let (config, unlisted) =
            if !diagnostics.has_errors() { (Some(config), None) } else { (None, diagnostics.only_unlisted().then_some(config)) };
        Checked { config, unlisted, report: diagnostics.into_report(name, text) }
    }
}

#[cfg(test)]
mod tests;
