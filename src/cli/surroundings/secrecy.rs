//! Keeps the database's password from whoever else runs on this machine, the commands of tasks above all.

use crate::cli::options::global::GlobalOptions;
use crate::command::NODE_VARIABLE;
use crate::database::holds_password;
use crate::platform::secrecy;

/// The option that may hold a password.
const OPTION: &str = "--database-url";

/// Blanks a password on the command line and closes this process to others of the same user. First of all, while there
/// is one thread; what can't be done is told and no reason to stop.
pub fn keep(global: &GlobalOptions) {
    // Until here the arguments were readable for some milliseconds.
    if !global.database_url.as_deref().is_none_or(is_harmless) {
        log::warn!(
            "{OPTION} holds a password, which everybody on this machine can read (ps); give it in DATABASE_URL, \
             PGPASSWORD or ~/.pgpass"
        );
    }
    // A command of a node's has to stay open to that node's guard, which finds it by its environment. What it knows
    // its task has told it, and the shell that may have started it knows that as well.
    if std::env::var_os(NODE_VARIABLE).is_some() {
        return;
    }
    if let Err(error) = secrecy::close_to_others() {
        log::warn!("other processes of this user can read this one's memory and environment: {error}");
    }
}

/// The same for process 1 of a container, which only attends to the one that does the work: it has the same arguments
/// and environment, and nothing to say that the other does not say.
pub fn keep_as_init() {
    let mut arguments = std::env::args_os().map(|it| it.to_string_lossy().into_owned());
    while let Some(argument) = arguments.next() {
        let value = match argument.strip_prefix(OPTION) {
            Some("") => arguments.next(),
            Some(rest) => rest.strip_prefix('=').map(str::to_owned),
            None => None,
        };
        // What could not be blanked the other tells of, which has the same.
        _ = value.as_deref().is_none_or(is_harmless);
    }
    // What fails here fails in the other too, which tells it.
    drop(secrecy::close_to_others());
}

/// Whether the URL holds no password, or one that nobody can read any more.
fn is_harmless(url: &str) -> bool {
    !holds_password(url) || secrecy::blank_argument(url.as_bytes())
}
