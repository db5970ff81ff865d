//! Answers to the routes.

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::answer::{Answer, Problem, quoted, to_json};
use super::cache::Cached;
use super::counts::Counts;
use super::large::{Asking, no_such_process};
use super::node_health::NodeHealth;
use super::readers::Readers;
use super::request::guard;
use super::request::route::Route;
use super::request::router::{PATHS, route};
use super::request::token::TokenFile;
use super::request::wire::Head;
use super::rooms::{Client, Rooms};
use super::writes;
use super::{metrics, page};
use crate::failpoint::{self, Point};
use crate::model::records::StatusCounts;
use crate::store::limits::usage::{LIMITS_PAGE_MAX, LimitFilter};
use crate::store::live::LiveExecution;
use crate::store::read::Listed;

/// Nodes on `/nodes`, the latest first: those that have ended are kept for a while, and every start is a new one.
const NODES_MAX: u32 = 200;

/// Schedules on one page, and times of one that are told.
const SCHEDULES_PAGE_MAX: u32 = 200;
const FIRINGS_MAX: u32 = 50;

/// Holders and waiting processes of one limit.
const LIMIT_ROWS_MAX: u32 = 200;

/// What this endpoint answers, as machines read it; a test holds it against the answers.
const OPENAPI: &str = include_str!("openapi.json");

/// What answers requests, whatever connection they came by.
pub(super) struct Service {
    readers: Readers,
    rooms: Arc<Rooms>,
    counts: Cached<Arc<Counted>>,
    health: Option<Arc<dyn NodeHealth>>,
    token: Option<TokenFile>,
    schema: String,
}

/// What all of `/status` but this node's own part is made of.
#[derive(Serialize)]
struct Status<'a> {
    version: &'static str,
    schema: &'a str,
    /// When it was counted.
    as_of: Timestamp,
    /// The same: nothing is left out of the counts. Earlier releases counted the history less often.
    history_counted_at: Timestamp,
    #[serde(flatten)]
    counts: StatusCounts,
}

/// What was counted, and as JSON, so that a thousand who poll cost one's work.
struct Counted {
    counts: Counts,
    json: Vec<u8>,
}

impl Service {
    pub fn new(
        readers: Readers,
        health: Option<Arc<dyn NodeHealth>>,
        token: Option<TokenFile>,
        schema: String,
    ) -> Self {
        Self { readers, rooms: Arc::new(Rooms::new()), counts: Cached::new(), health, token, schema }
    }

    /// Finds out what is asked for by a request that came in at the address `here`, and whether this client may.
    pub fn admit(&self, head: &Head, here: SocketAddr) -> Result<Route, Problem> {
        guard::check(head, here)?;
        let route = route(&head.method, &head.target)?;
        if let Route::Write(_) = route {
            self.token.as_ref().ok_or_else(writing_is_off)?.check(head)?;
            check_content_type(head)?;
        }
        Ok(route)
    }

    /// Answers a request that was admitted, or not.
    pub fn answer(&self, head: &Head, route: Result<Route, Problem>, body: &[u8], client: Client) -> Answer {
        failpoint::hit(Point::HttpAnswer);
        match route {
            Ok(Route::Write(write)) => {
                let answer = writes::answer(&self.readers, write, body);
                answer.unwrap_or_else(|problem| problem.detailed().into_answer())
            }
            Ok(route) => {
                let answer = match route {
                    Route::Index => index(head.header("accept")),
                    route => {
                        let (readers, rooms, known) =
                            (&self.readers, &self.rooms, head.header("if-none-match"));
                        self.handle(route, &Asking { readers, rooms, client, target: &head.target, known })
                    }
                };
                let answer = answer.unwrap_or_else(|problem| {
                    // Who shows the token on a reading call too is told all of it.
                    let is_trusted = problem.detail.is_some() && self.has_token(head);
                    if is_trusted { problem.detailed() } else { problem }.into_answer()
                });
                answer.tagged(head.header("if-none-match"))
            }
            Err(problem) => problem.into_answer(),
        }
    }

    fn has_token(&self, head: &Head) -> bool {
        let token = self.token.as_ref().filter(|_| head.header("authorization").is_some());
        token.is_some_and(|token| token.check(head).is_ok())
    }

