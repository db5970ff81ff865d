//! The inputs of many processes, one a line: all are checked before the first is sent, then they are read again in parts.
//! However many there are, one part is in memory at a time.

use std::collections::hash_map::{DefaultHasher, Entry};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};

use sha2::{Digest, Sha256};

use super::input::{InputOptions, open, unreadable, whole_fault};
use crate::cli::error::CliError;
use crate::model::batch::ids::BatchIds;
use crate::model::document::tree::Node;
use crate::model::faults::{Fault, Faults};
use crate::model::input::{INPUT_BYTES_MAX, ProcessInputData};
use crate::model::malformed::malformed;
use crate::model::names::{PROCESS_ID_REMEDY, process_id_problem};
use crate::platform::files::unnamed_file;
use crate::store::start::StartRequest;

/// Most bytes of a line: an input as large as it may be, and an id beside it.
const LINE_BYTES_MAX: usize = INPUT_BYTES_MAX + 4096;
/// Faulty lines that are told in full; a file in the wrong format has as many as it has lines.
const FAULTY_LINES_MAX: usize = 20;
/// Faults of one line that are told.
const FAULTS_OF_LINE_MAX: usize = 20;
/// Processes that are sent at once: a tenth of a second for the server, and enough that round trips cost nothing.
const PART_LINES_MAX: usize = 1_000;
/// No line is added to a part that has this many bytes; the client and the server hold some copies of a part.
const PART_BYTES_MAX: usize = 1024 * 1024;

/// Inputs that can be read again.
pub struct Inputs<'o> {
    options: &'o InputOptions,
    required: Vec<String>,
    source: String,
    file: File,
    /// Where they begin in it.
    begin: u64,
    processes: usize,
    /// The batch they belong to: lines without an id get one by what they hold.
    batch: Option<String>,
    /// Lines with faults that are left out.
    left_out: HashSet<usize>,
}

/// Some of the inputs, in their order, each with the number of its line.
#[derive(Debug, Default)]
pub struct Part {
    pub requests: Vec<StartRequest>,
    lines: Vec<usize>,
}

impl Part {
    /// Takes the second half away.
    pub fn split(&mut self) -> Self {
        let at = self.lines.len() / 2;
        Self { requests: self.requests.split_off(at), lines: self.lines.split_off(at) }
    }

    /// The number of its first line.
    pub fn first_line(&self) -> usize {
        self.lines.first().copied().unwrap_or_default()
    }
}

impl<'o> Inputs<'o> {
    /// Reads and checks all of `path` (`-` is standard input). Each line is the JSON object of one input, with its
    /// `process_id` beside the input's own keys if it has one. `required` is what the process type needs. What can't be
    /// read twice, such as a pipe, is kept in a file without a name.
    ///
    /// # Errors
    /// The faults of the lines, each with file and line; or the file can't be read.
    pub fn check(options: &'o InputOptions, path: &str, required: Vec<String>) -> Result<Self, CliError> {
        Self::check_some(options, path, required, false).map(|it| it.0)
    }

    /// The same, but that with `is_partial` lines with faults are left out, and told beside the others.
    ///
    /// # Errors
    /// The same; no line is without a fault; or the file can't be read.
    pub fn check_some(
        options: &'o InputOptions,
        path: &str,
        required: Vec<String>,
        is_partial: bool,
    ) -> Result<(Self, Vec<Faults>), CliError> {
        let (source, mut file) = open(path)?;
        let failed = |cause| unreadable(&source, &cause);
        let is_file = file.metadata().map_err(failed)?.is_file();
        let begin = if is_file { file.stream_position().map_err(failed)? } else { 0 };
        let mut kept =
            (!is_file).then(unnamed_file).transpose().map_err(|cause| not_kept(&source, &cause))?;
        let (batch, left_out) = (None, HashSet::new());
        let mut inputs = Self { options, required, source, file, begin, processes: 0, batch, left_out };
        let mut check = Check::default();
        let mut lines = Lines::new(&inputs.file);
        while let Some(line) = lines.next().map_err(|cause| unreadable(&inputs.source, &cause))? {
            if let Some(kept) = &mut kept {
                let written = kept.write_all(line.bytes).and_then(|()| kept.write_all(b"\n"));
                written.map_err(|cause| not_kept(&inputs.source, &cause))?;
            }
            if !line.is_blank() {
                let is_faulty = check.note(&inputs.source, line.number, inputs.read(&line));
                if is_faulty && is_partial {
                    inputs.left_out.insert(line.number);
                }
            }
        }
        let processes = check.processes;
        let (all, faulty) = match check.finish(&inputs.source) {
            Err(CliError::Faults(faults)) if is_partial && inputs.left_out.len() < processes => {
                (processes, faults)
            }
            all => (all?, Vec::new()),
        };
        inputs.processes = all - inputs.left_out.len();
        inputs.file = kept.unwrap_or(inputs.file);
        Ok((inputs, faulty))
    }

