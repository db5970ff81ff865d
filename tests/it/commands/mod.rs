//! What people and scripts call: the commands, their messages and their exit codes.

pub mod asking;
pub mod bad_input;
pub mod bench;
pub mod cli;
pub mod completions;
pub mod control_cli;
pub mod doctor;
pub mod follow;
mod forgetting;
mod grants;
pub mod large;
pub mod limits;
pub mod lists;
pub mod logs;
pub mod many;
mod paused;
pub mod secrecy;
pub mod systemd;
mod type_versions;
