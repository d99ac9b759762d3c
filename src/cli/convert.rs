//! `catbird convert`: reads another daemon's configuration, with what it includes, and writes ours.
//!
//! In: a file. Out: TOML on standard output or in a file, secrets in files if a folder is named, and a line on standard error for each thing
//! that was left out or is said otherwise. The result is checked as `catbird check` does, and what that finds is shown.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Exit;
use super::args::{ConvertArgs, Daemon};
use super::client::ClientError;
use super::config_commands::show;
use super::output::Output;
use crate::config;
use crate::convert::{Converted, Dialect, Grade, MAX_OCTETS, Wish, convert};

/// All of it; what cannot be read or written is said here.
pub fn run(out: &mut Output, args: &ConvertArgs) -> Result<Exit, ClientError> {
    let name = if args.file == Path::new("-") { "standard input".to_owned() } else { args.file.display().to_string() };
    let text = match text_of(&args.file) {
        Ok(text) => text,
        Err(error) => return Ok(unreadable(&format!("cannot read {name}: {error}"))),
    };
    let Some(dialect) = args.from.map(dialect).or_else(|| Dialect::guess(&text)) else {
        return Ok(unreadable(&format!("{name} looks like none of BIRD's, FRR's and GoBGP's: say whose it is with --from")));
    };
    let secrets = args.secrets.as_deref().map(std::path::absolute).transpose().unwrap_or_default();
    let secrets = secrets.map_or_else(|| "/etc/catbird".to_owned(), |path| path.display().to_string());
    let folder = args.file.parent().map(Path::to_path_buf).unwrap_or_default();
    let include = |asked: &str| text_of(&folder.join(asked)).map_err(|error| error.to_string());
    let converted = convert(&text, dialect, &include, &Wish { name: name.clone(), secrets });
    if let Err((path, error)) = write_files(args, &converted) {
        return Ok(unreadable(&format!("cannot write {}: {error}", path.display())));
    }
    let checked = config::check_text("the result", &converted.toml);
    if out.json {
        out.object(&answer(&converted, checked.config.is_some(), args.output.is_none()))?;
    } else {
        if args.output.is_none() {
            out.octets(converted.toml.as_bytes())?;
            out.flush()?;
        }
        remarks(&name, args, &converted);
        show(&checked.report);
    }
    let refused = checked.config.is_none() || (args.strict && converted.lost() > 0);
    Ok(if refused { Exit::Refused } else { Exit::Fine })
}

fn unreadable(why: &str) -> Exit {
    eprintln!("catbird: {why}");
    Exit::Unreadable
}

fn dialect(daemon: Daemon) -> Dialect {
    match daemon {
        Daemon::Bird => Dialect::Bird,
        Daemon::Frr => Dialect::Frr,
        Daemon::Gobgp => Dialect::Gobgp,
    }
}

/// Descriptions may be in an encoding of long ago: what is no UTF-8 is replaced.
fn text_of(path: &Path) -> io::Result<String> {
    let limit = u64::try_from(MAX_OCTETS).unwrap_or(u64::MAX);
    let mut octets = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(limit.saturating_add(1)).read_to_end(&mut octets)?;
    } else {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("no regular file"));
        }
        file.take(limit.saturating_add(1)).read_to_end(&mut octets)?;
    }
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

fn write_files(args: &ConvertArgs, converted: &Converted) -> Result<(), (PathBuf, io::Error)> {
    if let Some(folder) = &args.secrets {
        for secret in &converted.secrets {
            let path = folder.join(&secret.file);
            let mut options = OpenOptions::new();
            let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
            file.and_then(|mut file| file.write_all(secret.secret.as_bytes())).map_err(|error| (path, error))?;
        }
    }
    match &args.output {
        Some(path) => std::fs::write(path, &converted.toml).map_err(|error| (path.clone(), error)),
        None => Ok(()),
    }
}

fn remarks(name: &str, args: &ConvertArgs, converted: &Converted) {
    for remark in &converted.remarks {
        let grade = if remark.grade == Grade::Lost { "left out" } else { "note" };
        let file = remark.file.as_deref().unwrap_or(name);
        let text = if remark.text.is_empty() { String::new() } else { format!(" {}:", remark.text) };
        eprintln!("{file}:{}: {grade}:{text} {}", remark.line, remark.reason);
    }
    if !converted.secrets.is_empty() && args.secrets.is_none() {
        let files: Vec<&str> = converted.secrets.iter().map(|secret| secret.file.as_str()).collect();
        eprintln!("passwords are in no file yet: --secrets FOLDER writes {}", files.join(", "));
    }
    let count = |n: usize, one: &str, many: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {many}") };
    let (lost, all) = (converted.lost(), converted.remarks.len());
    eprintln!(
        "{} to catbird: {}, {}; {} left out, {}",
        converted.dialect.name(),
        count(converted.peers, "peer", "peers"),
        count(converted.policies, "policy", "policies"),
        count(lost, "line", "lines"),
        count(all.saturating_sub(lost), "note", "notes")
    );
}

fn answer(converted: &Converted, ok: bool, with_text: bool) -> serde_json::Value {
    let lost = converted.lost();
    json!({
        "from": converted.dialect.name(),
        "ok": ok,
        "peers": converted.peers,
        "policies": converted.policies,
        "lost": lost,
        "notes": converted.remarks.len().saturating_sub(lost),
        "remarks": converted.remarks,
        "secret_files": converted.secrets.iter().map(|secret| &secret.file).collect::<Vec<_>>(),
        "toml": with_text.then_some(&converted.toml),
    })
}
