//! No space left: under a command's files, under the node's own, under the database.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use process_orchestrator::model::retry::RetryPolicy;
use process_orchestrator::platform::files::effective_uid;
use process_orchestrator::{Outcome, ProcessInputData, ProcessStatus, ProcessType, TaskDefinition};

use super::{Served, all_complete_at_once, is_granted, outcomes};
use crate::common::{leave_out, script, wait_until};
use crate::program::Bench;

/// A small file system of the test's own, gone with it.
pub(super) struct SmallDisk(pub PathBuf);

impl SmallDisk {
    /// `options` bound it, such as `size=64k`. Only root may have one, and not in every container.
    pub fn mount(at: &Path, options: &str) -> Option<Self> {
        if effective_uid() != 0 {
            leave_out("only root can mount a small file system");
            return None;
        }
        fs::create_dir(at).unwrap();
        let place = at.to_str().unwrap();
        is_granted(&["mount", "-t", "tmpfs", "-o", &format!("{options},mode=1777"), "tmpfs", place])
            .then(|| Self(at.to_owned()))
    }

    /// Writes until there is no more space; returns the file that has it.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filling");
        let mut file = File::create(&path).unwrap();
        // Smaller and smaller pieces, until not a byte goes in.
        for size in [1 << 20, 1 << 12, 1] {
            let piece = vec![b'x'; size];
            while file.write_all(&piece).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whatever a failed test has left running there must not keep it.
        super::done(&["umount", "--lazy", self.0.to_str().unwrap()]);
    }
}

#[test]
fn a_command_that_finds_its_output_directory_full_fails_with_its_own_words_and_is_retried() {
    let bench = Bench::with_tables("full_output");
    let Some(disk) = SmallDisk::mount(&bench.folder.join("disk"), "size=64k") else { return };
    let filling = disk.fill();
    let text = "dd if=/dev/zero of=${output_dir}/result bs=16k count=1 2>&1 || exit 5";
    let retry = RetryPolicy { initial_delay: std::time::Duration::from_millis(20), ..RetryPolicy::default() };
    let task = TaskDefinition { max_retries: 1000, retry, ..script("write", text) };
    bench.database.register(&ProcessType::new("full", "").add(task));
    let node = Served::ready(&mut bench.command(&["serve", "--no-http"]));
    let input =
        ProcessInputData { output_dir: Some(disk.0.to_str().unwrap().to_owned()), ..ProcessInputData::new() };
    let id = bench.database.start("full", input);
    wait_until("an attempt has failed", || outcomes(&bench.database, &id).first().map(|_| ()));
    fs::remove_file(filling).unwrap();
    assert_eq!(bench.database.wait_for(&id).status, ProcessStatus::Completed);
    node.stop();
    let executions = bench.database.store().executions(&id).unwrap();
    let (first, last) = (&executions[0], &executions[executions.len() - 1]);
    assert_eq!(
        (first.outcome, first.exit_code, last.outcome),
        (Outcome::Failed, Some(5), Outcome::Succeeded)
    );
    assert!(first.output.as_deref().unwrap().contains("No space left on device"), "{first:#?}");
}

#[test]
fn a_full_directory_for_temporary_files_makes_commands_wait() {
    let bench = Bench::with_tables("full_tmp");
    // Room for its root and one file: a directory for the context files is one too many.
    let Some(disk) = SmallDisk::mount(&bench.folder.join("disk"), "size=64k,nr_inodes=2") else { return };
    let filling = disk.0.join("filling");
    fs::write(&filling, "").unwrap();
    bench.database.register(&ProcessType::new("waiting", "").add(script("only", "echo ${process_id}")));
    let node = Served::ready(bench.command(&["serve", "--no-http"]).env("TMPDIR", &disk.0));
    let ids = bench.database.start_many("waiting", 3);
    node.says("failed to make a directory for context files in ");
    fs::remove_file(filling).unwrap();
    all_complete_at_once(&bench.database, &ids);
    let log = node.stop();
    let told = log.lines().find(|line| line.contains("for context files")).unwrap();
    assert!(told.contains("No space left on device") && told.contains("make space there"), "{told}");
}

