//! The sources of the library as this folder's tests read them: as text, without comments and tests, each file with its imports resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proto_tests::netlab::proc::workspace;
use regex::Regex;

/// A file of the library.
pub struct Source {
    /// From `src/` on.
    pub path: PathBuf,
    /// Where it stands in the tree of modules: `["rib", "group"]`. The crate's root has none.
    pub module: Vec<String>,
    /// Without comments, and cut where the tests begin (they are last in a file).
    pub code: String,
    /// Built with the feature `daemon` only, by what the file above it says.
    pub behind_the_wall: bool,
}

impl Source {
    /// The first part of its path; none for the crate's root.
    pub fn room(&self) -> &str {
        self.module.first().map_or("", String::as_str)
    }
}

/// All files of the library but tests and the program's `main`.
pub fn sources() -> Vec<Source> {
    let src = workspace().join("src");
    let mut paths = rust_files(&src);
    paths.retain(|path| {
        let inside = path.strip_prefix(&src).expect("below src");
        let named_so = inside.iter().any(|part| part == "tests.rs" || part == "tests");
        inside != Path::new("main.rs") && !named_so && !is_gated(path, "#[cfg(test)]")
    });
    let read = |path: &PathBuf| {
        let inside = path.strip_prefix(&src).expect("below src").to_path_buf();
        let code = code_of(&fs::read_to_string(path).expect("a source can be read"));
        Source { module: module_of(&inside), path: inside, code, behind_the_wall: is_gated(path, "#[cfg(feature = \"daemon\")]") }
    };
    paths.iter().map(read).collect()
}

/// Every `.rs` file in this folder and below, in order.
pub fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display())) {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn module_of(path: &Path) -> Vec<String> {
    let mut parts: Vec<String> = path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
        parts.pop();
    }
    parts
}

/// Its parent says this before `mod this;`: that the core is built without it, say, or nothing but tests with it.
fn is_gated(path: &Path, gate: &str) -> bool {
    let module = if path.ends_with("mod.rs") { path.parent().expect("a folder").to_path_buf() } else { path.with_extension("") };
    let (Some(dir), Some(name)) = (module.parent(), module.file_name().and_then(|name| name.to_str())) else { return false };
    let parents = [dir.join("mod.rs"), dir.join("lib.rs"), dir.with_extension("rs")];
    let gates = ["mod", "pub mod", "pub(crate) mod", "pub(super) mod"].map(|word| format!("{gate}\n{word} {name};"));
    parents.iter().filter_map(|parent| fs::read_to_string(parent).ok()).any(|text| gates.iter().any(|gate| text.contains(gate)))
}

/// Without comments, and cut where the tests begin. One that only declares a file of tests may stand anywhere, and goes alone.
pub fn code_of(text: &str) -> String {
    let declared = Regex::new(r"#\[cfg\(test\)\]\n(?:pub )?mod \w+;").expect("a pattern");
    let text = declared.replace_all(text, "");
    text.split("#[cfg(test)]\nmod ")
        .next()
        .unwrap_or_default()
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// What a `use` names, each leaf of its tree by itself, and every path in the code that begins with `crate`, `self` or `super`.
pub fn paths_of(code: &str) -> Vec<Vec<String>> {
    let uses = Regex::new(r"(?m)^\s*(?:pub(?:\([^)]*\))?\s+)?use\s+([^;]+);").expect("a pattern");
    let inline = Regex::new(r"\b(?:crate|self|super)(?:::[A-Za-z_][A-Za-z0-9_]*)+").expect("a pattern");
    let mut paths = Vec::new();
    for tree in uses.captures_iter(code) {
        leaves(&tree[1], &[], &mut paths);
    }
    let rest = uses.replace_all(code, "");
    paths.extend(inline.find_iter(&rest).map(|found| found.as_str().split("::").map(str::to_string).collect()));
    paths
}

/// The leaves of a tree of imports: `a::{b::C, d as e, f::*}` is `a::b::C`, `a::d` and `a::f::*`.
fn leaves(tree: &str, above: &[String], found: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    let (head, list) = match tree.find('{') {
        Some(open) => (&tree[..open], Some(tree[open + 1..].trim_end().trim_end_matches('}'))),
        None => (tree.split(" as ").next().unwrap_or_default(), None),
    };
    let own = head.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_string);
    let path: Vec<String> = above.iter().cloned().chain(own).collect();
    match list {
        Some(list) => entries(list).into_iter().filter(|entry| !entry.trim().is_empty()).for_each(|entry| leaves(entry, &path, found)),
        None => found.push(path),
    }
}

