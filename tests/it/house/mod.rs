//! The house: imports run one way and in no circle, folders stay small enough to be looked through.

mod arrows;
mod words;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use arrows::{Arrow, Crate, Sources, circles};

/// Rooms from the ground up: nothing imports from a floor above its own.
const FLOORS: [&[&str]; 9] = [
    &["platform", "failpoint", "model"],
    &["database", "command"],
    &["store"],
    &["archive"],
    &["engine"],
    &["http", "bench", "orchestrator", "guide"],
    &["cli"],
    &["lib"],
    &["main"],
];

/// As many as fit on a screen.
const FILES_IN_FOLDER_MAX: usize = 20;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The folders below `path` with the files in each.
fn folders(path: &str, found: &mut Vec<(String, Vec<String>)>) {
    let entries = fs::read_dir(Path::new(ROOT).join(path)).unwrap().map(|entry| entry.unwrap());
    let mut files = Vec::new();
    for entry in entries {
        let name = format!("{path}/{}", entry.file_name().into_string().unwrap());
        match entry.file_type().unwrap().is_dir() {
            true if name.ends_with("__pycache__") => {}
            true => folders(&name, found),
            false => files.push(name),
        }
    }
    found.push((path.to_owned(), files));
}

/// All source files, and the arrows between them.
fn house() -> (Crate, Vec<Arrow>) {
    let mut all = Vec::new();
    folders("src", &mut all);
    let files = all.into_iter().flat_map(|(_, files)| files).filter(|file| file.ends_with(".rs"));
    let sources: Sources =
        files.map(|file| (file.clone(), fs::read_to_string(Path::new(ROOT).join(file)).unwrap())).collect();
    let house = Crate::read(&sources, "process_orchestrator");
    assert!(house.files().len() > 200, "only {} files are read", house.files().len());
    let arrows = house.arrows(&sources);
    (house, arrows)
}

/// A line for each arrow, in the order of files.
fn shown<'a>(arrows: impl Iterator<Item = &'a Arrow>) -> String {
    arrows.map(|arrow| format!("\n  {}   (from {})", arrow.shown, arrow.to)).collect()
}

fn show_circles(arrows: &[Arrow]) -> String {
    let inside = |circle: &BTreeSet<&str>| {
        let inside = |arrow: &&Arrow| circle.contains(&*arrow.from) && circle.contains(&*arrow.to);
        format!("\n{} files in a circle:{}", circle.len(), shown(arrows.iter().filter(inside)))
    };
    circles(arrows).iter().map(inside).collect()
}

/// How high the room of `file` lies.
fn floor(file: &str) -> usize {
    let room = file.split('/').nth(1).unwrap_or_default().trim_end_matches(".rs");
    let floor = FLOORS.iter().position(|rooms| rooms.contains(&room));
    floor.unwrap_or_else(|| panic!("{file} lies on no floor: FLOORS has no {room:?}"))
}

fn upward(arrows: &[Arrow]) -> String {
    shown(arrows.iter().filter(|arrow| floor(&arrow.from) < floor(&arrow.to)))
}

fn to_roots(house: &Crate, arrows: &[Arrow]) -> String {
    shown(arrows.iter().filter(|arrow| house.is_above(&arrow.to, &arrow.from)))
}

#[test]
fn no_files_import_from_each_other_in_a_circle() {
    let found = show_circles(&house().1);
    assert!(found.is_empty(), "{found}");
}

#[test]
fn imports_lead_down() {
    let found = upward(&house().1);
    assert!(found.is_empty(), "imports from a higher floor:{found}");
}

#[test]
fn the_root_of_a_folder_defines_nothing_that_its_files_import() {
    let (house, arrows) = house();
    let found = to_roots(&house, &arrows);
    assert!(found.is_empty(), "imports from the root of the file's own folder:{found}");
}

#[test]
fn folders_are_small() {
    let mut all = Vec::new();
    ["src", "sql", "tests"].iter().for_each(|top| folders(top, &mut all));
    // Migrations are one sequence, and none of them may be moved or joined with another.
    all.retain(|(folder, files)| files.len() > FILES_IN_FOLDER_MAX && !folder.ends_with("sql/migrations"));
    let found: String = all.iter().map(|(folder, files)| format!("\n  {folder}: {}", files.len())).collect();
    assert!(found.is_empty(), "folders of more than {FILES_IN_FOLDER_MAX} files:{found}");
}

#[test]
fn what_is_out_of_order_is_found_in_a_made_up_house() {
    let sources: Sources = [
        ("src/lib.rs", "pub mod model; mod store; pub mod cli; pub use model::Word as Said;"),
        ("src/main.rs", "fn main() { made_up::cli::main() }"),
        ("src/model/mod.rs", "pub mod word;\npub use word::{Word, Letter as Sign};\npub struct Text;"),
        (
            "src/model/word.rs",
            "use super::{Text, word};\npub struct Word(Text); pub struct Letter(word::Word);",
        ),
        ("src/store.rs", "mod row; mod list;\n#[cfg(test)]\nmod tests;\npub use list::lists;"),
        (
            "src/store/row.rs",
            "use crate::{\n  model::Sign,\n  Said,\n};\npub fn row() { super::list::lists(); }",
        ),
        (
            "src/store/list.rs",
            "use super::row::{self};\npub fn lists() { row::row(); crate::cli::out::print() }",
        ),
        ("src/store/tests.rs", "use crate::cli::main;"),
        ("src/cli/mod.rs", "pub mod out;\npub use out::*;\npub fn main() { crate::store::lists(); print() }"),
        (
            "src/cli/out.rs",
            "// use crate::store::list;\npub fn print() {}\n#[cfg(test)] mod tests { use crate::cli::main; }",
        ),
    ]
    .into_iter()
    .map(|(file, text)| (file.to_owned(), text.to_owned()))
    .collect();
    let house = Crate::read(&sources, "made_up");
    let arrows = house.arrows(&sources);
    let pairs: Vec<_> =
        arrows.iter().map(|arrow| format!("{} > {}", &arrow.from[4..], &arrow.to[4..])).collect();
    let expected = [
        "cli/mod.rs > store/list.rs",
        "lib.rs > model/word.rs",
        "main.rs > cli/mod.rs",
        "model/mod.rs > model/word.rs",
        "model/word.rs > model/mod.rs",
        "store.rs > store/list.rs",
        "store/list.rs > cli/out.rs",
        "store/list.rs > store/row.rs",
        "store/row.rs > model/word.rs",
        "store/row.rs > store/list.rs",
    ];
    assert_eq!(pairs, expected);
    assert_eq!(
        show_circles(&arrows),
        "\n2 files in a circle:\
         \n  src/model/mod.rs:2: pub use word::{Word, Letter as Sign};   (from src/model/word.rs)\
         \n  src/model/word.rs:1: use super::{Text, word};   (from src/model/mod.rs)\
         \n2 files in a circle:\
         \n  src/store/list.rs:2: pub fn lists() { row::row(); crate::cli::out::print() }   (from src/store/row.rs)\
         \n  src/store/row.rs:5: pub fn row() { super::list::lists(); }   (from src/store/list.rs)"
    );
    assert_eq!(
        upward(&arrows),
        "\n  src/store/list.rs:2: pub fn lists() { row::row(); crate::cli::out::print() }   (from src/cli/out.rs)"
    );
    assert_eq!(
        to_roots(&house, &arrows),
        "\n  src/model/word.rs:1: use super::{Text, word};   (from src/model/mod.rs)"
    );
}
