//! The protocol of claims, leases and takeovers as a model, of which every state is gone through.
//!
//! ```text
//!  table ──cases──► explore ──► steps: what can happen in a world, and what it does
//!                                 │            world: the nodes, what is under way, the faults to come
//!                                 │            rows: the database, a function for each statement
//!                                 └──► process_orchestrator::model: who is dead, whether a lease has expired, whether a
//!                                      command may begin, how a task moves: the product's own functions
//! ```
//!
//! A mutated rule of the product is a mutated rule here. What the model leaves out is said on the guide's page.
//!
//! What has really happened is held against the same rows: `replay` goes through the journal of a chaos run, `ledger` has the
//! rows of all its processes, `members` those of the nodes.

mod breaches;
mod case;
mod edits;
mod explore;
mod frame;
mod journal;
mod ledger;
mod members;
mod replay;
mod rows;
mod steps;
mod table;
mod world;

use std::fmt::Write as _;

use explore::{Explored, explore};
use rows::Property;
use table::{Expected, Row, TABLE};

/// Beyond this a case is not gone through to its end, which counts as a failure.
const STATES_MAX: usize = 2_000_000;
/// Set to go through the large cases as well.
const LARGE: &str = "PROCESS_ORCHESTRATOR_MODEL";

/// Every fourth case from this one on; the test runner goes through several such parts at once.
fn check(part: usize) {
    let is_large = std::env::var(LARGE).is_ok_and(|value| value == "large");
    let mut failures = String::new();
    for row in TABLE.iter().skip(part).step_by(4).filter(|it| is_large || !it.is_large) {
        let allowed: &[Property] = match &row.expected {
            Expected::Except(property) => &[*property],
            Expected::Holds | Expected::Breaks(_) => &[],
        };
        let explored = explore(&row.case, allowed, STATES_MAX);
        println!("{}: {} states, {:.2} s", row.name, explored.states, explored.time.as_secs_f64());
        if !is_as_expected(row, &explored) {
            complain(row, &explored, &mut failures);
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

fn is_as_expected(row: &Row, explored: &Explored) -> bool {
    let broken: Vec<_> = explored.broken.keys().copied().collect();
    match row.expected {
        Expected::Holds => broken.is_empty() && explored.is_whole,
        Expected::Except(property) => broken == [property] && explored.is_whole,
        Expected::Breaks(property) => broken == [property],
    }
}

fn complain(row: &Row, explored: &Explored, failures: &mut String) {
    let Row { name, expected, .. } = row;
    let whole = if explored.is_whole { "all" } else { "not all" };
    _ = writeln!(
        failures,
        "case \"{name}\": expected {expected:?}; {whole} of its states were seen ({})",
        explored.states
    );
    for (property, way) in &explored.broken {
        _ = writeln!(failures, "  {property:?} is broken by:");
        way.iter().for_each(|step| _ = writeln!(failures, "    {step:?}"));
    }
}

#[test]
fn every_case_comes_to_what_is_expected_1_of_4() {
    check(0);
}

#[test]
fn every_case_comes_to_what_is_expected_2_of_4() {
    check(1);
}

#[test]
fn every_case_comes_to_what_is_expected_3_of_4() {
    check(2);
}

#[test]
fn every_case_comes_to_what_is_expected_4_of_4() {
    check(3);
}

/// The guide's page on the protocol has a row for each case, in this order.
#[test]
fn the_guide_has_the_same_table() {
    let page = include_str!("../../../src/guide/protocol.md");
    let shown: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .filter(|line| !line.starts_with("case |") && !line.starts_with("without |"))
        .map(|line| line.trim_end_matches(" |").to_owned())
        .collect();
    let wanted: Vec<String> = TABLE
        .iter()
        .map(|row| match row.expected {
            Expected::Holds if row.is_large => format!("{} | holds (large)", row.name),
            Expected::Holds => format!("{} | holds", row.name),
            Expected::Except(_) => format!("{} | exception", row.name),
            Expected::Breaks(property) => format!("{} | {}", row.name, says(property)),
        })
        .collect();
    for (shown, wanted) in shown.iter().zip(&wanted) {
        assert_eq!(shown, wanted);
    }
    assert_eq!(shown.len(), wanted.len(), "the guide's table has more or fewer rows than the model's");
}

fn says(property: Property) -> &'static str {
    match property {
        Property::OneCommand => "two commands of one process are alive at once",
        Property::Order => "a task begins before its predecessor is committed",
        Property::Trail => "an execution is missing in the trail, or there twice",
        Property::Fence => "a stale write",
        Property::Version => "a change of hands that nobody can see",
        Property::Progress => "a process that can't go on",
    }
}
