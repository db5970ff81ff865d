//! The page at `/`: as it is sent, and as a real browser shows it.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use process_orchestrator::ProcessInputData;
use process_orchestrator::http::Endpoint;
use process_orchestrator::store::start::{StartOptions, StartRequest};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::common::wait_until;
use crate::http::{Client, Database, Reply, endpoint_alone, endpoint_on, get_ok};

const BROWSERS_ACCEPT: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn get_with(endpoint: &Endpoint, headers: &str) -> Reply {
    let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    Client::new(endpoint).send(&request).reply(true)
}

fn page(endpoint: &Endpoint) -> Reply {
    get_with(endpoint, &format!("Accept: {BROWSERS_ACCEPT}\r\n"))
}

fn header<'a>(reply: &'a Reply, name: &str) -> &'a str {
    let line = reply.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no {name} in {reply:?}"))
}

fn inside<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let start = text.find(before).unwrap_or_else(|| panic!("no {before:?} in {text}")) + before.len();
    let length = text[start..].find(after).unwrap_or_else(|| panic!("no {after:?} after {before:?}"));
    &text[start..start + length]
}

#[test]
fn people_get_the_page_and_programs_the_paths() {
    let (endpoint, _) = endpoint_alone();
    let reply = page(&endpoint);
    assert_eq!(reply.status, 200, "{}", reply.head);
    for (name, value) in [
        ("Content-Type", "text/html; charset=utf-8"),
        ("X-Frame-Options", "DENY"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Vary", "Accept"),
        ("Cache-Control", "no-cache"),
    ] {
        assert_eq!(header(&reply, name), value, "{}", reply.head);
    }
    let known = format!("Accept: {BROWSERS_ACCEPT}\r\nIf-None-Match: {}\r\n", header(&reply, "ETag"));
    let again = get_with(&endpoint, &known);
    assert_eq!((again.status, &*again.body), (304, ""));
    assert!(header(&again, "Content-Security-Policy").contains("script-src"));
    for headers in ["", "Accept: */*\r\n", "Accept: application/json\r\n"] {
        let reply = get_with(&endpoint, headers);
        assert_eq!(reply.json()["name"], "process-orchestrator", "{headers}");
        assert_eq!(header(&reply, "Vary"), "Accept");
    }
}

#[test]
fn the_page_asks_nobody_else_and_runs_nothing_else() {
    let (endpoint, _) = endpoint_alone();
    let reply = page(&endpoint);
    let policy = header(&reply, "Content-Security-Policy");
    for (tag, directive) in [("style", "style-src"), ("script", "script-src")] {
        let text = inside(&reply.body, &format!("<{tag}>"), &format!("</{tag}>"));
        let hash = BASE64_STANDARD.encode(Sha256::digest(text));
        assert!(policy.contains(&format!("; {directive} 'sha256-{hash}'")), "{directive}: {policy}");
        assert_eq!(reply.body.matches(&format!("<{tag}")).count(), 1, "one {tag}");
    }
    assert!(policy.starts_with("default-src 'none'; connect-src 'self';"), "{policy}");
    for rest in ["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(rest), "{rest}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    // The name of SVG looks like an address and is none.
    let page = reply.body.replace("http://www.w3.org/2000/svg", "");
    for outside in
        ["http:", "https:", "src=", "@import", "url(", "innerHTML", "outerHTML", "insertAdjacent", "eval("]
    {
        assert!(!page.contains(outside), "{outside} in the page");
    }
}

#[test]
fn one_execution_and_what_a_running_command_prints_can_be_asked_for() {
    let database = Database::new();
    database.start_processes(2);
    database.sql(FILL);
    let endpoint = endpoint_on(&database);
    let ran = |query: &str| {
        let found = get_ok(&endpoint, &format!("/processes/a%2F1/executions?{query}"));
        let found = found["executions"].as_array().unwrap().iter();
        found.map(|it| (it["task_index"].clone(), it["attempt"].clone())).collect::<Vec<(Value, Value)>>()
    };
    let at = |task: u32, attempt: u32| (json!(task), json!(attempt));
    assert_eq!(ran(""), [at(0, 1), at(0, 2), at(1, 1)]);
    assert_eq!(ran("task=0"), [at(0, 1), at(0, 2)]);
    assert_eq!(ran("attempt=1"), [at(0, 1), at(1, 1)]);
    assert_eq!(ran("task=0&attempt=2&output=false"), [at(0, 2)]);
    assert!(ran("task=7").is_empty() && ran("attempt=2147483647").is_empty());
    for (query, remedy) in [("task=-1", "from 0 to"), ("task=first", "from 0 to"), ("attempt=0", "from 1 to")]
    {
        let reply = Client::new(&endpoint).get(&format!("/processes/a%2F1/executions?{query}"));
        assert_eq!((reply.status, reply.message().contains(remedy)), (400, true), "{reply:?}");
    }
    let live = get_ok(&endpoint, "/processes/a%2F1/live");
    assert_eq!((&live["live"]["task_index"], &live["live"]["attempt"]), (&json!(1), &json!(2)));
    assert_eq!(live["live"]["output"], json!("of é\u{FFFD}<b>"), "halves of characters are not shown");
    assert_eq!(get_ok(&endpoint, "/processes/a%2F2/live"), json!({ "live": null }));
    assert_eq!(Client::new(&endpoint).get("/processes/nobody/live").code(), "process_not_found");
}

/// `a/1` runs its second task again, after an attempt that failed. The node is heard of for as long as a browser may
/// take to start. The tail begins and ends within characters.
const FILL: &str = "
    INSERT INTO nodes (node_id, name, host, pid, version, executors, lease_seconds, last_heartbeat)
        VALUES ('n-1', 'here', 'h', 1, '0', 4, 300, now() + interval '1 hour');
    UPDATE processes SET status = 'IN_PROGRESS', started_at = now(), current_task_index = 1 WHERE process_id = 'a/1';
    UPDATE scheduled_tasks SET picked = true, picked_by = 'n-1', version = 2 WHERE task_instance = 'a/1';
    UPDATE tasks SET status = CASE task_index WHEN 0 THEN 'COMPLETED' ELSE 'IN_PROGRESS' END, attempt = 2,
        started_at = now() WHERE process_id = 'a/1';
    INSERT INTO task_executions (process_id, task_index, attempt, node_id, command, outcome, exit_code, started_at,
        completed_at, duration_ms, output, output_bytes)
    VALUES ('a/1', 0, 1, 'n-1', 'true', 'FAILED', 1, now(), now(), 1.5, 'x', 1),
        ('a/1', 0, 2, 'n-1', 'true', 'SUCCEEDED', 0, now(), now(), 1.5, 'said by the second', 18),
        ('a/1', 1, 1, 'n-1', 'true', 'FAILED', 1, now(), now(), 1.5, 'x', 1);
    INSERT INTO live_output (process_id, task_index, attempt, node_id, started_at, updated_at, output_bytes, tail)
    VALUES ('a/1', 1, 2, 'n-1', now(), now(), 99, '\\xa96f6620c3a9003c623ec3');";

/// What would do harm if it got into the page as anything but text.
const HOSTILE: &str = "<img src=x onerror=\"document.title='harmed'\">\u{202e}";

/// A browser is no part of what `scripts/test` installs: where there is none, its tests are left out.
fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome-headless-shell"];
    let found = std::env::split_paths(&path).flat_map(|place| names.map(|name| place.join(name)));
    let found = found.into_iter().find(|it| it.is_file());
    if found.is_none() {
        crate::common::leave_out("no Chromium is installed");
    }
    found
}

/// The document as it is some seconds of the page's own time after it was opened.
fn shown(browser: &PathBuf, database: &Database, address: SocketAddr, place: &str) -> String {
    let profile = std::env::temp_dir().join(format!("{}-browser", database.schema));
    let mut command = Command::new(browser);
    command.args([
        "--headless",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
    ]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.args(["--virtual-time-budget=4000", "--dump-dom", "--window-size=1200,900"]);
    if process_orchestrator::platform::files::effective_uid() == 0 {
        command.arg("--no-sandbox"); // it refuses to run as root with one
    }
    command.arg(format!("--user-data-dir={}", profile.display()));
    command.arg(format!("http://{address}/{place}"));
    command.env("HOME", std::env::temp_dir()).process_group(0);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let reading = thread::spawn(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).map(|_| text)
    });
    let group = format!("-{}", child.id());
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_until("the browser has ended", || child.try_wait().unwrap())
    }));
    // What it has left behind, or all of it; there may be nothing.
    let _ = process_orchestrator::platform::processes::kill()
        .args(["-KILL", &group])
        .stderr(Stdio::null())
        .status();
    let status = ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let text = reading.join().unwrap().unwrap();
    let removed = fs::remove_dir_all(&profile);
    assert!(status.success() && text.contains("</html>"), "{status}, {removed:?}: {text}");
    text
}

