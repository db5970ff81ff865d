//! What a request asks for: method, path and query become a [`Route`] or a refusal. Pure.

use tiny_http::Method;

use super::answer::{Problem, quoted};
use crate::model::lifecycle::ProcessStatus;
use crate::store::read::{Cursor, PAGE_MAX, ProcessFilter};

/// The paths, as `/` lists them.
pub(super) const PATHS: &[(&str, &str)] = &[
    ("/status", "counts of processes by status, the queue, the nodes, and this node"),
    (
        "/processes?status=&type=&limit=&after=",
        "processes, newest first; give \"next\" as after for the next page",
    ),
    ("/processes/{id}", "one process; percent-encode the id, its slashes too"),
    ("/processes/{id}/tasks?output=", "its tasks in their order; output=false leaves their output out"),
    (
        "/processes/{id}/executions?output=",
        "its executions, the audit trail; output=false leaves their output out",
    ),
    ("/process-types", "the registered process types"),
    ("/nodes", "the latest nodes, those that have ended included"),
    ("/livez", "200 while this endpoint answers; asks no database"),
    ("/readyz", "200 while this node takes work, else 503 with the reason"),
];

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Index,
    Status,
    Processes(ProcessFilter),
    Process { id: String },
    Tasks { id: String, output: bool },
    Executions { id: String, output: bool },
    ProcessTypes,
    Nodes,
    Livez,
    Readyz,
}

/// Finds the route. An unknown path is told before a wrong method, and that before a wrong parameter.
pub(super) fn route(method: &Method, target: &str) -> Result<Route, Problem> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut route = path_route(path)?;
    if !matches!(method, Method::Get | Method::Head) {
        return Err(Problem::new(
            405,
            "method_not_allowed",
            format!("{} {path}: this endpoint is for reading only; use GET or HEAD", method.as_str()),
        ));
    }
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|it| !it.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode_query(name)?, decode_query(value)?);
        if seen.contains(&name) {
            return Err(bad_parameter(format!(
                "parameter {} is there more than once; give it once",
                quoted(&name)
            )));
        }
        set_parameter(&mut route, path, &name, &value)?;
        seen.push(name);
    }
    Ok(route)
}

fn path_route(path: &str) -> Result<Route, Problem> {
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/');
    let parts = [segments.next(), segments.next(), segments.next(), segments.next()];
    let route = match parts {
        _ if !path.starts_with('/') => None,
        [Some(""), None, ..] => Some(Route::Index),
        [Some("status"), None, ..] => Some(Route::Status),
        [Some("process-types"), None, ..] => Some(Route::ProcessTypes),
        [Some("nodes"), None, ..] => Some(Route::Nodes),
        [Some("livez"), None, ..] => Some(Route::Livez),
        [Some("readyz"), None, ..] => Some(Route::Readyz),
        [Some("processes"), None, ..] => Some(Route::Processes(ProcessFilter::default())),
        [Some("processes"), Some(id), None, _] if !id.is_empty() => {
            Some(Route::Process { id: decode_id(id)? })
        }
        [Some("processes"), Some(id), Some("tasks"), None] if !id.is_empty() => {
            Some(Route::Tasks { id: decode_id(id)?, output: true })
        }
        [Some("processes"), Some(id), Some("executions"), None] if !id.is_empty() => {
            Some(Route::Executions { id: decode_id(id)?, output: true })
        }
        _ => None,
    };
    route.ok_or_else(|| {
        let hint = if path.starts_with("/processes/") { "; a slash within an id is written %2F" } else { "" };
        Problem::new(404, "not_found", format!("no such path: {}; / lists the paths{hint}", quoted(path)))
    })
}

/// An empty value counts as not given, as a form sends it.
fn set_parameter(route: &mut Route, path: &str, name: &str, value: &str) -> Result<(), Problem> {
    let known: &[&str] = match route {
        Route::Processes(_) => &["status", "type", "limit", "after"],
        Route::Tasks { .. } | Route::Executions { .. } => &["output"],
        _ => &[],
    };
    if !known.contains(&name) {
        let remedy = if known.is_empty() {
            "it takes none".into()
        } else {
            format!("known are: {}", known.join(", "))
        };
        return Err(Problem::new(
            400,
            "unknown_parameter",
            format!("{path} has no parameter {}; {remedy}", quoted(name)),
        ));
    }
    if value.is_empty() {
        return Ok(());
    }
    match route {
        Route::Processes(filter) => set_filter(filter, name, value),
        Route::Tasks { output, .. } | Route::Executions { output, .. } => {
            *output = match value {
                "true" => true,
                "false" => false,
                _ => return Err(bad_value(name, value, "give true or false")),
            };
            Ok(())
        }
        _ => Ok(()),
    }
}

fn set_filter(filter: &mut ProcessFilter, name: &str, value: &str) -> Result<(), Problem> {
    match name {
        "status" => match ProcessStatus::parse(value) {
            Some(status) => filter.status = Some(status),
            None => {
                let all: Vec<&str> = ProcessStatus::ALL.iter().map(|it| it.as_str()).collect();
                return Err(bad_value(name, value, &format!("give one of {}", all.join(", "))));
            }
        },
        "type" => filter.process_type = Some(value.to_owned()),
        "limit" => match value.parse() {
            Ok(limit @ 1..=PAGE_MAX) => filter.limit = limit,
            _ => return Err(bad_value(name, value, &format!("give a number from 1 to {PAGE_MAX}"))),
        },
        _ => match Cursor::parse(value) {
            Some(cursor) => filter.after = Some(cursor),
            None => return Err(bad_value(name, value, "give what a page before gave as \"next\"")),
        },
    }
    Ok(())
}

