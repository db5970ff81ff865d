//! Which file imports what from which: `use` lines and paths in code, followed through re-exports to the file that
//! defines what they name.

use std::collections::{BTreeMap, BTreeSet};

use super::words::{Word, words};

/// What `from` imports from `to`, at the first line that does.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrow {
    pub from: String,
    pub to: String,
    /// `file:line: text`.
    pub shown: String,
}

/// Source files by their path from the repository's root.
pub type Sources = BTreeMap<String, String>;

/// Names of modules from the crate's root, or a path as it is written.
type Path = Vec<String>;

#[derive(Default)]
struct Module {
    file: String,
    /// The paths that `use` gives a name here, by that name.
    imports: BTreeMap<String, Path>,
    /// The paths in front of `::*`.
    globs: Vec<Path>,
    /// Names of items, those of methods among them.
    items: BTreeSet<String>,
}

/// A path in a module's text.
struct Mention {
    module: Path,
    path: Path,
    line: usize,
}

/// The modules of the library, and of the binary beside it, by their paths.
#[derive(Default)]
pub struct Crate {
    modules: BTreeMap<Path, Module>,
    mentions: Vec<Mention>,
    /// What the binary calls the library.
    name: String,
}

/// What begins an item, before its name.
const ITEMS: [&str; 8] = ["fn", "struct", "enum", "trait", "type", "const", "static", "union"];

impl Crate {
    /// Reads all modules below `src/lib.rs` and `src/main.rs`.
    pub fn read(sources: &Sources, name: &str) -> Self {
        let mut all = Self { name: name.to_owned(), ..Self::default() };
        all.read_file(sources, "src/lib.rs", &[]);
        all.read_file(sources, "src/main.rs", &["main".to_owned()]);
        all
    }

    pub fn files(&self) -> BTreeSet<&str> {
        self.modules.values().map(|module| module.file.as_str()).collect()
    }

    /// Whether `file` is the root of a folder that holds `other`.
    pub fn is_above(&self, file: &str, other: &str) -> bool {
        let path_of = |file: &str| self.modules.iter().find(|(_, module)| module.file == file).map(|it| it.0);
        path_of(file).zip(path_of(other)).is_some_and(|(above, below)| below.starts_with(above))
    }

    /// All arrows between files.
    pub fn arrows(&self, sources: &Sources) -> Vec<Arrow> {
        let mut found = BTreeMap::new();
        for Mention { module, path, line } in &self.mentions {
            let from = &self.modules[module].file;
            let Some(to) = self.absolute(module, path, 0).and_then(|path| self.definer(&path, 0)) else {
                continue;
            };
            if to != from {
                let text = sources[from].lines().nth(line - 1).unwrap_or_default().trim();
                let shown = format!("{from}:{line}: {text}");
                let arrow = Arrow { from: from.clone(), to: to.to_owned(), shown };
                found.entry((from, to)).or_insert(arrow);
            }
        }
        found.into_values().collect()
    }