#[test]
fn a_full_disk_under_the_archive_keeps_what_is_not_in_a_file() {
    let bench = Bench::with_tables("full_archive");
    let Some(disk) = SmallDisk::mount(&bench.folder.join("disk"), "size=64k") else { return };
    bench.database.register(
        &ProcessType::new("printing", "").add(script("only", "head -c 60000 /dev/urandom | base64")),
    );
    let ids = bench.database.start_many("printing", 3);
    let node = bench.database.node();
    ids.iter().for_each(|id| drop(bench.database.wait_for(id)));
    node.stop();
    let place = disk.0.join("old").display().to_string();
    let refused = bench.run(&["prune", "--older-than", "0s", "--yes", "--archive", &place]).expect(1);
    let told = format!("error: failed to archive finished processes in {place}");
    assert!(
        refused.err.starts_with(&told) && refused.err.contains("No space left on device"),
        "{refused:#?}"
    );
    assert!(refused.err.contains("is not deleted; make room there"), "{refused:#?}");
    assert_eq!((bench.database.count("processes"), fs::read_dir(&place).unwrap().count()), (3, 0));
    let node =
        Served::ready(&mut bench.command(&["serve", "--no-http", "--retention", "1s", "--archive", &place]));
    node.says("finished processes are not forgotten for now: failed to archive");
    assert_eq!(bench.database.count("processes"), 3);
    super::done(&["mount", "-o", "remount,size=8m", disk.0.to_str().unwrap()]);
    wait_until("they are archived and forgotten", || (bench.database.count("processes") == 0).then_some(()));
    node.stop();
    assert!(fs::read_dir(&place).unwrap().count() >= 1);
}

#[test]
fn a_full_disk_under_the_database_is_waited_for_and_nothing_is_lost() {
    const PROCESSES: usize = 30;
    let bench = Bench::new("full_database");
    let Some(disk) = SmallDisk::mount(&bench.folder.join("disk"), "size=112m") else { return };
    let gate = bench.folder.join("gate");
    // What does not compress, each more than a page; all together more than what a full disk could hold.
    let text = format!(
        "until [ -e '{}' ]; do sleep 0.05; done; head -c 150000 /dev/urandom | base64; echo $PROCESS_ID >> '{}'",
        gate.display(),
        bench.folder.join("journal").display()
    );
    let file = bench.file(&ProcessType::new("printing", "").add(script("only", &text)));
    let data_dir = disk.0.join("data");
    let on_it = |words: &[&str]| {
        let mut command = bench.command(words);
        command.env("PROCESS_ORCHESTRATOR_DATA_DIR", &data_dir);
        command
    };
    let executors = PROCESSES.to_string();
    let serve = ["serve", "--no-http", "--process-types", &file, "--executors", &executors];
    let node = Served::ready(&mut on_it(&serve));
    let lines: String =
        (0..PROCESSES).map(|number| format!("{{\"process_id\": \"p-{number}\"}}\n")).collect();
    fs::write(bench.folder.join("many.jsonl"), lines).unwrap();
    crate::program::ended(&mut on_it(&["start", "printing", "--inputs", "many.jsonl"])).expect(0);
    let filling = disk.fill();
    fs::write(gate, "").unwrap();
    node.says("No space left on device");
    fs::remove_file(filling).unwrap();
    let list = wait_until("all have ended", || {
        let list = crate::program::ended(&mut on_it(&["list", "--json", "--status", "COMPLETED"]));
        let ended = |list: &serde_json::Value| list["processes"].as_array().unwrap().len();
        (list.code == Some(0)).then(|| list.json()).filter(|list| ended(list) == PROCESSES)
    });
    let mut ran: Vec<String> =
        super::read(&bench.folder.join("journal")).lines().map(str::to_owned).collect();
    ran.sort();
    ran.dedup();
    assert_eq!(ran.len(), PROCESSES, "{list}");
    let logs = crate::program::ended(&mut on_it(&["logs", "p-7", "--json"])).expect(0).json();
    assert_eq!(logs["executions"].as_array().unwrap().len(), 1, "{logs}");
    assert!(logs["executions"][0]["output_bytes"].as_u64().unwrap() > 150_000, "{logs}");
    node.stop();
}