    /// Has lines without an id get one by what they hold, as processes of this batch.
    pub fn of_batch(mut self, name: &str) -> Self {
        self.batch = Some(name.to_owned());
        self
    }

    /// How many lines were left out for their faults.
    pub fn left_out(&self) -> usize {
        self.left_out.len()
    }

    /// Where a line is, for messages.
    pub fn place_of(&self, line: usize) -> String {
        format!("{}:{line}", self.source)
    }

    /// How many processes they are for.
    pub fn len(&self) -> usize {
        self.processes
    }

    /// The parts, from the first on.
    ///
    /// # Errors
    /// When the file can't be read again.
    pub fn parts(&mut self) -> Result<Parts<'_>, CliError> {
        self.file.seek(SeekFrom::Start(self.begin)).map_err(|cause| unreadable(&self.source, &cause))?;
        let ids = self.batch.as_deref().map(BatchIds::new);
        Ok(Parts { lines: Lines::new(&self.file), inputs: self, ids })
    }

    /// Which line a refusal of a part is about: it quotes the id, or tells the input's number.
    fn place(&self, part: &Part, message: &str) -> Option<String> {
        let is_named = |request: &StartRequest| {
            request.process_id.as_ref().is_some_and(|id| message.contains(&format!("\"{id}\"")))
        };
        let number = || {
            let digits = message.split_once(" number ")?.1;
            digits.split(|c: char| !c.is_ascii_digit()).next()?.parse::<usize>().ok()?.checked_sub(1)
        };
        let only = || (part.lines.len() == 1).then_some(0);
        let at = part.requests.iter().position(is_named).or_else(number).or_else(only)?;
        part.lines.get(at).map(|line| format!("{}:{line}", self.source))
    }

    fn read(&self, line: &Line<'_>) -> Result<StartRequest, Faults> {
        let source = format!("{}:{}", self.source, line.number);
        let fault = |path: &str, problem: String, remedy: &str| Faults {
            source: source.clone(),
            faults: vec![Fault::new(path, problem, remedy)],
        };
        if line.is_cut {
            let problem =
                format!("has more than {LINE_BYTES_MAX} bytes; an input has at most {INPUT_BYTES_MAX}");
            return Err(fault("", problem, "put the data in a file and pass its path"));
        }
        let text = std::str::from_utf8(line.bytes.trim_ascii_end())
            .map_err(|_| fault("", "is not UTF-8".to_owned(), "save the file as UTF-8"))?;
        // The line is the file's, which the message names.
        let mut node: Node = serde_json::from_str(text).map_err(|cause| {
            let (what, remedy) = malformed(&cause);
            let problem = format!("malformed JSON at column {}: {what}", cause.column());
            fault("", problem, &format!("{remedy}; each line is one JSON object"))
        })?;
        let process_id = match take(&mut node, "process_id").as_slice() {
            [] | [Node::Null] => None,
            [Node::Text(id)] => Some(id.clone()),
            [other] => {
                let problem = format!("{} is not a text", other.shown());
                return Err(fault("process_id", problem, "quote it, or leave the key out"));
            }
            _ => return Err(fault("process_id", "is given twice".to_owned(), "keep one of them")),
        };
        if let Some(problem) = process_id.as_deref().and_then(process_id_problem) {
            return Err(fault("process_id", problem, PROCESS_ID_REMEDY));
        }
        let input = self.options.on_top_of(ProcessInputData::from_node(&node, &source)?);
        input.validate(&source)?;
        let missing: Vec<Fault> = self
            .required
            .iter()
            .filter(|name| !has(&input, name))
            .map(|name| {
                Fault::new(name.as_str(), "is missing", format!("add it: the process type needs ${{{name}}}"))
            })
            .collect();
        match missing.is_empty() {
            true => Ok(StartRequest { input, process_id }),
            false => Err(Faults { source, faults: missing }),
        }
    }
}

/// The inputs, a part at a time.
pub struct Parts<'i> {
    inputs: &'i Inputs<'i>,
    lines: Lines<&'i File>,
    ids: Option<BatchIds>,
}