    fn read_file(&mut self, sources: &Sources, file: &str, module: &[String]) {
        let words = words(&sources[file]);
        let text = |i: usize| words.get(i).map_or("", |word: &Word| word.text.as_str());
        let mut here = module.to_vec();
        let (mut depth, mut inner) = (0, Vec::new()); // of braces; those of modules that are written inside the file
        self.modules.entry(here.clone()).or_default().file = file.to_owned();
        let mut i = 0;
        while i < words.len() {
            match text(i) {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    if inner.last() == Some(&depth) {
                        inner.pop();
                        here.pop();
                    }
                }
                "mod" if text(i + 2) == ";" => {
                    let child = [&here[..], &[text(i + 1).to_owned()]].concat();
                    if let Some(file) = file_of(sources, file, text(i + 1)) {
                        self.read_file(sources, &file, &child);
                    }
                }
                "mod" if text(i + 2) == "{" => {
                    inner.push(depth);
                    here.push(text(i + 1).to_owned());
                    self.modules.entry(here.clone()).or_default().file = file.to_owned();
                }
                "use" => {
                    i = self.read_use(&words, i + 1, &here, Vec::new());
                    continue;
                }
                "macro_rules" => self.define(&here, text(i + 2)),
                begin if ITEMS.contains(&begin) => self.define(&here, text(i + 1)),
                name if is_name(name) && text(i + 1) == "::" => {
                    let (mut path, line) = (vec![name.to_owned()], words[i].line);
                    while text(i + 1) == "::" && is_name(text(i + 2)) {
                        i += 2;
                        path.push(text(i).to_owned());
                    }
                    self.mentions.push(Mention { module: here.clone(), path, line });
                }
                _ => {}
            }
            i += 1;
        }
    }

    fn define(&mut self, module: &[String], name: &str) {
        self.modules.entry(module.to_vec()).or_default().items.insert(name.to_owned());
    }

    /// Reads one tree of a `use` behind `prefix`; returns the place behind it.
    fn read_use(&mut self, words: &[Word], mut i: usize, here: &[String], mut prefix: Path) -> usize {
        let text = |i: usize| words.get(i).map_or("", |word: &Word| word.text.as_str());
        while is_name(text(i)) || text(i) == "::" {
            if text(i) != "::" {
                prefix.push(text(i).to_owned());
            }
            i += 1;
            if text(i) == "as" {
                break;
            }
        }
        if text(i) == "{" {
            while !matches!(text(i), "}" | "") {
                i = self.read_use(words, i + 1, here, prefix.clone());
            }
            return i + 1;
        }
        let line = words.get(i).map_or(1, |word| word.line);
        let module = self.modules.entry(here.to_vec()).or_default();
        if text(i) == "*" {
            module.globs.push(prefix.clone());
            i += 1;
        } else {
            prefix.truncate(
                prefix.len() - usize::from(prefix.len() > 1 && prefix.last().is_some_and(|it| it == "self")),
            );
            let Some(mut name) = prefix.last().cloned() else { return i };
            if text(i) == "as" {
                name = text(i + 1).to_owned();
                i += 2;
            }
            module.imports.insert(name, prefix.clone());
        }
        self.mentions.push(Mention { module: here.to_vec(), path: prefix, line });
        i
    }

    /// From the crate's root; `None` for a path that leads out of the crate.
    fn absolute(&self, module: &[String], path: &[String], steps: usize) -> Option<Path> {
        let (first, rest) = path.split_first().filter(|_| steps < STEPS_MAX)?;
        let start = match first.as_str() {
            "crate" => Vec::new(),
            name if name == self.name => Vec::new(),
            "self" => module.to_vec(),
            "super" => {
                let above = module.get(..module.len().checked_sub(1)?)?;
                let is_again = rest.first().is_some_and(|it| it == "super");
                return if is_again {
                    self.absolute(above, rest, steps + 1)
                } else {
                    Some([above, rest].concat())
                };
            }
            name => {
                let child = [module, &[name.to_owned()]].concat();
                match self.modules.get(module)?.imports.get(name) {
                    _ if self.modules.contains_key(&child) => child,
                    Some(import) if import.first() != Some(first) => {
                        self.absolute(module, import, steps + 1)?
                    }
                    _ => return None,
                }
            }
        };
        Some([&start[..], rest].concat())
    }

    /// The file that defines what an absolute path names; `None` for a module itself: what is taken from it counts.
    fn definer(&self, path: &[String], steps: usize) -> Option<&str> {
        let depth = (0..=path.len()).rev().find(|&n| self.modules.contains_key(&path[..n]))?;
        let (at, rest) = path.split_at(depth);
        let module = &self.modules[at];
        let name = rest.first()?;
        if !module.items.contains(name) && steps < STEPS_MAX {
            let glob = |glob: &Path| Some([&self.absolute(at, glob, 0)?[..], rest].concat());
            let import = module.imports.get(name).and_then(|path| self.absolute(at, path, 0));
            let onward = import.map(|path| [&path[..], &rest[1..]].concat());
            let onward =
                onward.or_else(|| module.globs.iter().filter_map(glob).find(|path| self.is_item(path)));
            if let Some(onward) = onward {
                return self.definer(&onward, steps + 1);
            }
        }
        Some(&module.file)
    }

    fn is_item(&self, path: &[String]) -> bool {
        (0..path.len())
            .rev()
            .find_map(|n| Some((n, self.modules.get(&path[..n])?)))
            .is_some_and(|(n, module)| module.items.contains(&path[n]))
    }
}

/// Re-exports of re-exports that are followed: more are a ring.
const STEPS_MAX: usize = 20;

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The file of the module `name` that `file` declares.
fn file_of(sources: &Sources, file: &str, name: &str) -> Option<String> {
    let (folder, own) = file.rsplit_once('/')?;
    let folder = match own {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        own => format!("{folder}/{}", own.trim_end_matches(".rs")),
    };
    let places = [format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")];
    places.into_iter().find(|place| sources.contains_key(place))
}

/// The largest sets of files each of which leads to each other by arrows.
pub fn circles(arrows: &[Arrow]) -> BTreeSet<BTreeSet<&str>> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for arrow in arrows {
        next.entry(&arrow.from).or_default().push(&arrow.to);
    }
    let mut reached = BTreeMap::new();
    for from in next.keys().copied() {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(file) = open.pop() {
            open.extend(next.get(file).into_iter().flatten().filter(|to| seen.insert(**to)));
        }
        reached.insert(from, seen);
    }
    let leads_to = |from: &str, to: &str| reached.get(from).is_some_and(|seen| seen.contains(to));
    let circle_of = |file: &&str| reached[file].iter().copied().filter(|to| leads_to(to, file)).collect();
    next.keys().map(circle_of).filter(|circle: &BTreeSet<_>| !circle.is_empty()).collect()
}
