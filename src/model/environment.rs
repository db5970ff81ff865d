//! Names of environment variables that mean something to the orchestrator.

/// Beginnings of names that carry the orchestrator's own access: libpq's settings and our own.
const PRIVATE_PREFIXES: [&str; 2] = ["PG", "PROCESS_ORCHESTRATOR_"];

/// Of these a task may set its own: what its commands work on is its affair.
const DATABASE: &str = "DATABASE_URL";

/// systemd's words to its direct child: a command that heeds them would speak in our name.
const OF_SYSTEMD: [&str; 15] = [
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "CREDENTIALS_DIRECTORY",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "MAINPID",
    "MANAGERPID",
    "SYSTEMD_EXEC_PID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
];

/// What every command is given, and what it says; an outer orchestrator's, whose command we are, is not passed on.
const OF_TASK: [(&str, &str); 6] = [
    ("PROCESS_ID", "${process_id}"),
    ("PROCESS_TYPE", "${process_type}"),
    ("TASK_NAME", "${task_name}"),
    ("TASK_INDEX", "$TASK_INDEX in a script"),
    ("TASK_ATTEMPT", "$TASK_ATTEMPT in a script"),
    ("PROCESS_CONTEXT_FILE", "$PROCESS_CONTEXT_FILE in a script"),
];

/// By these the node finds what its commands have started.
const TAGS: [&str; 2] = ["PROCESS_ORCHESTRATOR_NODE", "PROCESS_ORCHESTRATOR_EXECUTION"];

/// Whether a variable of the node's environment is kept from its commands.
pub fn is_private(name: &str) -> bool {
    name == DATABASE
        || OF_SYSTEMD.contains(&name)
        || PRIVATE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || variable_of_task(name).is_some()
}

/// Whether the orchestrator sets it for every command, so that no task can.
pub fn is_reserved(name: &str) -> bool {
    TAGS.contains(&name) || variable_of_task(name).is_some()
}

/// Why a task's environment can't hold this name, and what to do; `None` if it can. Those of libpq it can: a command may
/// work on another database than its node does.
pub fn why_reserved(name: &str) -> Option<(&'static str, &'static str)> {
    match name {
        _ if is_reserved(name) => {
            Some(("is set for every command by the orchestrator", "choose another name"))
        }
        _ if name.starts_with(PRIVATE_PREFIXES[1]) => Some((
            "is a setting of the orchestrator's own, which no task is to have",
            "choose another name; a command that is this program takes an option for each, such as --schema",
        )),
        _ if OF_SYSTEMD.contains(&name) => Some((
            "is what systemd tells the service it has started, which no command is",
            "choose another name; where a command has to see just this one, set it there: env NAME=VALUE PROGRAM",
        )),
        _ => None,
    }
}

/// Where a command is given this variable: how a document writes its value.
pub fn variable_of_task(name: &str) -> Option<&'static str> {
    OF_TASK.iter().find(|(own, _)| *own == name).map(|(_, variable)| *variable)
}