fn content<'a>(document: &'a str, id: &str) -> &'a str {
    let place = document.find(&format!("id=\"{id}\"")).unwrap_or_else(|| panic!("no {id} in {document}"));
    let rest = &document[place..];
    let start = rest.find('>').unwrap() + 1;
    &rest[start..start + rest[start..].find("</").unwrap()]
}

#[test]
fn a_browser_shows_counts_lists_and_hostile_texts_as_texts() {
    let Some(browser) = browser() else { return };
    let database = Database::new();
    database.start_processes(3);
    let request = StartRequest { input: ProcessInputData::new(), process_id: Some(HOSTILE.to_owned()) };
    database.store().start_processes("a", &[request], StartOptions::default()).unwrap();
    database.sql(FILL);
    database.sql(&format!(
        "UPDATE processes SET status = 'FAILED', started_at = now(), completed_at = now(), error_message = $x${HOSTILE}$x$
            WHERE process_id = $x${HOSTILE}$x$;
         DELETE FROM scheduled_tasks WHERE task_instance = $x${HOSTILE}$x$"
    ));
    let endpoint = endpoint_on(&database);
    let document = shown(&browser, &database, endpoint.address(), "");
    for (id, expected) in [
        ("n-running", "1"),
        ("n-due", "2"),
        ("n-later", "0"),
        ("n-completed", "0"),
        ("n-failed", "1"),
        ("n-busy", "on 4 executors"),
    ] {
        assert_eq!(content(&document, id), expected, "{id} in {document}");
    }
    let running = inside(&document, "id=\"running\"", "</tbody>");
    for part in ["#/p/a%2F1", ">a/1<", ">second, 2 of 2<", ">here<"] {
        assert!(running.contains(part), "{part} in {running}");
    }
    assert!(document.contains("<title>Process Orchestrator</title>"), "{document}");
    is_harmless(&document);
    assert!(inside(&document, "id=\"failed\"", "</tbody>").contains("‹U+202E›"), "{document}");
    assert!(!document.contains("role=\"alert\">"), "no trouble: {document}");
}

