//! Method, path and query become a [`Route`] or a refusal. Pure.

use tiny_http::Method;

use super::query::{self, decode};
use super::route::{Route, ScheduleVerb, TrailPart, Write};
use crate::http::answer::{Problem, quoted};
use crate::store::batches::{BatchFilter, JoblogPlace};

/// The paths, as `/` lists them.
pub(in crate::http) const PATHS: &[(&str, &str)] = &[
    ("/status", "counts of processes by status, the queue, the nodes, and this node"),
    (
        "/processes?status=&type=&include=&limit=&after=",
        "processes, newest first; give \"next\" as after for the next page; include=input,context has what they hold; also \
         filtered by node, started_since, started_before, finished_since, finished_before, id_prefix, search (a part of \
         the id) and metadata.KEY",
    ),
    ("/processes/{id}", "one process; percent-encode the id, its slashes too"),
    (
        "/processes/{id}/tasks?task=&output=&offset=&limit=&after=",
        "its tasks in their order; that of an index with its output; output=true has all outputs, in pages",
    ),
    (
        "/processes/{id}/executions?task=&attempt=&output=&offset=&limit=&after=",
        "its executions, the audit trail; one attempt of a task with its output; output=true has all outputs, in pages",
    ),
    ("/processes/{id}/live", "what its running command has printed so far, the end of it, or null"),
    ("/process-types?after=", "the registered process types; give \"next\" as after for the next page"),
    ("/limits?after=", "the limits on how many run at once; give \"next\" as after for the next page"),
    (
        "/limits/{name}",
        "one limit: who has its slots, and who waits; percent-encode the name, = and a key behind it too",
    ),
    (
        "/batches?state=&limit=&after=",
        "the batches, newest first, with how far each is; give \"next\" as after for the next page",
    ),
    (
        "/batches/{name}",
        "one batch: how far it is, how fast, and its failures by reason; percent-encode the name",
    ),
    (
        "/batches/{name}/joblog?limit=&after=",
        "its processes that have ended, in the order of their ends, in GNU parallel's columns; give \"next\" as after",
    ),
    (
        "/schedules?after=",
        "schedules: their times, what they have started and skipped; give \"next\" as after for the next page",
    ),
    ("/schedules/{id}", "one schedule, with what became of its last times; {id} is its name"),
    ("/nodes", "the latest nodes, those that have ended included"),
    ("/metrics", "the same and more for Prometheus"),
    ("/openapi.json", "all of this and the calls that need a token, as OpenAPI 3.1"),
    ("/livez", "200 while this endpoint answers; asks no database"),
    ("/readyz", "200 while this node takes work, else 503 with the reason"),
];

/// Batches on a page where no limit is said; lines of a joblog.
const BATCHES_PAGE: u32 = 100;
const JOBLOG_PAGE: u32 = 1000;

/// A path that exists: what may be done with it.
struct Place {
    read: Option<Route>,
    write: Option<Write>,
}

impl Place {
    fn to_read(route: Route) -> Option<Self> {
        Some(Self { read: Some(route), write: None })
    }

    fn to_write(write: Write) -> Option<Self> {
        Some(Self { read: None, write: Some(write) })
    }

    const fn methods(&self) -> &'static str {
        match (&self.read, &self.write) {
            (Some(_), Some(_)) => "GET, HEAD, POST",
            (None, Some(_)) => "POST",
            _ => "GET, HEAD",
        }
    }
}

/// Finds the route. An unknown path is told before a wrong method, and that before a wrong parameter.
pub(in crate::http) fn route(method: &Method, target: &str) -> Result<Route, Problem> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let place = place(path)?;
    let methods = place.methods();
    let route = match method {
        Method::Get | Method::Head => place.read,
        Method::Post => place.write.map(Route::Write),
        _ => None,
    };
    let mut route = route.ok_or_else(|| {
        Problem::new(
            405,
            "method_not_allowed",
            format!("{} {path} is nothing that can be asked for; use {}", method.as_str(), spoken(methods)),
        )
        .with_header("Allow", methods)
    })?;
    query::set_all(&mut route, path, query)?;
    Ok(route)
}

fn spoken(methods: &str) -> String {
    match methods.rsplit_once(", ") {
        Some((first, last)) => format!("{first} or {last}"),
        None => methods.to_owned(),
    }
}

