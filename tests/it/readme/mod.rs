//! What README and guide show is so: their commands and queries run in their order and print what stands there, their
//! documents are valid, the example in Rust is the one that is run here. Every page is found, by links and by `help`.

mod example;
mod pages;
mod stage;

use std::fs;
use std::process::Command;

use process_orchestrator::engine::NodeConfig;
use process_orchestrator::{ProcessInputData, ProcessType, Schedule};
use serde_json::{Value, json};

use self::example::run_pipeline;
use self::pages::{Block, Page, README, blocks, blocks_in, checkout, guide, page, program, text};
use self::stage::{OwnDatabase, Stage, get};
use crate::common::wait_until;

#[test]
fn its_commands_and_queries_run_and_print_what_it_shows() {
    let mut stage = Stage::new();
    // The guide grants it something, and takes it back.
    let role = "DO $$ BEGIN CREATE ROLE web LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$";
    stage.database.client().batch_execute(role).unwrap();
    for block in blocks() {
        match block.language.as_str() {
            "console" => stage.run_console(&block),
            "json" => stage.save(&block),
            "sql" => stage
                .database
                .client()
                .batch_execute(&block.text)
                .unwrap_or_else(|error| panic!("{}:{}: {error:?}", block.file, block.line)),
            _ => {}
        }
    }
    let database = &stage.database;
    let open = "SELECT task_instance FROM process_orchestrator.scheduled_tasks ORDER BY 1";
    wait_until("what SQL has started has ended, but for what is due in a year", || {
        (database.texts(open) == ["orders-later"]).then_some(())
    });
    let failed = "SELECT process_id FROM process_orchestrator.processes WHERE status = 'FAILED'";
    assert_eq!(database.texts(failed), ["orders-report-1"]);

    // A partition is told of with its table.
    let tables = "SELECT relname::text FROM pg_class WHERE relnamespace = 'process_orchestrator'::regnamespace \
                  AND relkind IN ('r', 'p', 'v') AND NOT relispartition";
    let told = page("database");
    for table in database.texts(tables) {
        let row = |line: &str| line.starts_with("| `") && line.contains(&format!("`{table}`"));
        assert!(told.lines().any(row), "database.md does not tell of table {table}");
    }
    let states = "SELECT DISTINCT match[1] FROM pg_proc, regexp_matches(prosrc, 'PO[0-9]{3}', 'g') AS match";
    let told = page("starting");
    for state in database.texts(states) {
        assert!(told.contains(&format!("| `{state}` |")), "starting.md does not tell of SQLSTATE {state}");
    }
    let index: Value = serde_json::from_str(&get(stage.nodes[0].address, "/")).unwrap();
    let told = page("http");
    for path in index["paths"].as_array().unwrap() {
        let path = path["path"].as_str().unwrap();
        assert!(told.contains(&format!("`{path}`")), "http.md does not tell of path {path}");
    }
    stage.database.client().batch_execute("DROP ROLE web").unwrap();
    stage.end();
}