    /// The bytes of large answers.
    pub fn rooms(&self) -> &Arc<Rooms> {
        &self.rooms
    }

    /// Joins the threads that ask the database, once they have been told to stop.
    pub fn join(&mut self) {
        self.readers.join();
    }

    fn handle(&self, route: Route, asking: &Asking<'_>) -> Result<Answer, Problem> {
        match route {
            Route::Write(_) => {
                Err(Problem::new(500, "internal_error", "a writing call was taken for a reading one"))
            }
            Route::Index => index(None),
            Route::Livez => Answer::ok(&json!({ "live": true })),
            Route::Readyz => self.readyz(),
            Route::Status => self.status(),
            Route::Processes(filter) => asking.processes(*filter),
            Route::Process { id } => asking.process(id),
            Route::Tasks { id, part } => asking.tasks(id, part),
            Route::Executions { id, part } => asking.executions(id, part),
            Route::Live { id } => self.live(id),
            Route::ProcessTypes { after } => asking.process_types(after),
            Route::OpenApi => Ok(Answer::json(OPENAPI.as_bytes())),
            Route::Metrics => self.metrics(),
            Route::Limits { after } => {
                let asked = after.clone();
                let limits = self.readers.ask(move |store| {
                    store.limits(LimitFilter { after: asked.as_deref(), ..LimitFilter::default() })
                })?;
                let is_full = limits.rows.len() + limits.unreadable.len() >= LIMITS_PAGE_MAX as usize;
                let next = limits.rows.last().filter(|_| is_full).map(|it| it.name.clone());
                Answer::ok(&json!({ "limits": limits.rows, "next": next }))
            }
            Route::Limit { name } => {
                let asked = name.clone();
                let limit = self.readers.ask(move |store| store.limit(&asked, LIMIT_ROWS_MAX))?;
                Answer::ok(&limit.ok_or_else(|| no_such_limit(&name))?)
            }
            Route::Batches(filter) => {
                let page = self.readers.ask(move |store| store.batches(&filter))?;
                let mut batches = json!(page.batches);
                for batch in batches.as_array_mut().into_iter().flatten().filter_map(|it| it.as_object_mut())
                {
                    // None were read: they are not told as none.
                    batch.remove("failures");
                }
                Answer::ok(&json!({ "batches": batches, "next": page.next }))
            }
            Route::Batch { name } => {
                let asked = name.clone();
                let batch = self.readers.ask(move |store| store.batch(&asked))?;
                Answer::ok(&batch.ok_or_else(|| no_such_batch(&name))?)
            }
            Route::Joblog { name, after, limit } => {
                let asked = name.clone();
                let read = self.readers.ask(move |store| {
                    let is_known = store.batch(&asked)?.is_some();
                    Ok(is_known.then_some(store.batch_joblog(&asked, &after, limit)?))
                })?;
                let (lines, next) = read.ok_or_else(|| no_such_batch(&name))?;
                Answer::ok(&json!({ "joblog": lines, "next": next.map(|it| it.to_string()) }))
            }
            Route::Schedules { after } => {
                let schedules = self
                    .readers
                    .ask(move |store| store.schedules_without_input(after.as_deref(), SCHEDULES_PAGE_MAX))?;
                let is_full =
                    schedules.rows.len() + schedules.unreadable.len() >= SCHEDULES_PAGE_MAX as usize;
                let next = schedules.rows.last().filter(|_| is_full).map(|it| it.name.clone());
                Answer::ok(&json!({ "schedules": schedules.rows, "next": next }))
            }
            Route::Schedule { name } => {
                let asked = name.clone();
                let (schedule, firings) = self.readers.ask(move |store| {
                    Ok((store.schedule(&asked)?, store.schedule_firings(&asked, FIRINGS_MAX)?))
                })?;
                let schedule = schedule.ok_or_else(|| no_such_schedule(&name))?;
                Answer::ok(&json!({ "schedule": schedule, "firings": firings }))
            }
            Route::Nodes => {
                let nodes = self.readers.ask(|store| store.nodes(NODES_MAX))?;
                list(&nodes, "nodes")
            }
        }
    }

