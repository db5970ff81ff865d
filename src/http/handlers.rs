//! Answers to the routes.

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::NodeVitals;
use super::answer::{Answer, Problem, quoted, to_json};
use super::cache::Cached;
use super::guard;
use super::readers::Readers;
use super::router::{PATHS, Route, route};
use super::wire::Head;
use crate::failpoint::{self, Point};
use crate::model::records::StatusCounts;
use crate::store::read::{Listed, ProcessFilter};

/// Nodes on `/nodes`, the latest first: those that have ended are kept for a while, and every start is a new one.
const NODES_MAX: u32 = 200;

/// What answers requests, whatever connection they came by.
pub(super) struct Service {
    readers: Readers,
    counts: Cached<Arc<Counted>>,
    vitals: Option<Arc<dyn NodeVitals>>,
    schema: String,
}

/// What all of `/status` but this node's own part is made of.
#[derive(Serialize)]
struct Counted {
    version: &'static str,
    schema: String,
    /// When it was counted.
    as_of: Timestamp,
    #[serde(flatten)]
    counts: StatusCounts,
}

impl Service {
    pub fn new(readers: Readers, vitals: Option<Arc<dyn NodeVitals>>, schema: String) -> Self {
        Self { readers, counts: Cached::new(), vitals, schema }
    }

    /// Answers a request that came in at the address `here`.
    pub fn answer(&self, head: &Head, here: SocketAddr) -> Answer {
        failpoint::hit(Point::HttpAnswer);
        let answer = guard::check(head, here)
            .and_then(|()| route(&head.method, &head.target))
            .and_then(|route| self.handle(route));
        answer.unwrap_or_else(Problem::into_answer)
    }

    /// Joins the threads that ask the database, once they have been told to stop.
    pub fn join(&mut self) {
        self.readers.join();
    }

    fn handle(&self, route: Route) -> Result<Answer, Problem> {
        match route {
            Route::Index => index(),
            Route::Livez => Answer::ok(&json!({ "live": true })),
            Route::Readyz => self.readyz(),
            Route::Status => self.status(),
            Route::Processes(filter) => self.processes(filter),
            Route::Process { id } => self.process(id),
            Route::Tasks { id, output } => self.tasks(id, output),
            Route::Executions { id, output } => self.executions(id, output),
            Route::ProcessTypes => {
                let types = self.readers.ask(|store| store.process_types())?;
                list(&types, "process_types")
            }
            Route::Nodes => {
                let nodes = self.readers.ask(|store| store.nodes(NODES_MAX))?;
                list(&nodes, "nodes")
            }
        }
    }

    fn counted(&self) -> Result<Arc<Counted>, Problem> {
        self.counts.get(|| {
            let counts = self.readers.ask(|store| store.status())?;
            Ok(Arc::new(Counted {
                version: env!("CARGO_PKG_VERSION"),
                schema: self.schema.clone(),
                as_of: Timestamp::now(),
                counts,
            }))
        })
    }

    fn status(&self) -> Result<Answer, Problem> {
        let mut body = to_json(&*self.counted()?)?;
        // The node's own part is of this very moment; the counts are of a second ago at the most, or of ten times
        // as long as counting takes.
        body.pop();
        body.extend_from_slice(b",\"node\":");
        body.extend_from_slice(&to_json(&self.node())?);
        body.push(b'}');
        Ok(Answer::json(body))
    }

    /// `null` for an endpoint without a node.
    fn node(&self) -> Value {
        self.vitals.as_ref().map_or(Value::Null, |it| {
            json!({
                "node_id": it.node_id(),
                "name": it.node_name(),
                "executors": it.executors(),
                "busy": it.busy(),
                "ready": it.is_ready(),
                "problem": it.problem(),
            })
        })
    }

    /// Without a node, being ready means that the database answers.
    fn readyz(&self) -> Result<Answer, Problem> {
        match &self.vitals {
            Some(vitals) if !vitals.is_ready() => {
                let reason =
                    vitals.problem().unwrap_or_else(|| "the node has not reached its database yet".into());
                return Err(Problem::new(503, "not_ready", reason));
            }
            Some(_) => {}
            None => drop(self.counted()?),
        }
        Answer::ok(&json!({ "ready": true }))
    }

    fn processes(&self, filter: ProcessFilter) -> Result<Answer, Problem> {
        let page = self.readers.ask(move |store| store.processes(&filter))?;
        let next = page.next.map(|it| it.to_string());
        Answer::ok(&ProcessPage { processes: page.processes, next, unreadable: page.unreadable })
    }

    fn process(&self, id: String) -> Result<Answer, Problem> {
        let asked = id.clone();
        let process = self.readers.ask(move |store| store.process(&asked))?;
        Answer::ok(&process.ok_or_else(|| no_such_process(&id))?)
    }

    fn tasks(&self, id: String, output: bool) -> Result<Answer, Problem> {
        let asked = id.clone();
        let tasks = self.readers.ask(move |store| {
            if output { store.tasks(&asked) } else { store.tasks_without_output(&asked) }
        })?;
        if tasks.is_empty() && tasks.unreadable.is_empty() {
            return Err(no_such_process(&id)); // every process has tasks
        }
        Answer::ok(&Tasks { tasks: Rows { rows: tasks.rows, output }, unreadable: tasks.unreadable })
    }

    fn executions(&self, id: String, output: bool) -> Result<Answer, Problem> {
        let asked = id.clone();
        let executions = self.readers.ask(move |store| {
            let found =
                if output { store.executions(&asked)? } else { store.executions_without_output(&asked)? };
            let is_known =
                !found.is_empty() || !found.unreadable.is_empty() || store.process(&asked)?.is_some();
            Ok(is_known.then_some(found))
        })?;
        let executions = executions.ok_or_else(|| no_such_process(&id))?;
        let Listed { rows, unreadable } = executions;
        Answer::ok(&Executions { executions: Rows { rows, output }, unreadable })
    }
}

fn index() -> Result<Answer, Problem> {
    let paths: Vec<Value> =
        PATHS.iter().map(|(path, what)| json!({ "path": path, "answers": what })).collect();
    Answer::ok(
        &json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION"), "paths": paths }),
    )
}

fn no_such_process(id: &str) -> Problem {
    Problem::new(
        404,
        "process_not_found",
        format!("no such process: {}; /processes lists those that exist", quoted(id)),
    )
}

/// A list with what is wrong with the rows of it that can't be read.
fn list<T: Serialize>(list: &Listed<T>, key: &str) -> Result<Answer, Problem> {
    let document = list.to_document(key);
    Answer::ok(&document.map_err(|cause| {
        Problem::new(500, "internal_error", format!("failed to write the answer: {cause}"))
    })?)
}

#[derive(Serialize)]
struct ProcessPage<T> {
    processes: Vec<T>,
    next: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<String>,
}

#[derive(Serialize)]
struct Tasks<T: Serialize> {
    tasks: Rows<T>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<String>,
}

#[derive(Serialize)]
struct Executions<T: Serialize> {
    executions: Rows<T>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<String>,
}

/// Rows whose `output` was not asked for have no such key: null would say that there was no output.
struct Rows<T> {
    rows: Vec<T>,
    output: bool,
}

impl<T: Serialize> Serialize for Rows<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.output {
            return self.rows.serialize(serializer);
        }
        let mut rows = serde_json::to_value(&self.rows).map_err(serde::ser::Error::custom)?;
        for row in rows.as_array_mut().into_iter().flatten() {
            if let Value::Object(row) = row {
                row.shift_remove("output");
            }
        }
        rows.serialize(serializer)
    }
}
