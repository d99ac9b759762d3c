//! Completions for shells: what clap makes of the arguments, and the names of peers, which the shell asks of the daemon.
//!
//! In: a shell. Out: a script. It leaves words and options to `clap_complete`.

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::Args;

/// The names of all peers, one a line; nothing without a daemon.
const NAMES: &str = "catbird peers --format tsv 2>/dev/null | tail -n +2 | cut -f1";

/// The script for this shell.
pub fn script(shell: Shell) -> String {
    let mut octets = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "catbird", &mut octets);
    let script = String::from_utf8_lossy(&octets).into_owned();
    match shell {
        Shell::Bash => script + &bash(),
        Shell::Zsh => zsh(&script),
        Shell::Fish => script + &fish(),
        _ => script,
    }
}

/// Its own function answers after `peer` and `--peer`, and leaves the rest to clap's.
fn bash() -> String {
    format!(
        "\n_catbird_with_peers() {{\n    case \"$3\" in\n        peer|--peer) COMPREPLY=( $(compgen -W \"$({NAMES})\" -- \"$2\") ) ;;\n        \
         *) _catbird \"$@\" ;;\n    esac\n}}\ncomplete -F _catbird_with_peers -o nosort -o bashdefault -o default catbird 2>/dev/null \
         || complete -F _catbird_with_peers catbird\n"
    )
}

fn zsh(script: &str) -> String {
    let named = script
        .replace(":peer -- Name or address:_default", ":peer -- Name or address:_catbird_peers")
        .replace(":PEER:_default", ":PEER:_catbird_peers");
    let function = format!("_catbird_peers() {{ compadd -- ${{(f)\"$({NAMES})\"}} }}\n");
    match named.split_once("\n\n") {
        Some((head, rest)) => format!("{head}\n\n{function}\n{rest}"),
        None => named + &function,
    }
}

fn fish() -> String {
    format!(
        "complete -c catbird -n '__fish_seen_subcommand_from peer' -f -a '({NAMES})'\n\
         complete -c catbird -n '__fish_seen_subcommand_from routes' -l peer -x -a '({NAMES})'\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_knows_the_commands_and_asks_for_the_names_of_peers() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            assert!(["nexthops", "undrain", "confirm", "doctor"].iter().all(|word| script.contains(word)), "{shell}");
            assert!(script.contains(NAMES), "{shell}");
        }
        assert_eq!(script(Shell::Zsh).matches("_catbird_peers'").count(), 2, "peer NAME and routes --peer");
    }
}
