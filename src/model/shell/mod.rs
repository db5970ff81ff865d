//! What shells and other interpreters make of a text, as far as it tells whether a command can mean what it says.
//!
//! A command is split into words by the shell's rules of quoting, but no shell runs it unless its task says so. Whoever
//! writes `ls > list.txt` without one means something else than it does; whoever writes `'${config.key}'` into a script
//! gets the letters. Both are found here, from the quotes. Nothing here refuses anything: [`super::document`] does.

mod code;
mod command;
mod interpreters;
mod script;
mod stored;
mod vocabulary;
mod words;

pub use code::{Code, code_words, loses_environment};
pub use command::Misplaced;
pub use interpreters::{base_name, is_posix_shell, option_for_code};
pub use script::misplaced;
pub use stored::{is_made_variable, names_in_script, words_of_script};
pub use vocabulary::{is_assignment, is_shell_word};
pub use words::{Finding, Kind, in_text, in_value, in_words};

/// Bytes of one argument or variable that Linux takes with its end (MAX_ARG_STRLEN is 32 pages, its NUL included).
pub const ARGUMENT_BYTES_MAX: usize = 131_071;
