//! The tables: a list of verbs, one function each, and the only place with SQL.
//!
//! Each of them fails when the database does; what else it fails at, it says.
//!
//! | file | verbs |
//! |---|---|
//! | `migrate` | bring the schema to this binary's version |
//! | `functions` | see where the schema's functions look for names, and mend that |
//! | `roles` | let other roles use the schema, or only start processes |
//! | `types` | register process types and read them |
//! | `start` | start processes |
//! | `batches` | start many as one, add up what becomes of them, control them |
//! | `claims` | claim due processes, give claims back, see what waits |
//! | `promote` | make scheduled processes ready, hold and release those of paused types |
//! | `room` | say that a node has room, ask whether another has |
//! | `record` | record the results of executions |
//! | `locks` | the same without waiting for rows that others have locked |
//! | `membership` | register a node, renew it, see which others live |
//! | `abandoned` | find the claims that dead nodes have left |
//! | `cancel`, `retry`, `pause` | what operators ask of processes and types that are there |
//! | `prune` | delete finished processes |
//! | `forget` | archive finished processes and delete exactly these, delete outputs alone |
//! | `limits` | what is taken of limits and what waits, and changing them by hand |
//! | `live` | what running commands print, shown and read |
//! | `read` | what the faces show: processes, lists of them, counts, nodes, why a process waits, who is in the way, the server's state |
//! | `schedules` | see what is due, fire it, and what people ask of schedules |
//! | `bench` | what a bench asks besides |
//!
//! Beneath them: `connection` brings statements to the server, `row` reads what comes back.

pub mod abandoned;
pub mod batches;
pub mod bench;
pub mod cancel;
pub mod claims;
mod connection;
pub mod eras;
pub mod error;
pub mod forget;
pub mod functions;
pub mod limits;
pub mod live;
pub mod locks;
pub mod membership;
pub mod migrate;
pub mod pause;
pub mod promote;
pub mod prune;
pub mod read;
pub mod record;
pub mod retry;
pub mod roles;
mod room;
mod row;
pub mod schedules;
pub mod start;
pub mod types;

pub use connection::{Backend, Store};
pub(crate) use connection::{Session, Sql, quote_identifier};
pub use error::{Refusal, RefusalReason, StoreError};
pub use read::{counts, doctor, explain, notes, progress};

/// The schema that holds the tables; its name is also the channel of wake-ups.
pub const DEFAULT_SCHEMA: &str = "process_orchestrator";
