//! A batch's joblog: the columns of GNU parallel's, a line for each process that has ended.

use jiff::Timestamp;
use serde::Serialize;

/// The headings.
pub const JOBLOG_HEADER: &str = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand";

/// What is known of one process that has ended. Of several tasks the last one that ran speaks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JoblogLine {
    /// Its number, in the order in which they ended, from 1.
    pub seq: u64,
    /// The process.
    pub process_id: String,
    /// How it ended.
    pub status: String,
    /// Where it ran; `:` where that is not known any more, or nothing of it ran.
    pub host: String,
    /// When its first task was claimed.
    pub started_at: Option<Timestamp>,
    /// Seconds from there to its end.
    pub runtime_s: f64,
    /// Bytes that were sent to it: none.
    pub send: u64,
    /// Bytes that its last command has printed.
    pub receive: u64,
    /// The exit code of its last command, −1 where it had none and the process has not completed.
    pub exitval: i32,
    /// The signal that has ended its last command, or 0.
    pub signal: i32,
    /// Its last command, with its values put in.
    pub command: String,
}

impl JoblogLine {
    /// The line as GNU parallel writes it. What would break it is written as an escape.
    pub fn line(&self) -> String {
        let start = self.started_at.map_or(0.0, |it| it.as_millisecond() as f64 / 1000.0);
        let command =
            self.command.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
        let host = self.host.replace(['\t', '\n'], " ");
        format!(
            "{}\t{host}\t{start:.3}\t{:10.3}\t{}\t{}\t{}\t{}\t{command}",
            self.seq, self.runtime_s, self.send, self.receive, self.exitval, self.signal
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_columns_of_its_heading() {
        let line = JoblogLine {
            seq: 7,
            process_id: "p".to_owned(),
            status: "FAILED".to_owned(),
            host: "worker-2".to_owned(),
            started_at: Timestamp::from_millisecond(1_700_000_000_250).ok(),
            runtime_s: 1.5,
            send: 0,
            receive: 42,
            exitval: 3,
            signal: 0,
            command: "sh -c 'a\nb\tc'".to_owned(),
        };
        let text = line.line();
        assert_eq!(text, "7\tworker-2\t1700000000.250\t     1.500\t0\t42\t3\t0\tsh -c 'a\\nb\\tc'");
        assert_eq!(text.split('\t').count(), JOBLOG_HEADER.split('\t').count());
    }
}
