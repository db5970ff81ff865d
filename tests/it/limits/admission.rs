//! The database admits as the model does.

use std::collections::BTreeMap;

use process_orchestrator::model::limits::admission::{Request, Room, Verdict, admit};

use super::register;
use crate::common::TestDatabase;

const ENTRIES: [&str; 5] = ["a", "b", "type:t:config.customer=x", "type:t:config.customer=y", "unknown"];
const CASES: usize = 150;

fn some(entries: &[&str], most: usize) -> Vec<String> {
    let mut some: Vec<String> = entries.iter().map(|&it| it.to_owned()).collect();
    fastrand::shuffle(&mut some);
    some.truncate(fastrand::usize(..=most));
    some
}

#[test]
fn the_database_admits_as_the_model_does() {
    let database = TestDatabase::new("limits_model");
    register(&database, "t", 1, 0);
    let mut client = database.sql();
    let seed = fastrand::get_seed();
    for case in 0..CASES {
        let mut transaction = client.transaction().unwrap();
        let mut rooms = BTreeMap::new();
        for name in ["a", "b", "type:t:config.customer"] {
            let max = (fastrand::u8(..8) > 0).then(|| fastrand::i32(0..4));
            let (is_paused, is_reserved) = (fastrand::u8(..12) == 0, fastrand::u8(..5) == 0);
            let sql = "INSERT INTO limits (name, max, is_paused) VALUES ($1, $2, $3)";
            transaction.execute(sql, &[&name, &max, &is_paused]).unwrap();
            for entry in ENTRIES.iter().filter(|it| it.split('=').next() == Some(name)) {
                let max = max.map(|max| u32::try_from(max).unwrap());
                rooms.insert(
                    (*entry).to_owned(),
                    Room { max, is_paused, taken: u32::from(is_reserved), is_reserved },
                );
                if is_reserved {
                    let (name, key) = entry.split_once('=').unwrap_or((entry, ""));
                    let sql = "INSERT INTO limit_slots VALUES ($1, $2, 'somebody', false, now(), now() + interval '1 h')";
                    transaction.execute(sql, &[&name, &key]).unwrap();
                }
            }
        }
        let how_many = fastrand::usize(1..9);
        let start = "SELECT start_processes('t', array_fill('{}'::jsonb, ARRAY[$1::int]))";
        let started = transaction.query(start, &[&i32::try_from(how_many).unwrap()]).unwrap();
        let ids: Vec<String> = started.iter().map(|row| row.get(0)).collect();
        let (mut needs, mut holds, mut waited) = (Vec::new(), Vec::new(), Vec::new());
        for id in &ids {
            let of_process = some(&ENTRIES, 3);
            let of_task = fastrand::bool().then(|| some(&ENTRIES, 2));
            // An own limit of the task counts where the row says that tasks have limits.
            let own = of_task.is_some().then(|| some(&ENTRIES, 2));
            let mut all: Vec<String> = [Some(&of_process), of_task.as_ref(), own.as_ref()]
                .into_iter()
                .flatten()
                .flatten()
                .cloned()
                .collect();
            all.sort();
            all.dedup();
            let held: Vec<String> = of_process.iter().filter(|_| fastrand::u8(..4) == 0).cloned().collect();
            let has_waited_long = fastrand::bool();
            let sql = "UPDATE scheduled_tasks SET limits = $2, task_limits = $3, \
                       execution_time = execution_time - CASE WHEN $4 THEN interval '1 h' ELSE '0' END WHERE task_instance = $1";
            transaction.execute(sql, &[id, &of_process, &of_task, &has_waited_long]).unwrap();
            waited.push(has_waited_long);
            transaction
                .execute("UPDATE open_tasks SET limits = $2 WHERE process_id = $1", &[id, &own])
                .unwrap();
            for entry in &held {
                let (name, key) = entry.split_once('=').unwrap_or((entry, ""));
                let sql = "INSERT INTO limit_slots (limit_name, slot_key, process_id, of_task) VALUES ($1, $2, $3, false)";
                transaction.execute(sql, &[&name, &key, id]).unwrap();
                rooms.entry(entry.clone()).and_modify(|room| room.taken += 1);
            }
            needs.push(all);
            holds.push(held);
        }
        let request = |n: usize| Request { needs: &needs[n], holds: &holds[n], has_waited_long: waited[n] };
        let requests: Vec<Request<'_>> = (0..ids.len()).map(request).collect();
        let wanted = admit(&rooms, &requests);
        let rows = transaction.query("SELECT * FROM admit_processes($1)", &[&ids]).unwrap();
        let what = format!("seed {seed}, case {case}: {rooms:?} {requests:#?}");
        assert_eq!(rows.len(), ids.len(), "{what}");
        for ((row, id), (wanted, holds)) in rows.iter().zip(&ids).zip(wanted.iter().zip(&holds)) {
            assert_eq!(row.get::<_, String>(0), *id, "{what}");
            let blocked_by: Option<String> = row.get(1);
            let slots = "SELECT limit_name || CASE slot_key WHEN '' THEN '' ELSE '=' || slot_key END AS entry \
                         FROM limit_slots WHERE process_id = $1 ORDER BY 1";
            let slots = transaction.query(slots, &[id]).unwrap();
            let mut slots: Vec<String> = slots.iter().map(|row| row.get(0)).collect();
            let mut has: Vec<String> = holds.clone();
            match wanted {
                Verdict::Admitted(takes) => {
                    assert_eq!(blocked_by, None, "{what}");
                    has.extend(takes.iter().map(|it| (*it).to_owned()));
                }
                Verdict::Blocked(by) => assert_eq!(blocked_by.as_deref(), Some(*by), "{what}"),
                Verdict::Reserving(by, kept) => {
                    assert_eq!(blocked_by.as_deref(), Some(*by), "{what}");
                    has.extend(kept.iter().map(|it| (*it).to_owned()));
                }
            }
            has.sort();
            slots.sort();
            assert_eq!(slots, has, "{what}");
        }
        transaction.rollback().unwrap();
    }
}
