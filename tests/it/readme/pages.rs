//! README and guide, cut into their blocks.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

pub(super) const README: &str = include_str!("../../../README.md");
/// A page of the guide. Its name is the topic that `help` knows.
pub(super) struct Page {
    pub(super) name: String,
    pub(super) text: String,
}

/// The guide, by name.
pub(super) fn guide() -> Vec<Page> {
    let files = fs::read_dir(checkout().join("src/guide")).unwrap().map(|file| file.unwrap().path());
    let mut pages: Vec<Page> = files
        .filter(|path| path.extension().is_some_and(|it| it == "md"))
        .map(|path| Page {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            text: fs::read_to_string(&path).unwrap(),
        })
        .collect();
    assert!(pages.len() >= 12, "{}", pages.len());
    pages.sort_by(|a, b| a.name.cmp(&b.name));
    pages
}

pub(super) fn page(name: &str) -> String {
    guide().into_iter().find(|page| page.name == name).unwrap_or_else(|| panic!("no page {name}")).text
}

pub(super) fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(super) fn program(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_process-orchestrator")).args(words).output().unwrap()
}

pub(super) fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// A fenced block.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) language: String,
    pub(super) file: String,
    /// Of its first line inside.
    pub(super) line: usize,
    pub(super) text: String,
}

/// Those of the README, then those of the guide.
pub(super) fn blocks() -> Vec<Block> {
    let mut all = Vec::new();
    blocks_of("README.md", README, &mut all);
    for page in guide() {
        blocks_of(&format!("{}.md", page.name), &page.text, &mut all);
    }
    all
}

fn blocks_of(file: &str, text: &str, blocks: &mut Vec<Block>) {
    let mut open: Option<Block> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match (line.strip_prefix("```"), open.take()) {
            (Some(language), None) => {
                let (language, file) = (language.to_owned(), file.to_owned());
                open = Some(Block { language, file, line: number + 1, text: String::new() });
            }
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "not closed: {open:?}");
}

pub(super) fn blocks_in(language: &str) -> Vec<Block> {
    blocks().into_iter().filter(|block| block.language == language).collect()
}
