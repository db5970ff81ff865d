//! Keeps the database's password from whoever else runs on this machine, the commands of tasks above all.

use super::global::GlobalOptions;
use crate::database::holds_password;
use crate::platform::secrecy;

/// Blanks a password on the command line and closes this process to others of the same user. First of all, while there
/// is one thread; what can't be done is told and no reason to stop.
pub fn keep(global: &GlobalOptions) {
    // Until here the arguments were readable for some milliseconds.
    if let Some(url) = global.database_url.as_deref().filter(|url| holds_password(url))
        && !secrecy::blank_argument(url.as_bytes())
    {
        log::warn!(
            "--database-url holds a password, which everybody on this machine can read (ps); give it in DATABASE_URL, \
             PGPASSWORD or ~/.pgpass"
        );
    }
    if let Err(error) = secrecy::close_to_others() {
        log::warn!("other processes of this user can read this one's memory and environment: {error}");
    }
}
