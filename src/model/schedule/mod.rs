//! Schedules: processes that are started at their times.
//!
//! Pure like the rest of the model: what a schedule says ([`definition`]), which times that are ([`rule`], [`cron`]), and what is
//! to be done at a moment ([`plan`]).

pub mod cron;
pub mod definition;
pub mod plan;
pub mod rule;