/// The entries of a braced list, at its own level.
fn entries(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (index, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&list[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    found.push(&list[start..]);
    found
}

/// Which file uses what another file defines. Names that a file only passes on (`pub use`) lead to where they are defined.
pub struct Imports {
    modules: BTreeSet<Vec<String>>,
    /// Of each module, the names that it passes on, and from where.
    passed_on: BTreeMap<Vec<String>, Vec<(String, Vec<String>)>>,
    /// File by file (as modules), what it uses.
    pub uses: BTreeMap<Vec<String>, BTreeSet<Vec<String>>>,
}

impl Imports {
    pub fn of(sources: &[Source]) -> Imports {
        let modules = sources.iter().map(|source| source.module.clone()).collect();
        let mut imports = Imports { modules, passed_on: BTreeMap::new(), uses: BTreeMap::new() };
        for source in sources {
            imports.read_passed_on(source);
        }
        for source in sources {
            let mut uses: BTreeSet<Vec<String>> = imports.named_by(source).iter().filter_map(|path| imports.home(path, 0)).collect();
            uses.remove(&source.module);
            imports.uses.insert(source.module.clone(), uses);
        }
        imports
    }

    fn read_passed_on(&mut self, source: &Source) {
        let public = Regex::new(r"(?m)^\s*pub(?:\([^)]*\))?\s+use\s+([^;]+);").expect("a pattern");
        for tree in public.captures_iter(&source.code) {
            let mut found = Vec::new();
            leaves(&tree[1], &[], &mut found);
            for path in found {
                let Some((name, from)) = self.absolute(&source.module, &path).and_then(|path| Some((path.last()?.clone(), path))) else {
                    continue;
                };
                self.passed_on.entry(source.module.clone()).or_default().push((name, from));
            }
        }
    }

    /// Everything of this crate that a file names by path, from the root on; what it only passes on is not used.
    fn named_by(&self, source: &Source) -> Vec<Vec<String>> {
        let public = Regex::new(r"(?m)^\s*pub(?:\([^)]*\))?\s+use\s+([^;]+);").expect("a pattern");
        let code = public.replace_all(&source.code, "");
        let mut named: Vec<Vec<String>> = paths_of(&code).iter().filter_map(|path| self.absolute(&source.module, path)).collect();
        let child = Regex::new(r"(?:^|[^A-Za-z0-9_:.])([a-z_0-9]+)((?:::[A-Za-z_][A-Za-z0-9_]*)+)").expect("a pattern");
        let words = child.captures_iter(&code).map(|found| format!("{}{}", &found[1], &found[2]));
        let paths = words.map(|path| path.split("::").map(str::to_string).collect::<Vec<_>>());
        named.extend(paths.filter_map(|path| self.absolute(&source.module, &path)));
        named
    }

    /// A path from the crate's root on; none if it leads out of the crate.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Vec<String>> {
        let mut base = module.to_vec();
        let mut rest = path;
        while let Some(first) = rest.first() {
            match first.as_str() {
                "crate" => base.clear(),
                "super" => drop(base.pop()),
                "self" => {}
                _ => break,
            }
            rest = &rest[1..];
        }
        let rooted = rest.len() < path.len();
        base.extend(rest.iter().filter(|part| *part != "self").cloned());
        let child = [module, &path[..1.min(path.len())]].concat();
        (rooted || self.modules.contains(&child)).then_some(base)
    }

    /// The file that defines what this path names.
    fn home(&self, path: &[String], depth: usize) -> Option<Vec<String>> {
        let len = (0..=path.len()).rev().find(|len| self.modules.contains(&path[..*len]))?;
        let (module, rest) = path.split_at(len);
        let Some(name) = rest.first() else { return Some(module.to_vec()) };
        let passed = self.passed_on.get(module).map(Vec::as_slice).unwrap_or_default();
        match passed.iter().find(|(known, _)| known == name) {
            Some((_, from)) if depth < 8 && from.as_slice() != path => self.home(from, depth + 1),
            _ => Some(module.to_vec()),
        }
    }

    /// The circles: sets of files that all lead to each other.
    pub fn circles(&self) -> Vec<Vec<Vec<String>>> {
        let reach: BTreeMap<&Vec<String>, BTreeSet<&Vec<String>>> = self.uses.keys().map(|from| (from, self.reached_from(from))).collect();
        let mut circles: Vec<Vec<Vec<String>>> = Vec::new();
        for (from, to) in &reach {
            if !to.contains(from) || circles.iter().any(|circle| circle.contains(from)) {
                continue;
            }
            circles.push(to.iter().filter(|other| reach[**other].contains(from)).map(|other| (*other).clone()).collect());
        }
        circles
    }

    fn reached_from<'a>(&'a self, from: &'a Vec<String>) -> BTreeSet<&'a Vec<String>> {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&Vec<String>> = self.uses[from].iter().collect();
        while let Some(module) = next.pop() {
            if reached.insert(module) {
                next.extend(self.uses.get(module).into_iter().flatten());
            }
        }
        reached
    }
}

#[test]
fn imports_are_seen_in_all_their_shapes() {
    let shown = |code: &str| paths_of(code).iter().map(|path| path.join("::")).collect::<Vec<_>>();
    assert_eq!(shown("use crate::wire::{Open, Update};"), ["crate::wire::Open", "crate::wire::Update"]);
    assert_eq!(shown("pub(in crate::peer) use crate::{num::{Asn as A, Family}, wire, rib::*};").len(), 4);
    assert_eq!(shown("fn x() -> crate::fib::Fib { super::y() }"), ["crate::fib::Fib", "super::y"]);
    assert_eq!(code_of("a // crate::x\n#[cfg(test)]\nmod tests { crate::y }"), "a ");
}

#[test]
fn a_name_that_is_passed_on_leads_to_its_home_and_a_circle_is_seen() {
    let file = |module: &[&str], code: &str| Source {
        path: PathBuf::new(),
        module: module.iter().map(ToString::to_string).collect(),
        code: code.into(),
        behind_the_wall: false,
    };
    let imports = Imports::of(&[
        file(&["a"], "mod x; mod y;\npub use x::X;\nfn f() { y::g() }"),
        file(&["a", "x"], "use super::y::Y;"),
        file(&["a", "y"], "use crate::a::X;\nuse std::fmt;"),
        file(&["b"], "use crate::a::{X, f};"),
    ]);
    let name = |path: &[&str]| path.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(imports.uses[&name(&["b"])], BTreeSet::from([name(&["a"]), name(&["a", "x"])]));
    assert_eq!(imports.uses[&name(&["a"])], BTreeSet::from([name(&["a", "y"])]));
    assert_eq!(imports.circles(), [vec![name(&["a", "x"]), name(&["a", "y"])]]);
}