    fn counted(&self) -> Result<Arc<Counted>, Problem> {
        self.counts.get(|| {
            let counts = self.readers.ask(Counts::read)?;
            let json = to_json(&Status {
                version: env!("CARGO_PKG_VERSION"),
                schema: &self.schema,
                as_of: counts.as_of,
                history_counted_at: counts.as_of,
                counts: counts.by_status(),
            })?;
            Ok(Arc::new(Counted { counts, json }))
        })
    }

    fn status(&self) -> Result<Answer, Problem> {
        let mut body = self.counted()?.json.clone();
        // The node's own part is of this very moment; the counts are of a second ago at the most, or of ten times
        // as long as counting takes.
        body.pop();
        body.extend_from_slice(b",\"node\":");
        body.extend_from_slice(&to_json(&self.node())?);
        body.push(b'}');
        Ok(Answer::json(body))
    }

    /// The node's own numbers always; the database's when it answers.
    fn metrics(&self) -> Result<Answer, Problem> {
        let counted = self.counted();
        let counts = counted.as_ref().map(|it| &it.counts).ok();
        Ok(metrics::answer(self.health.as_deref(), counts))
    }

    /// `null` for an endpoint without a node.
    fn node(&self) -> Value {
        self.health.as_ref().map_or(Value::Null, |it| {
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
        match &self.health {
            Some(health) if !health.is_ready() => {
                let reason =
                    health.problem().unwrap_or_else(|| "the node has not reached its database yet".into());
                return Err(Problem::new(503, "not_ready", reason));
            }
            Some(_) => {}
            None => drop(self.counted()?),
        }
        Answer::ok(&json!({ "ready": true }))
    }

    fn live(&self, id: String) -> Result<Answer, Problem> {
        let asked = id.clone();
        let live = self.readers.ask(move |store| {
            let live = store.live(&asked)?;
            // Its values, which may be megabytes, are not read for this.
            let is_known = live.is_some() || store.process_row(&asked)?.is_some();
            Ok(is_known.then_some(live))
        })?;
        let live = live.ok_or_else(|| no_such_process(&id))?;
        Answer::ok(&json!({ "live": live.as_ref().map(LiveExecution::to_value) }))
    }
}

fn no_such_batch(name: &str) -> Problem {
    Problem::new(
        404,
        "batch_not_found",
        format!("no batch has the name {}; /batches lists them", quoted(name)),
    )
}

fn no_such_schedule(name: &str) -> Problem {
    let message = format!("unknown schedule {}; /schedules lists them", quoted(name));
    Problem::new(404, "schedule_not_found", message)
}

fn no_such_limit(name: &str) -> Problem {
    Problem::new(404, "limit_not_found", format!("unknown limit {}; /limits lists them", quoted(name)))
}

fn writing_is_off() -> Problem {
    Problem::new(
        403,
        "writing_disabled",
        "this endpoint is for reading only: the node was started without --http-token-file",
    )
}

/// A page of another site can send forms and plain text unasked, JSON it can't.
fn check_content_type(head: &Head) -> Result<(), Problem> {
    let given = head.header("content-type").unwrap_or_default();
    if head.content_length == 0 && given.is_empty() {
        return Ok(()); // where a document is needed, its absence is told
    }
    let kind = given.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(
        415,
        "unsupported_media_type",
        format!("Content-Type is {}; send JSON as application/json", quoted(given)),
    ))
}

/// People get the page, programs the paths.
fn index(accept: Option<&str>) -> Result<Answer, Problem> {
    if accept.is_some_and(page::is_preferred) {
        return Ok(page::answer());
    }
    let paths: Vec<Value> =
        PATHS.iter().map(|(path, what)| json!({ "path": path, "answers": what })).collect();
    let mut answer = Answer::ok(
        &json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION"), "paths": paths }),
    )?;
    answer.headers.push(page::vary());
    Ok(answer)
}

/// A list with what is wrong with the rows of it that can't be read.
fn list<T: Serialize>(list: &Listed<T>, key: &str) -> Result<Answer, Problem> {
    let document = list.to_document(key);
    Answer::ok(&document.map_err(|cause| {
        Problem::new(500, "internal_error", format!("failed to write the answer: {cause}"))
    })?)
}