/// The commands that the program's own help lists.
fn commands() -> Vec<String> {
    let help = text(program(&["help"]).stdout);
    let listed = help.split("\nCommands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap();
    // Further in stands what of a sentence did not fit on its line.
    let listed = listed.lines().filter_map(|line| line.strip_prefix("  ")).filter(|it| !it.starts_with(' '));
    listed.map(|it| it.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn it_tells_of_every_command() {
    for name in commands() {
        let is_told = README.lines().any(|line| {
            line.starts_with("| `") && line.split('`').any(|it| it.split(' ').next() == Some(&name))
        });
        assert!(is_told, "README.md does not tell of the command {name}");
    }
}

/// Ten minutes are enough for it, and it leads to every page; so does `help`.
#[test]
fn it_is_short_and_every_page_is_linked_and_printed_by_help() {
    assert!(README.lines().count() <= 300, "README.md has {} lines", README.lines().count());
    let list = text(program(&["help"]).stdout);
    let refused = program(&["help", "nothing"]);
    assert_eq!(refused.status.code(), Some(2));
    let refusal = text(refused.stderr);
    for Page { name, text: page } in guide() {
        let link = format!("[{name}](src/guide/{name}.md)");
        assert!(README.contains(&format!("| {link} |")), "README.md does not link {name}.md");
        let title = page.lines().next().and_then(|line| line.strip_prefix("# ")?.split_once(": ")).unwrap().1;
        assert!(list.contains(&format!("{name:<15}{title}\n")), "{name} is not in\n{list}");
        assert!(refusal.contains(&name), "{name} is not in {refusal}");
        for topic in [&name, &name.replace('_', "-")] {
            let printed = program(&["help", topic]);
            assert_eq!(printed.status.code(), Some(0), "{topic}");
            let printed = text(printed.stdout);
            let shown: Vec<&str> = page.lines().filter(|line| !line.contains("]: ")).collect();
            assert!(printed.ends_with(&format!("{}\n", shown.join("\n").trim_end())), "{topic}: {printed}");
        }
    }
    assert_eq!(refusal.lines().next(), Some("error: invalid value 'nothing' for '[TOPIC]'"));
}

#[test]
fn help_prints_what_a_command_prints_of_itself() {
    let commands = commands();
    let all = commands.iter().map(|name| vec![name.as_str()]).chain([vec!["types", "register"], vec![]]);
    for words in all {
        let printed = text(program(&[&["help"], words.as_slice()].concat()).stdout);
        let own = text(program(&[words.as_slice(), &["--help"]].concat()).stdout);
        assert!(own.contains("Usage: process-orchestrator"), "{words:?}: {own}");
        assert!(printed.starts_with(&own), "{words:?}: {printed}");
    }
    let own = text(program(&["types", "register", "--help"]).stdout);
    assert_eq!(text(program(&["types", "help", "register"]).stdout), own);
    for words in
        [&["help", "types", "nothing"][..], &["help", "flow", "nothing"], &["types", "help", "nothing"]]
    {
        let refused = program(words);
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0), "{words:?}");
        assert!(text(refused.stderr).starts_with("error: no such command: \""), "{words:?}");
    }
    let topics = text(program(&["complete", "zsh", "process-orchestrator help "]).stdout);
    for (shell, script) in ["elvish", "powershell"]
        .map(|shell| (shell, text(program(&["completions", shell]).stdout)))
        .into_iter()
        .chain([("zsh", topics)])
    {
        assert!(script.contains("process_types") && script.contains("performance"), "{shell}: {script}");
    }
}

/// A link leads to a file of the checkout. On a page it is written `[flow]`, so that `help` prints a topic's name.
#[test]
fn their_links_lead_somewhere() {
    for target in README.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        let is_heading = target
            .strip_prefix('#')
            .is_some_and(|it| README.to_lowercase().contains(&format!("\n## {it}\n")));
        assert!(is_heading || checkout().join(target).is_file(), "README.md links {target}");
    }
    let pages = guide();
    for Page { name, text } in &pages {
        assert!(!text.contains("]("), "{name}.md has a link of another form");
        for topic in pages.iter().map(|page| &page.name) {
            let is_used = text.replace(&format!("\n[{topic}]: "), "").contains(&format!("[{topic}]"));
            let is_defined = text.contains(&format!("\n[{topic}]: {topic}.md\n"));
            assert_eq!(
                is_used, is_defined,
                "{name}.md: [{topic}] needs a definition below, and only if it is there"
            );
        }
    }
}

/// Every row of the faults names tests that there are, and no row is without.
#[test]
fn its_faults_are_tests() {
    let page = page("faults");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let mut count = 0;
    for row in rows.iter().filter(|row| !row.starts_with("| **") && !row.starts_with("|---")) {
        let tests: Vec<&str> = row.split('`').filter(|it| it.contains("::") && !it.contains(' ')).collect();
        assert!(!tests.is_empty(), "no test in {row}");
        for test in tests {
            let mut parts: Vec<&str> = test.split("::").collect();
            let name = parts.pop().unwrap();
            // A name need not say which folder of one subject the file lies in.
            let places = ["", "commands", "endpoint", "node", "servers"].map(|folder| {
                let file = checkout().join("tests/it").join(folder).join(parts.join("/"));
                if file.is_dir() { file.join("mod.rs") } else { file.with_extension("rs") }
            });
            let text = places.iter().find_map(|it| fs::read_to_string(it).ok());
            let text = text.unwrap_or_else(|| panic!("{test}: neither of {places:?} is there"));
            let is_there = text
                .split("#[test]")
                .skip(1)
                .any(|it| it.split("fn ").nth(1).is_some_and(|it| it.split('(').next() == Some(name)));
            assert!(is_there, "faults.md names the test {test}, which is not there");
            count += 1;
        }
    }
    assert!(count > 70, "only {count} tests");
}