fn place(path: &str) -> Result<Place, Problem> {
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/');
    let parts = [segments.next(), segments.next(), segments.next(), segments.next()];
    let place = match parts {
        _ if !path.starts_with('/') => None,
        [Some(name), None, ..] => top(name),
        [Some("limits"), Some(name), None, ..] if !name.is_empty() => {
            let name = decode_limit(name)?;
            Some(Place {
                read: Some(Route::Limit { name: name.clone() }),
                write: Some(Write::SetLimit { name }),
            })
        }
        [Some("batches"), Some(name), rest, None] if !name.is_empty() => of_batch(decode_batch(name)?, rest),
        [Some("schedules"), Some(name), rest, None] if !name.is_empty() => {
            of_schedule(decode_schedule(name)?, rest)
        }
        [Some("processes"), Some(id), rest, None] if !id.is_empty() => of_process(decode_id(id)?, rest),
        _ => None,
    };
    place.ok_or_else(|| {
        let hint = if path.starts_with("/processes/") { "; a slash within an id is written %2F" } else { "" };
        Problem::new(404, "not_found", format!("no such path: {}; / lists the paths{hint}", quoted(path)))
    })
}

fn top(name: &str) -> Option<Place> {
    Place::to_read(match name {
        "" => Route::Index,
        "status" => Route::Status,
        "process-types" => Route::ProcessTypes { after: None },
        "nodes" => Route::Nodes,
        "limits" => Route::Limits { after: None },
        "batches" => {
            let read = Some(Route::Batches(BatchFilter { limit: BATCHES_PAGE, ..BatchFilter::default() }));
            return Some(Place { read, write: Some(Write::StartBatch) });
        }
        "metrics" => Route::Metrics,
        "openapi.json" => Route::OpenApi,
        "livez" => Route::Livez,
        "readyz" => Route::Readyz,
        "schedules" => {
            let read = Some(Route::Schedules { after: None });
            return Some(Place { read, write: Some(Write::AddSchedule) });
        }
        "processes" => {
            let read = Some(Route::Processes(Box::default()));
            return Some(Place { read, write: Some(Write::Start) });
        }
        _ => return None,
    })
}

/// Below `/batches/{name}`.
fn of_batch(name: String, rest: Option<&str>) -> Option<Place> {
    match rest {
        None => Place::to_read(Route::Batch { name }),
        Some("joblog") => {
            Place::to_read(Route::Joblog { name, after: JoblogPlace::default(), limit: JOBLOG_PAGE })
        }
        Some("pause") => Place::to_write(Write::PauseBatch { name }),
        Some("resume") => Place::to_write(Write::ResumeBatch { name }),
        Some("cancel") => Place::to_write(Write::CancelBatch { name }),
        Some("retry") => Place::to_write(Write::RetryBatch { name }),
        Some(_) => None,
    }
}

/// Below `/processes/{id}`.
fn of_process(id: String, rest: Option<&str>) -> Option<Place> {
    match rest {
        None => Place::to_read(Route::Process { id }),
        Some("tasks") => Place::to_read(Route::Tasks { id, part: TrailPart::default() }),
        Some("executions") => Place::to_read(Route::Executions { id, part: TrailPart::default() }),
        Some("live") => Place::to_read(Route::Live { id }),
        Some("cancel") => Place::to_write(Write::Cancel { id }),
        Some("retry") => Place::to_write(Write::Retry { id }),
        Some(_) => None,
    }
}

/// Below `/schedules/{id}`.
fn of_schedule(name: String, rest: Option<&str>) -> Option<Place> {
    let verb = match rest {
        None => return Place::to_read(Route::Schedule { name }),
        Some("pause") => ScheduleVerb::Pause,
        Some("resume") => ScheduleVerb::Resume,
        Some("run-now") => ScheduleVerb::RunNow,
        Some("remove") => ScheduleVerb::Remove,
        Some(_) => return None,
    };
    Place::to_write(Write::Schedule { name, verb })
}

fn decode_schedule(segment: &str) -> Result<String, Problem> {
    decode(segment, false)
        .map_err(|problem| Problem::new(400, "bad_path", format!("schedule {}: {problem}", quoted(segment))))
}

