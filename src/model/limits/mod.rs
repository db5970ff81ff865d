//! What keeps processes back by number: how many may run at once, of a type, of a group, of a key.

pub mod admission;
#[cfg(test)]
mod world;
