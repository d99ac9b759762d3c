//! Clusters out of configurations.
//!
//! In: a folder with a file for each node, or one file whose `[cluster]` lists all nodes. Out: a [`Cluster`], or findings on standard error.

use std::path::{Path, PathBuf};

use super::super::Exit;
use super::super::config_commands::show;
use super::{refused, unreadable};
use crate::config::{self, Config};
use crate::simulate::Cluster;
use crate::speaker::Params;

/// All machines; `blocks` is how many each node of a list gets.
pub fn read(path: &Path, blocks: usize) -> Result<Cluster, Exit> {
    match std::fs::metadata(path) {
        Err(error) => Err(unreadable(&format!("cannot read {}: {error}", path.display()))),
        Ok(meta) if meta.is_dir() => folder(path),
        Ok(_) => list(path, blocks),
    }
}

fn folder(path: &Path) -> Result<Cluster, Exit> {
    let entries = std::fs::read_dir(path).map_err(|error| unreadable(&format!("cannot read {}: {error}", path.display())))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|ext| ext == "toml"));
    files.sort();
    if files.len() < 2 {
        let why =
            format!("{} holds {} files that end in .toml: one for each node is needed, named by its node", path.display(), files.len());
        return Err(refused(&why));
    }
    let read = |file: &PathBuf| {
        let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        as_node(file, &stem)
    };
    let params: Vec<Params> = files.iter().map(read).collect::<Result<_, _>>()?;
    distinct(&params)?;
    Ok(Cluster::of(params))
}

/// The file as the node of this name has it.
fn as_node(file: &Path, node: &str) -> Result<Params, Exit> {
    Ok(config::params::speaker(&checked(file, node)?))
}

fn checked(file: &Path, node: &str) -> Result<Config, Exit> {
    let checked = config::load_as(file, Some(node)).map_err(|error| unreadable(&format!("cannot read {}: {error}", file.display())))?;
    if checked.config.is_none() {
        show(&checked.report);
    }
    checked.config.ok_or(Exit::Refused)
}

fn list(file: &Path, blocks: usize) -> Result<Cluster, Exit> {
    let checked = config::load_as(file, None).map_err(|error| unreadable(&format!("cannot read {}: {error}", file.display())))?;
    let Some(config) = checked.config.as_ref().or(checked.unlisted.as_ref()) else {
        show(&checked.report);
        return Err(Exit::Refused);
    };
    let names: Vec<String> = config.cluster.iter().flat_map(|cluster| &cluster.members).map(|member| member.name.clone()).collect();
    let name = file.display();
    if names.len() < 2 {
        return Err(refused(&format!(
            "{name} lists no nodes: --config takes a file with [cluster] nodes, or a folder with a file for each node"
        )));
    }
    let params: Vec<Params> = names.iter().map(|node| as_node(file, node)).collect::<Result<_, _>>()?;
    if params.first().zip(params.get(1)).is_some_and(|(a, b)| a.name == b.name) {
        let own = params.first().map(|params| params.name.clone()).unwrap_or_default();
        let why = format!(
            "{name} is the configuration of {own} alone, by `name` (and `router_id`, `addresses`) in its [node]: take that out, and it is every node's"
        );
        return Err(refused(&why));
    }
    Ok(Cluster::of(params).with_blocks(blocks))
}

/// Two files of one node are one too many.
fn distinct(params: &[Params]) -> Result<(), Exit> {
    let mut names: Vec<&str> = params.iter().map(|params| params.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair.first() == pair.get(1)).and_then(|pair| pair.first()) {
        Some(name) => Err(refused(&format!(
            "two of these files are of the node `{name}`: each node has one, and `name` in its [node] says whose it is"
        ))),
        None => Ok(()),
    }
}