#[test]
fn a_browser_shows_limits_and_which_one_a_process_waits_for() {
    let Some(browser) = browser() else { return };
    let database = Database::new();
    database.store().register(&crate::commands::limits::train()).unwrap();
    crate::commands::limits::fill(&mut database.client());
    let endpoint = endpoint_on(&database);
    let document = shown(&browser, &database, endpoint.address(), "");
    let limits = inside(&document, "id=\"limits\"", "</tbody>");
    for part in [">vram<", ">type:train:config.customer<", ">no bound<"] {
        assert!(limits.contains(part), "{part} in {limits}");
    }
    assert_eq!(content(&document, "n-limited"), "besides, 3 wait for limits");
    let list = inside(&document, "id=\"list\"", "</tbody>");
    assert!(list.contains("waits for limit vram (max 2)"), "{list}");
    let process = shown(&browser, &database, endpoint.address(), "#/p/a2");
    let facts = inside(&process, "id=\"p-facts\"", "</dl>");
    assert!(facts.contains("limit type:train:config.customer=acme (max 1)"), "{facts}");
}

#[test]
fn a_browser_shows_a_process_with_its_tasks_and_what_it_prints() {
    let Some(browser) = browser() else { return };
    let database = Database::new();
    database.start_processes(1);
    database.sql(FILL);
    database.sql(&format!(
        "UPDATE processes SET process_context = jsonb_build_object('k', $x${HOSTILE}$x$::text)"
    ));
    let endpoint = endpoint_on(&database);
    let document = shown(&browser, &database, endpoint.address(), "#/p/a%2F1");
    assert_eq!(content(&document, "p-id"), "a/1");
    let tasks = inside(&document, "id=\"tasks\"", "</tbody>");
    for part in ["1. first", "2. second", "COMPLETED", "IN_PROGRESS", ">here<"] {
        assert!(tasks.contains(part), "{part} in {tasks}");
    }
    assert_eq!(content(&document, "output"), "of é\u{FFFD}&lt;b&gt;", "the running command's: {document}");
    assert_eq!(inside(&document, "id=\"gantt\"", "</svg>").matches("<rect").count(), 4, "{document}");
    is_harmless(&document);
    assert!(content(&document, "p-context").contains("&lt;img src=x"), "{document}");
}