#[test]
fn its_documents_are_valid() {
    let documents = blocks_in("json");
    assert!(documents.len() >= 4, "{documents:?}");
    for Block { file, line, text, .. } in documents {
        let source = format!("{file}:{line}");
        let document: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{source}: {error}"));
        let checked = if document.get("tasks").is_some() {
            ProcessType::from_json(&text, &source).map(drop)
        } else if document.get("command").is_some() {
            ProcessType::from_value(&json!({ "name": "one", "tasks": [document] }), &source).map(drop)
        } else if document.get("process_type").is_some() {
            Schedule::from_json(&text, &source).map(drop)
        } else {
            ProcessInputData::from_json(&text, &source).map(drop)
        };
        checked.unwrap_or_else(|faults| panic!("{faults}"));
    }
}

/// Rust's documentation takes a block without a language for Rust, and GitHub shows it without colours.
#[test]
fn its_blocks_say_what_they_are() {
    for Block { language, file, line, .. } in blocks() {
        let known = ["console", "json", "sql", "text", "rust,no_run"];
        assert!(known.contains(&language.as_str()), "{file}:{line}: {language:?}");
    }
}

/// The cells of a table's rows, without the two of its head.
fn cells(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

fn section<'t>(page: &'t str, heading: &str) -> &'t str {
    page.split(&format!("\n## {heading}\n")).nth(1).unwrap().split("\n## ").next().unwrap()
}

/// The page's figures are rows of what `scripts/performance` prints, and the README's are among them.
#[test]
fn its_figures_are_those_that_are_measured() {
    let listed = Command::new(checkout().join("scripts/performance")).arg("--names").output().unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let listed = format!("\n\n{}", text(listed.stdout)).replace("\n\n|", "|head|\n|---|\n|");
    // Mode, figure and limit of each row, and the figure's name in full.
    let mut known: Vec<([&str; 3], String)> = Vec::new();
    let mut first = "";
    for row in cells(&listed) {
        let [mode, figure, limit] = row[..] else { panic!("{row:?}") };
        let full = match figure.strip_prefix("… ") {
            Some(rest) => format!("{first}, {rest}"),
            None => figure.to_owned(),
        };
        first = if figure.starts_with('…') { first } else { figure };
        known.push(([mode, figure, limit], full));
    }
    let page = page("performance");
    let mut measured = Vec::new();
    for row in cells(section(&page, "Figures")) {
        let [mode, figure, limit, value, _] = row[..] else { panic!("{row:?}") };
        let full = known.iter().find(|it| it.0 == [mode, figure, limit]).map(|it| &it.1);
        measured
            .push((full.unwrap_or_else(|| panic!("scripts/performance prints no {row:?}")).as_str(), value));
    }
    let shown = cells(section(README, "Figures"));
    assert_eq!(shown.len(), 8);
    for row in shown {
        let [figure, value] = row[..] else { panic!("{row:?}") };
        assert!(measured.contains(&(figure, value)), "{row:?} is not in performance.md");
    }
}

#[test]
fn its_defaults_and_requirements_are_those_of_the_program() {
    let NodeConfig { heartbeat, dead_after, lease, drain_timeout, poll_interval, .. } = NodeConfig::default();
    let nodes = page("nodes");
    for (option, default) in [
        ("heartbeat", heartbeat),
        ("dead-after", dead_after),
        ("lease", lease),
        ("drain-timeout", drain_timeout),
        ("poll-interval", poll_interval),
    ] {
        let row = format!("| `--{option}` | {} s |", default.as_secs());
        assert!(nodes.contains(&row), "nodes.md has no row {row}");
    }
    assert!(README.contains(concat!("Rust ", env!("CARGO_PKG_RUST_VERSION"), " or newer")));
    let oldest = format!("PostgreSQL {} or newer", process_orchestrator::database::OLDEST_SERVER);
    assert!(README.contains(&oldest) && page("database").contains(&oldest));
}

#[test]
fn its_example_in_rust_is_this_one_and_runs() {
    let (_, example) = include_str!("example.rs").split_once("// --- starting.md ---\n").unwrap();
    let shown = blocks_in("rust,no_run");
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].text, example, "starting.md and tests/it/readme/example.rs have to say the same");

    let database = OwnDatabase::new();
    let folder = std::env::temp_dir().join(format!("{}-output", database.name));
    run_pipeline(&database.url(), folder.to_str().unwrap()).unwrap();
    let tasks = database.texts(
        "SELECT p.status || ' ' || t.name || ' ' || t.exit_code FROM process_orchestrator.processes p \
         JOIN process_orchestrator.tasks t USING (process_id) ORDER BY t.task_index",
    );
    let expected = ["load", "process", "generate", "analyze"].map(|name| format!("COMPLETED {name} 0"));
    assert_eq!(tasks, expected);
    assert!(folder.join("report.html").is_file());
    fs::remove_dir_all(&folder).unwrap();
}