impl Parts<'_> {
    /// The next part; `None` after the last one.
    ///
    /// # Errors
    /// When the file can't be read, or was changed since it was checked.
    pub fn next(&mut self) -> Result<Option<Part>, CliError> {
        let (mut part, mut bytes) = (Part::default(), 0);
        while part.lines.len() < PART_LINES_MAX && bytes < PART_BYTES_MAX {
            let line = self.lines.next().map_err(|cause| unreadable(&self.inputs.source, &cause))?;
            let Some(line) = line else { break };
            if line.is_blank() || self.inputs.left_out.contains(&line.number) {
                continue;
            }
            let mut request = self.inputs.read(&line).map_err(CliError::faults)?;
            if let Some(ids) = self.ids.as_mut().filter(|_| request.process_id.is_none()) {
                request.process_id = Some(ids.next(&request.input));
            }
            part.requests.push(request);
            part.lines.push(line.number);
            bytes += line.bytes.len();
        }
        Ok((!part.lines.is_empty()).then_some(part))
    }

    /// Which line a refusal of a part is about.
    pub fn place(&self, part: &Part, message: &str) -> Option<String> {
        self.inputs.place(part, message)
    }
}

/// What the first reading has found.
#[derive(Default)]
struct Check {
    processes: usize,
    /// Where an id stood first, and what was to be started with it, as a fingerprint of either.
    ids: HashMap<u128, (usize, u64)>,
    faulty: Vec<Faults>,
    more: usize,
}

impl Check {
    /// Whether the line has a fault.
    fn note(&mut self, source: &str, line: usize, read: Result<StartRequest, Faults>) -> bool {
        self.processes += 1;
        let faults = match read {
            Ok(request) => self.repeated(source, line, &request),
            Err(faults) => Some(faults),
        };
        let is_faulty = faults.is_some();
        match faults {
            None => {}
            Some(_) if self.faulty.len() == FAULTY_LINES_MAX => self.more += 1,
            Some(mut faults) => {
                faults.faults.truncate(FAULTS_OF_LINE_MAX);
                self.faulty.push(faults);
            }
        }
        is_faulty
    }

    /// The same id with the same input is the same process; with another one it is a mistake.
    fn repeated(&mut self, source: &str, line: usize, request: &StartRequest) -> Option<Faults> {
        let id = request.process_id.as_ref()?;
        let mut hasher = DefaultHasher::new();
        let mut normal = request.input.clone();
        for text in [&mut normal.input_file, &mut normal.output_dir, &mut normal.user_id] {
            // As the database has it: an empty one is missing.
            text.take_if(|it| it.is_empty());
        }
        normal.to_value().to_string().hash(&mut hasher);
        let input = hasher.finish();
        let digest = Sha256::digest(id.as_bytes());
        let key = digest.iter().take(16).fold(0, |key: u128, byte| key << 8 | u128::from(*byte));
        let first = match self.ids.entry(key) {
            Entry::Vacant(place) => {
                place.insert((line, input));
                return None;
            }
            Entry::Occupied(first) => *first.get(),
        };
        (first.1 != input).then(|| {
            let problem = format!("{id:?} is that of line {} too, which has another input", first.0);
            let fault = Fault::new("process_id", problem, "give each input an id of its own, or none");
            Faults { source: format!("{source}:{line}"), faults: vec![fault] }
        })
    }

    /// How many processes there are.
    fn finish(mut self, source: &str) -> Result<usize, CliError> {
        if self.more > 0 {
            let problem = format!("{} more lines have faults", self.more);
            let fault = Fault::new("", problem, "mend these first");
            self.faulty.push(Faults { source: source.to_owned(), faults: vec![fault] });
        }
        match self.processes {
            _ if !self.faulty.is_empty() => Err(CliError::Faults(self.faulty)),
            0 => Err(whole_fault(
                source,
                "holds no input",
                "write one JSON object a line, {} for an empty input",
            )),
            processes => Ok(processes),
        }
    }
}

/// Takes the values of a key out of an object.
fn take(node: &mut Node, key: &str) -> Vec<Node> {
    let Node::Object(entries) = node else { return Vec::new() };
    let (taken, left) = std::mem::take(entries).into_iter().partition(|(name, _)| name == key);
    *entries = left;
    let taken: Vec<(String, Node)> = taken;
    taken.into_iter().map(|(_, node)| node).collect()
}