fn decode_id(segment: &str) -> Result<String, Problem> {
    decode(segment, false).map_err(|problem| {
        Problem::new(400, "bad_path", format!("process id {}: {problem}", quoted(segment)))
    })
}

fn decode_query(text: &str) -> Result<String, Problem> {
    decode(text, true).map_err(|problem| bad_parameter(format!("in the query, {}: {problem}", quoted(text))))
}

/// Percent-decodes; in a query, `+` is a space. Nothing that is asked for here has control characters.
fn decode(text: &str, plus_is_space: bool) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = (rest.next().and_then(hex), rest.next().and_then(hex));
                let (Some(high), Some(low)) = digits else {
                    return Err("% is not followed by two hexadecimal digits; write a percent sign as %25");
                };
                high << 4 | low
            }
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 once decoded")?;
    if text.chars().any(char::is_control) {
        return Err("it holds a control character");
    }
    Ok(text)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|it| u8::try_from(it).ok())
}

fn bad_value(name: &str, value: &str, remedy: &str) -> Problem {
    bad_parameter(format!("parameter \"{name}\" is {}; {remedy}", quoted(value)))
}

fn bad_parameter(message: String) -> Problem {
    Problem::new(400, "bad_parameter", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(target: &str) -> Result<Route, Problem> {
        route(&Method::Get, target)
    }

    fn refused(target: &str) -> (u16, &'static str, String) {
        let problem = get(target).expect_err(target);
        (problem.status, problem.code, problem.message)
    }

    fn filter(target: &str) -> ProcessFilter {
        match get(target) {
            Ok(Route::Processes(filter)) => filter,
            other => panic!("{target}: {other:?}"),
        }
    }

    #[test]
    fn every_path_has_its_route() {
        let id = || "p-1".to_owned();
        for (target, expected) in [
            ("/", Route::Index),
            ("/status", Route::Status),
            ("/status?", Route::Status),
            ("/process-types", Route::ProcessTypes),
            ("/nodes", Route::Nodes),
            ("/livez", Route::Livez),
            ("/readyz", Route::Readyz),
            ("/processes", Route::Processes(ProcessFilter::default())),
            ("/processes/p-1", Route::Process { id: id() }),
            ("/processes/p-1/tasks", Route::Tasks { id: id(), output: true }),
            ("/processes/p-1/tasks?output=false", Route::Tasks { id: id(), output: false }),
            ("/processes/p-1/executions", Route::Executions { id: id(), output: true }),
            ("/processes/p-1/executions?output=", Route::Executions { id: id(), output: true }),
            ("/processes/p-1/executions?output=false", Route::Executions { id: id(), output: false }),
        ] {
            assert_eq!(get(target), Ok(expected.clone()), "{target}");
            assert_eq!(route(&Method::Head, target), Ok(expected), "HEAD {target}");
        }
    }

    #[test]
    fn the_index_lists_paths_that_exist() {
        for (path, _) in PATHS {
            let target = path.replace("{id}", "p-1");
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
            assert_eq!(tasks, Ok(Route::Tasks { id: id.into(), output: true }), "{segment}");
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
            status: Some(ProcessStatus::Failed),
            process_type: Some("a b/c&d".into()),
            limit: 7,
            after: Cursor::parse("1700000000000000.p+1"),
        };
        assert!(expected.after.is_some());
        let target = "/processes?status=failed&type=a+b%2Fc%26d&limit=7&after=1700000000000000.p%2B1";
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
            ("limit=1&limit=2", ["\"limit\"", "more than once", "once"]),
            ("type=%zz", ["query", "\"%zz\"", "%25"]),
            ("type=%00", ["query", "\"%00\"", "control character"]),
        ] {
            let (status, code, message) = refused(&format!("/processes?{query}"));
            assert_eq!((status, code), (400, "bad_parameter"), "{query}");
            for part in parts {
                assert!(message.contains(part), "{query}: {part} is missing in {message}");
            }
        }
        assert!(refused("/processes/p/tasks?output=no").2.contains("true or false"));
    }

    #[test]
    fn unknown_parameters_are_refused_with_the_known_ones() {
        let (status, code, message) = refused("/processes?state=FAILED");
        assert_eq!((status, code), (400, "unknown_parameter"));
        assert!(message.contains("\"state\"") && message.contains("status, type, limit, after"), "{message}");
        for target in
            ["/?a", "/status?a=1", "/livez?output=true", "/processes/p?output=true", "/nodes?limit=1"]
        {
            let (status, code, message) = refused(target);
            assert_eq!((status, code), (400, "unknown_parameter"), "{target}");
            assert!(message.contains("takes none"), "{message}");
        }
    }

    #[test]
    fn only_reading_methods_are_allowed_on_paths_that_exist() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "BREW"] {
            let method: Method = method.parse().expect("a token");
            let problem = route(&method, "/processes?nonsense=1").expect_err(method.as_str());
            assert_eq!((problem.status, problem.code), (405, "method_not_allowed"), "{method}");
            assert!(problem.message.contains("GET or HEAD"), "{}", problem.message);
            assert_eq!(route(&method, "/nowhere").expect_err(method.as_str()).status, 404);
        }
    }
}
