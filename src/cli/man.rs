//! `catbird man`: a manual page for each command, made from the very definition that `--help` is made from.
//!
//! In: a folder. Out: `catbird.1`, `catbird-peers.1`, `catbird-peer-received.1` and so on, as troff.

use std::io;
use std::path::Path;

use clap::CommandFactory;

use super::args::Args;

/// Writes all of them, and answers how many.
///
/// # Errors
/// The folder is not there, or cannot be written.
pub fn write(folder: &Path) -> io::Result<usize> {
    let pages = pages()?;
    for (name, page) in &pages {
        std::fs::write(folder.join(name), page)?;
    }
    Ok(pages.len())
}

/// By the name of their file.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    let mut command = Args::command().disable_help_subcommand(true);
    command.build();
    walk(&command, "catbird", &mut found)?;
    Ok(found)
}

fn walk(command: &clap::Command, name: &str, found: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let mut page = Vec::new();
    let shown = command.clone().display_name(name.to_owned());
    clap_mangen::Man::new(shown).title(name).section("1").manual("catbird").render(&mut page)?;
    found.push((format!("{name}.1"), page));
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        walk(inner, &format!("{name}-{}", inner.get_name()), found)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_examples() {
        let pages = pages().expect("pages");
        assert!(pages.len() > 25, "{}", pages.len());
        for (name, page) in &pages {
            let text = String::from_utf8_lossy(page);
            assert!(text.contains(".TH") && text.contains(".SH NAME"), "{name}");
            assert!(name == "catbird.1" || text.contains("Examples:"), "{name} has no examples");
        }
        assert!(
            pages.iter().any(|(name, _)| name == "catbird-peer-received.1"),
            "{:?}",
            pages.iter().map(|(name, _)| name).collect::<Vec<_>>()
        );
    }
}