#[test]
fn a_browser_lists_type_and_note_tells_an_error_once_and_a_zone_with_each_time() {
    let Some(browser) = browser() else { return };
    let database = Database::new();
    database.start_processes(4);
    database.sql(FILL);
    database.sql(
        "UPDATE processes SET status = 'FAILED', started_at = now(), completed_at = now(),
            error_message = 'task \"first\" failed: disk full' WHERE process_id = 'a/2';
         UPDATE tasks SET status = 'FAILED', attempt = 1, started_at = now(), completed_at = now(),
            error_message = 'disk full' WHERE process_id = 'a/2' AND task_index = 0;
         INSERT INTO task_executions (process_id, task_index, attempt, node_id, command, outcome, exit_code, started_at,
            completed_at, duration_ms, output, output_bytes, error_message)
         VALUES ('a/2', 0, 1, 'n-1', 'true', 'FAILED', 1, now(), now(), 1.5, 'x', 1, 'disk full');
         DELETE FROM scheduled_tasks WHERE task_instance = 'a/2';
         UPDATE scheduled_tasks SET execution_time = now() + interval '1 day' WHERE task_instance = 'a/3'",
    );
    let endpoint = endpoint_on(&database);
    let document = shown(&browser, &database, endpoint.address(), "");
    let list = inside(&document, "id=\"list\"", "</tbody>");
    let rows: Vec<&str> = list.split("</tr>").collect();
    let row =
        |id: &str| rows.iter().find(|it| it.contains(&format!(">{id}<"))).unwrap_or_else(|| panic!("{list}"));
    for (id, note) in [
        ("a/1", ">on here<"),
        ("a/2", "failed: disk full<"),
        ("a/3", ">due "),
        ("a/4", ">waits for a free executor<"),
    ] {
        assert!(row(id).contains(note) && row(id).contains("data-name=\"Type\">a<"), "{id}: {}", row(id));
    }
    // The browser's own zone, whatever that is called here.
    let created = row("a/1").split("data-name=\"Created\">").nth(1).unwrap();
    let time = created.split('<').next().unwrap();
    assert!(time.split_once(' ').is_some_and(|(_, zone)| zone.contains(char::is_alphabetic)), "{time}");
    let document = shown(&browser, &database, endpoint.address(), "#/p/a%2F2");
    assert_eq!(document.matches("disk full<").count(), 1, "{document}");
    let tasks = inside(&document, "id=\"tasks\"", "</tbody>");
    let pressed: Vec<&str> =
        tasks.split("aria-pressed=\"").skip(1).map(|it| it.split('"').next().unwrap()).collect();
    assert_eq!(pressed, ["true"], "{document}");
}

#[test]
fn a_browser_without_processes_says_what_to_type() {
    let Some(browser) = browser() else { return };
    let database = Database::new();
    let endpoint = endpoint_on(&database);
    let document = shown(&browser, &database, endpoint.address(), "");
    assert!(content(&document, "list-none").contains("process-orchestrator run FILE"), "{document}");
    let document = shown(&browser, &database, endpoint.address(), "#/?status=FAILED&metadata.a+b=");
    assert_eq!(content(&document, "list-none"), "No process is like that: change the filters.");
    // The pair stands in its field as it is in the address.
    assert!(document.contains("<details id=\"more\" open"), "{document}");
}

fn is_harmless(document: &str) {
    assert!(document.contains("&lt;img src=x"), "the hostile text is shown: {document}");
    assert!(!document.contains("<img") && !document.contains("<title>harmed"), "{document}");
}

#[test]
fn a_browser_tells_that_nothing_runs_and_that_the_database_is_gone() {
    let Some(browser) = browser() else { return };
    let database = Database::new();
    let endpoint = endpoint_on(&database);
    let document = shown(&browser, &database, endpoint.address(), "");
    assert_eq!(content(&document, "health"), "no node is running");
    assert!(document.contains("<title>⚠ Process Orchestrator</title>"), "{document}");
    let (endpoint, _source): (Endpoint, Arc<_>) = endpoint_alone();
    let document = shown(&browser, &database, endpoint.address(), "");
    assert_eq!(content(&document, "health"), "the database can't be asked");
    assert!(content(&document, "trouble").contains("can't be reached"), "{document}");
}