fn decode_id(segment: &str) -> Result<String, Problem> {
    decode(segment, false).map_err(|problem| {
        Problem::new(400, "bad_path", format!("process id {}: {problem}", quoted(segment)))
    })
}

fn decode_batch(segment: &str) -> Result<String, Problem> {
    decode(segment, false)
        .map_err(|problem| Problem::new(400, "bad_path", format!("batch {}: {problem}", quoted(segment))))
}

fn decode_limit(segment: &str) -> Result<String, Problem> {
    decode(segment, false)
        .map_err(|problem| Problem::new(400, "bad_path", format!("limit {}: {problem}", quoted(segment))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::batch::data::BatchState;
    use crate::model::lifecycle::ProcessStatus;
    use crate::store::read::{Cursor, Include, ProcessFilter};

    fn get(target: &str) -> Result<Route, Problem> {
        route(&Method::Get, target)
    }

    fn refused(target: &str) -> (u16, &'static str, String) {
        let problem = get(target).expect_err(target);
        (problem.status, problem.code, problem.message)
    }

    fn filter(target: &str) -> ProcessFilter {
        match get(target) {
            Ok(Route::Processes(filter)) => *filter,
            other => panic!("{target}: {other:?}"),
        }
    }

    #[test]
    fn every_path_has_its_route() {
        let id = || "p-1".to_owned();
        let all = TrailPart::default();
        let executions = |part| Route::Executions { id: id(), part };
        let tasks = |part| Route::Tasks { id: id(), part };
        for (target, expected) in [
            ("/", Route::Index),
            ("/status", Route::Status),
            ("/status?", Route::Status),
            ("/process-types", Route::ProcessTypes { after: None }),
            ("/process-types?after=a+b", Route::ProcessTypes { after: Some("a b".into()) }),
            ("/nodes", Route::Nodes),
            ("/limits", Route::Limits { after: None }),
            ("/limits?after=gpu", Route::Limits { after: Some("gpu".into()) }),
            ("/limits/a%3Db", Route::Limit { name: "a=b".into() }),
            ("/batches/a%20b", Route::Batch { name: "a b".into() }),
            (
                "/batches?state=running,halted&limit=5&after=b",
                Route::Batches(BatchFilter {
                    states: vec![BatchState::Running, BatchState::Halted],
                    after: Some("b".into()),
                    limit: 5,
                }),
            ),
            (
                "/batches/b/joblog",
                Route::Joblog { name: "b".into(), after: JoblogPlace::default(), limit: JOBLOG_PAGE },
            ),
            ("/metrics", Route::Metrics),
            ("/openapi.json", Route::OpenApi),
            ("/livez", Route::Livez),
            ("/readyz", Route::Readyz),
            ("/processes", Route::Processes(Box::default())),
            ("/processes/p-1", Route::Process { id: id() }),
            ("/processes/p-1/tasks", tasks(all)),
            ("/processes/p-1/tasks?output=false", tasks(TrailPart { output: Some(false), ..all })),
            (
                "/processes/p-1/tasks?task=3&offset=7",
                tasks(TrailPart { task: Some(3), offset: Some(7), ..all }),
            ),
            ("/processes/p-1/executions", executions(all)),
            ("/processes/p-1/executions?output=&task=&attempt=", executions(all)),
            ("/processes/p-1/executions?output=true", executions(TrailPart { output: Some(true), ..all })),
            (
                "/processes/p-1/executions?task=0&attempt=2",
                executions(TrailPart { task: Some(0), attempt: Some(2), ..all }),
            ),
            (
                "/processes/p-1/executions?limit=5&after=12.3",
                executions(TrailPart { limit: Some(5), after: Some((12, 3)), ..all }),
            ),
            ("/processes/p-1/live", Route::Live { id: id() }),
        ] {
            assert_eq!(get(target), Ok(expected.clone()), "{target}");
            assert_eq!(route(&Method::Head, target), Ok(expected), "HEAD {target}");
        }
    }

    #[test]
    fn the_index_lists_paths_that_exist() {
        for (path, _) in PATHS {
            let target = path.replace("{id}", "p-1").replace("{name}", "gpu");
            assert!(get(&target).is_ok(), "{target}: {:?}", get(&target));
        }
    }

    #[test]
    fn other_paths_do_not_exist() {
        for target in [
            "",
            "*",
            "status",
            "//",
            "/Status",
            "/status/",
            "/status/x",
            "/processes/",
            "/processes//tasks",
            "/processes/a/b",
            "/processes/a/tasks/",
            "/processes/a/tasks/1",
            "/processes/a/tasks/1/2/3",
            "/%73tatus",
            "/../status",
            "/favicon.ico",
        ] {
            let (status, code, message) = refused(target);
            assert_eq!((status, code), (404, "not_found"), "{target}");
            assert!(message.contains("/ lists the paths"), "{message}");
        }
        assert!(refused("/processes/a/b").2.contains("%2F"));
    }

    #[test]
    fn ids_are_percent_decoded_within_their_segment() {
        for (segment, id) in [
            ("a%2Fb", "a/b"),
            ("a%2fb%3Fc", "a/b?c"),
            ("100%25", "100%"),
            ("a+b", "a+b"),
            ("a%20b", "a b"),
            ("%C3%A9", "é"),
            ("é", "é"),
            ("a%2Ftasks", "a/tasks"),
            ("..", ".."),
        ] {
            assert_eq!(
                get(&format!("/processes/{segment}")),
                Ok(Route::Process { id: id.into() }),
                "{segment}"
            );
            let tasks = get(&format!("/processes/{segment}/tasks"));
            assert_eq!(tasks, Ok(Route::Tasks { id: id.into(), part: TrailPart::default() }), "{segment}");
        }
        for segment in ["%", "%2", "%zz", "%+1", "%ff", "%C3", "a%00", "a%0Ab", "%1b[31m"] {
            let (status, code, message) = refused(&format!("/processes/{segment}"));
            assert_eq!((status, code), (400, "bad_path"), "{segment}");
            assert!(message.contains("process id"), "{message}");
        }
    }

    #[test]
    fn lists_take_filters() {
        let expected = ProcessFilter {
            batch: None,
            statuses: vec![ProcessStatus::Failed, ProcessStatus::InProgress],
            process_type: Some("a b/c&d".into()),
            node: Some("n 1".into()),
            started_since: "2026-01-01T00:00:00Z".parse().ok(),
            started_before: "2026-01-01T02:00:00+01:00".parse().ok(),
            finished_since: "2026-01-02T00:00:00.5Z".parse().ok(),
            finished_before: "2026-01-03T00:00:00Z".parse().ok(),
            metadata: [("order id", "7"), ("a.b", "x=y"), ("none", ""), ("lines", " a\n b ")]
                .map(|(key, value)| (key.to_owned(), value.into()))
                .into_iter()
                .collect(),
            id_prefix: Some("p-".into()),
            search: Some("0%_".into()),
            limit: 7,
            after: Cursor::parse("1700000000000000.p+1"),
            include: Include { input: false, context: true },
        };
        assert!(expected.after.is_some());
        let target = "/processes?status=failed,IN_PROGRESS&type=a+b%2Fc%26d&limit=7&after=1700000000000000.p%2B1\
                      &node=n+1&started_since=2026-01-01T00:00:00Z&started_before=2026-01-01T02:00:00+01:00\
                      &finished_since=2026-01-02T00:00:00.5Z&finished_before=2026-01-03T00:00:00%2B00:00\
                      &metadata.order+id=7&metadata.a.b=x=y\
                      &metadata.none=&metadata.lines=+a%0A+b+&id_prefix=p-&search=0%25_&include=context";
        assert_eq!(filter(target), expected);
        assert_eq!(filter("/processes?status=&type=&limit=&after="), ProcessFilter::default());
        assert_eq!(filter("/processes?&&limit=1000&"), ProcessFilter { limit: 1000, ..Default::default() });
    }

    #[test]
    fn bad_values_name_parameter_value_and_remedy() {
        for (query, parts) in [
            ("status=DONE", ["\"status\"", "\"DONE\"", "COMPLETED, FAILED"]),
            ("limit=0", ["\"limit\"", "\"0\"", "from 1 to 1000"]),
            ("limit=1001", ["\"limit\"", "\"1001\"", "from 1 to 1000"]),
            ("limit=-1", ["\"limit\"", "\"-1\"", "from 1 to 1000"]),
            ("limit=ten", ["\"limit\"", "\"ten\"", "from 1 to 1000"]),
            ("limit=99999999999", ["\"limit\"", "\"99999999999\"", "from 1 to 1000"]),
            ("after=p-1", ["\"after\"", "\"p-1\"", "\"next\""]),
            ("after=x.p-1", ["\"after\"", "\"x.p-1\"", "\"next\""]),
            ("limit=+1", ["\"limit\"", "\" 1\"", "from 1 to 1000"]),
            ("status=FAILED,,", ["\"status\"", "\"FAILED,,\"", "separated by commas"]),
            ("started_since=yesterday", ["\"started_since\"", "\"yesterday\"", "2026-12-01T08:00:00Z"]),
            (
                "finished_before=2026-13-01T00:00:00Z",
                ["\"finished_before\"", "2026-13", "2026-12-01T08:00:00Z"],
            ),
            ("limit=1&limit=2", ["\"limit\"", "more than once", "once"]),
            ("include=input,output", ["\"include\"", "\"input,output\"", "input, context"]),
            ("type=%zz", ["query", "\"%zz\"", "%25"]),
            ("type=%00", ["query", "\"%00\"", "control character"]),
            ("metadata.a=%00", ["query", "\"%00\"", "NUL"]),
        ] {
            let (status, code, message) = refused(&format!("/processes?{query}"));
            assert_eq!((status, code), (400, "bad_parameter"), "{query}");
            for part in parts {
                assert!(message.contains(part), "{query}: {part} is missing in {message}");
            }
        }
        for (query, part) in [
            ("tasks?output=no", "true or false"),
            ("tasks?offset=3", "give task too"),
            ("executions?task=1&offset=3", "give attempt too"),
            ("executions?after=3", "\"next\""),
            ("executions?limit=1001", "from 1 to 1000"),
        ] {
            let (status, _, message) = refused(&format!("/processes/p/{query}"));
            assert!(status == 400 && message.contains(part), "{query}: {message}");
        }
    }

    #[test]
    fn unknown_parameters_are_refused_with_the_known_ones() {
        let (status, code, message) = refused("/processes?state=FAILED");
        assert_eq!((status, code), (400, "unknown_parameter"));
        assert!(
            message.contains("\"state\"")
                && message.contains("status, type, node, ")
                && message.contains("metadata.KEY"),
            "{message}"
        );
        for target in
            ["/?a", "/status?a=1", "/livez?output=true", "/processes/p?output=true", "/nodes?limit=1"]
        {
            let (status, code, message) = refused(target);
            assert_eq!((status, code), (400, "unknown_parameter"), "{target}");
            assert!(message.contains("takes none"), "{message}");
        }
    }

    #[test]
    fn other_methods_are_refused_on_paths_that_exist() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "BREW"] {
            let method: Method = method.parse().expect("a token");
            let problem = route(&method, "/status?nonsense=1").expect_err(method.as_str());
            assert_eq!((problem.status, problem.code), (405, "method_not_allowed"), "{method}");
            assert!(problem.message.contains("GET or HEAD"), "{}", problem.message);
            assert_eq!(problem.header, Some(("Allow", "GET, HEAD")));
            assert_eq!(route(&method, "/nowhere").expect_err(method.as_str()).status, 404);
        }
        let problem = route(&Method::Put, "/processes").expect_err("PUT");
        assert!(problem.message.contains("GET, HEAD or POST"), "{}", problem.message);
        assert_eq!(problem.header, Some(("Allow", "GET, HEAD, POST")));
    }

    #[test]
    fn what_changes_something_is_known_as_such() {
        assert_eq!(route(&Method::Post, "/processes"), Ok(Route::Write(Write::Start)));
        let id = || "a/b".to_owned();
        let cancel = route(&Method::Post, "/processes/a%2Fb/cancel");
        assert_eq!(cancel, Ok(Route::Write(Write::Cancel { id: id() })));
        assert_eq!(
            route(&Method::Post, "/processes/a%2Fb/retry"),
            Ok(Route::Write(Write::Retry { id: id() }))
        );
        let problem = route(&Method::Get, "/processes/a/retry").expect_err("a reading one");
        assert_eq!((problem.status, problem.header), (405, Some(("Allow", "POST"))));
        let problem = route(&Method::Post, "/processes?status=FAILED").expect_err("a parameter");
        assert_eq!((problem.status, problem.code), (400, "unknown_parameter"));
    }
}