/// Whether an input supplies what a process type names as required, such as `config.batch_size`.
fn has(input: &ProcessInputData, name: &str) -> bool {
    let is_given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    match (name, name.split_once('.')) {
        ("input_file", _) => is_given(&input.input_file),
        ("output_dir", _) => is_given(&input.output_dir),
        ("user_id", _) => is_given(&input.user_id),
        ("scheduled_at", _) => is_given(&input.scheduled_at),
        ("previous_scheduled_at", _) => is_given(&input.previous_scheduled_at),
        (_, Some(("config", key))) => input.config.contains_key(key),
        (_, Some(("metadata", key))) => input.metadata.contains_key(key),
        // A kind of variable that this function does not know is left to the database to judge.
        _ => true,
    }
}

fn not_kept(source: &str, cause: &io::Error) -> CliError {
    let place = std::env::temp_dir();
    CliError::Failed(format!(
        "failed to keep {source}, which is read twice, in {}: {cause}; make room there, or name a directory with room in \
         TMPDIR, or give a file",
        place.display()
    ))
}

/// Lines of bounded length.
struct Lines<R> {
    reader: BufReader<R>,
    number: usize,
    buffer: Vec<u8>,
}

struct Line<'l> {
    /// From 1.
    number: usize,
    /// Without the end of the line.
    bytes: &'l [u8],
    /// There is more of it.
    is_cut: bool,
}

impl Line<'_> {
    fn is_blank(&self) -> bool {
        self.bytes.trim_ascii().is_empty() && !self.is_cut
    }
}

impl<R: Read> Lines<R> {
    fn new(reader: R) -> Self {
        Self { reader: BufReader::new(reader), number: 0, buffer: Vec::new() }
    }

    fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.buffer.clear();
        let mut length = 0;
        loop {
            let there = match self.reader.fill_buf() {
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                there => there?,
            };
            if there.is_empty() && length == 0 {
                return Ok(None);
            }
            let end = there.iter().position(|byte| *byte == b'\n');
            let taken = &there[..end.unwrap_or(there.len())];
            // One byte more than a line may have tells that it has more.
            let room = (LINE_BYTES_MAX + 1).saturating_sub(self.buffer.len());
            self.buffer.extend_from_slice(&taken[..taken.len().min(room)]);
            let used = taken.len() + usize::from(end.is_some());
            length += used;
            self.reader.consume(used);
            if end.is_some() || used == 0 {
                break;
            }
        }
        self.number += 1;
        // Editors on Windows may begin a file with a byte order mark.
        let mark = if self.number == 1 && self.buffer.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let bytes = &self.buffer[mark..];
        Ok(Some(Line { number: self.number, bytes, is_cut: self.buffer.len() > LINE_BYTES_MAX }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(
        options: &InputOptions,
        text: &[u8],
        required: &[&str],
    ) -> Result<Vec<StartRequest>, Vec<String>> {
        let mut file = unnamed_file().expect("a file");
        file.write_all(text).expect("written");
        file.rewind().expect("rewound");
        let required = required.iter().map(|&name| name.to_owned()).collect();
        read_all(options, file, required).map_err(|error| {
            assert_eq!(error.exit_code(), 2);
            error.lines()
        })
    }

    /// As [`Inputs::check`] and [`Inputs::parts`] do of a file that has a name.
    fn read_all(
        options: &InputOptions,
        file: File,
        required: Vec<String>,
    ) -> Result<Vec<StartRequest>, CliError> {
        use std::os::fd::AsRawFd;
        let path = format!("/dev/fd/{}", file.as_raw_fd());
        let mut inputs = Inputs::check(options, &path, required)?;
        let count = inputs.len();
        let mut parts = inputs.parts()?;
        let mut requests = Vec::new();
        while let Some(part) = parts.next()? {
            assert!(part.requests.len() <= PART_LINES_MAX && part.requests.len() == part.lines.len());
            requests.extend(part.requests);
        }
        assert_eq!(requests.len(), count);
        Ok(requests)
    }

    fn faults(text: &[u8], required: &[&str]) -> Vec<String> {
        let faults = checked(&InputOptions::default(), text, required).expect_err("faulty");
        faults
            .iter()
            .map(|it| {
                it.split_once(": ").map_or(it.clone(), |(place, rest)| {
                    format!(
                        "{}: {rest}",
                        place
                            .rsplit_once('/')
                            .map_or(place, |(_, end)| end.trim_start_matches(|c: char| c.is_ascii_digit()))
                    )
                })
            })
            .collect()
    }

    #[test]
    fn every_line_is_a_process_and_may_name_its_id() {
        let options = InputOptions { user_id: Some("me".to_owned()), ..InputOptions::default() };
        let text =
            b"\xef\xbb\xbf{\"process_id\": \"p-1\", \"input_file\": \"/a\"}\n\n{\"user_id\": \"you\"}\r\n{}";
        let me = ProcessInputData::new().user_id("me");
        assert_eq!(
            checked(&options, text, &[]).expect("valid"),
            [
                StartRequest { input: me.clone().input_file("/a"), process_id: Some("p-1".to_owned()) },
                StartRequest { input: me.clone(), process_id: None },
                StartRequest { input: me, process_id: None },
            ]
        );
    }

    #[test]
    fn faults_name_file_and_line() {
        let text = b"{}\n\n{\"input_file\": 7, \"x\": 1}\n{\"process_id\": 5}\nnonsense\n[]\n{\"user_id\": \"a\", \"user_id\": \"b\"}\n\xff";
        let faults = faults(text, &["input_file", "config.size"]);
        for (fault, expected) in faults.iter().zip([
            ":1: input_file: is missing; add it: the process type needs ${input_file}",
            ":1: config.size: is missing; add it: the process type needs ${config.size}",
            ":3: input_file: 7 is not a text",
            ":3: x: unknown key",
            ":4: process_id: 5 is not a text; quote it",
            ":5: malformed JSON at column 2: an unknown word; put text in double quotes; only true, false and null go \
             without; each line is one JSON object",
            ":6: an array is not an input",
            ":7: user_id: the key \"user_id\" is given twice",
            ":8: is not UTF-8",
        ]) {
            assert!(fault.starts_with(expected), "{fault:?} does not start with {expected:?}");
        }
        assert_eq!(faults.len(), 9, "{faults:#?}");
    }

    #[test]
    fn an_id_stands_for_one_input() {
        let same = b"{\"process_id\": \"p\", \"config\": {\"n\": 7}}\n{\"config\": {\"n\": \"7\"}, \"process_id\": \"p\"}\n";
        assert_eq!(checked(&InputOptions::default(), same, &[]).expect("the same").len(), 2);
        let other =
            [&same[..], b"{}\n{\"process_id\": \"p\"}\n{\"process_id\": \"a\", \"process_id\": \"b\"}"]
                .concat();
        let expected = [
            ":4: process_id: \"p\" is that of line 1 too, which has another input; give each input an id of its own, or none",
            ":5: process_id: is given twice; keep one of them",
        ];
        assert_eq!(faults(&other, &[]), expected);
    }

    #[test]
    fn a_line_is_as_long_as_an_input_may_be() {
        let long =
            |bytes: usize| format!("{{\"input_file\": \"{}\"}}\n{{}}\n", "x".repeat(bytes)).into_bytes();
        let fits = INPUT_BYTES_MAX - "{\"input_file\": \"\"}".len();
        assert_eq!(checked(&InputOptions::default(), &long(fits), &[]).expect("fits").len(), 2);
        let told = faults(&long(fits + 1), &[]);
        assert!(told[0].starts_with(":1: the input has 1048577 bytes; at most 1048576"), "{told:#?}");
        let told = faults(&long(3 * LINE_BYTES_MAX), &[]);
        assert_eq!(
            told,
            [
                ":1: has more than 1052672 bytes; an input has at most 1048576; put the data in a file and pass its path"
            ]
        );
    }

    #[test]
    fn a_file_in_the_wrong_format_does_not_flood_the_terminal() {
        let wrong = faults(&b"x\n".repeat(1_000), &[]);
        assert_eq!(wrong.len(), FAULTY_LINES_MAX + 1);
        assert_eq!(wrong[FAULTY_LINES_MAX], ": 980 more lines have faults; mend these first");
        let line = format!("{{{}\"z\": 1}}", "\"x\": 1, ".repeat(1_000));
        assert_eq!(faults(line.as_bytes(), &[]).len(), FAULTS_OF_LINE_MAX);
        assert_eq!(
            faults(b"\n\n", &[]),
            [": holds no input; write one JSON object a line, {} for an empty input"]
        );
    }

    #[test]
    fn parts_keep_the_order_and_are_small() {
        let line = |n: usize| {
            format!("{{\"process_id\": \"p-{n}\", \"user_id\": \"{}\"}}\n", "u".repeat(n % 7 * 100))
        };
        let text: String = (0..2_500).map(line).collect();
        let requests = checked(&InputOptions::default(), text.as_bytes(), &[]).expect("valid");
        let ids = requests.iter().map(|it| it.process_id.clone().expect("an id"));
        assert!(ids.eq((0..2_500).map(|n| format!("p-{n}"))));
    }
}
