//! What is done to finished processes before they are deleted, and to their outputs alone.
//!
//! | file | verbs |
//! |---|---|
//! | `finished` | list those that are old enough |
//! | `whole` | look at them, read them whole for the archive |
//! | `exactly` | delete those that are as they were archived |
//! | `outputs` | delete outputs and keep the record |

pub mod exactly;
pub mod finished;
pub mod outputs;
pub mod whole;
