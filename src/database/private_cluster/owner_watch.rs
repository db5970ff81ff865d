//! Whose the files are, looked at for as long as somebody works with them: systemd gives a StateDirectory with all that is
//! in it to its service's user, whoever has a server running there.

use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::layout;
use crate::platform::files;

/// Soon enough to record what runs before the server has to open another file.
const EVERY: Duration = Duration::from_secs(1);

/// Looks until it is dropped.
#[derive(Debug)]
pub(super) struct OwnerWatch {
    /// Its end is the thread's.
    going_on: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl OwnerWatch {
    /// Tells `lost` once if the cluster is given to another user than `uid`.
    pub fn begin(cluster: PathBuf, uid: u32, lost: impl FnOnce(String) + Send + 'static) -> io::Result<Self> {
        let (going_on, is_over) = bounded::<()>(0);
        let look = move || {
            while is_over.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                if let Some(change) = change(&cluster, uid) {
                    return lost(change);
                }
            }
        };
        let thread = std::thread::Builder::new().name("postgresql-owner".to_owned()).spawn(look)?;
        Ok(Self { going_on: Some(going_on), thread: Some(thread) })
    }
}

fn change(cluster: &Path, uid: u32) -> Option<String> {
    let owner = files::owner(&std::fs::metadata(cluster).ok()?);
    let name = |uid| layout::named(uid).name;
    (owner != uid).then(|| {
        format!(
            "{} was given to {} while the private PostgreSQL ran in it as {}, which can write it no more: a service whose \
             state directory it is was started, most likely; give each a directory of its own (--data-dir)",
            cluster.display(),
            name(owner),
            name(uid)
        )
    })
}

impl Drop for OwnerWatch {
    fn drop(&mut self) {
        drop(self.going_on.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that looks whose the private PostgreSQL is has panicked");
        }
    }
}
