//! The yardstick: what it costs to run a command and to capture its output when nothing is promised.

use std::io::{self, Read};
use std::process::{Command, ExitStatus, Stdio};

/// Runs a command the fastest straightforward way of the standard library: no timeout, no limit, no record.
///
/// stdout and stderr share one pipe, which is read to its end; then the exit is waited for. `bench`
/// measures the orchestrator against a loop of this with as many threads.
pub fn bare_spawn_and_capture(argv: &[String]) -> io::Result<(ExitStatus, Vec<u8>)> {
    let (program, arguments) = argv
        .split_first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the command is empty"))?;
    let (mut reader, writer) = io::pipe()?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    drop(command); // it holds our ends of the pipe that the child writes to
    let mut output = Vec::new();
    reader.read_to_end(&mut output)?;
    Ok((child.wait()?, output))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_streams_and_the_exit_code() {
        let argv = ["sh", "-c", "echo out; echo err >&2; exit 3"].map(str::to_owned);
        let (status, output) = bare_spawn_and_capture(&argv).unwrap();
        assert_eq!((status.code(), output.as_slice()), (Some(3), &b"out\nerr\n"[..]));
        assert!(bare_spawn_and_capture(&[]).is_err());
    }
}
