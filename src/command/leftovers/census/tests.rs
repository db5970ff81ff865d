use std::process::{Child, Command, Stdio};

use super::*;

const NAME: &str = "PO_CENSUS_TEST";

/// Runs `script` with the tag `NAME=value`, in our own session.
fn tagged(value: &str, script: &str) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", script]).env(NAME, value).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

fn mark(leader: i32, began: Instant, value: &str) -> Mark {
    let began_since_boot = crate::platform::time_since_boot().saturating_sub(began.elapsed());
    Mark { leader, began, began_since_boot, tag: Some(format!("{NAME}={value}")), is_session_sure: false }
}

/// The id that a script prints.
fn printed(child: &mut Child) -> i32 {
    use std::io::BufRead;
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line.trim().parse().unwrap()
}

fn kill(pid: i32) {
    assert!(crate::platform::processes::kill().args(["-KILL", &pid.to_string()]).status().unwrap().success());
}

#[test]
fn what_left_the_session_is_found_by_its_tag_and_its_neighbours_are_not() {
    let began = Instant::now();
    let value = format!("one-{}", std::process::id());
    let script = "setsid sh -c 'echo $$; exec sleep 600' & wait";
    let mut one = tagged(&value, script);
    let mut other = tagged(&format!("{value}0"), script);
    let (leader, mine, foreign) = (one.id() as i32, printed(&mut one), printed(&mut other));
    let wanted = mark(leader, began, &value);
    // By the ids since the leader's, and by a look at all, as where these have gone round.
    assert_eq!(members(&wanted).unwrap(), [mine], "{foreign}");
    let all = Census { ids: None, ..Census::new(std::iter::once(&wanted)) }.take().unwrap();
    assert_eq!(all, [vec![mine]]);
    assert!(is_member(&wanted, mine) && !is_member(&wanted, foreign) && !is_member(&wanted, 1));

    // Several ask at once, and each gets its own.
    let theirs = mark(other.id() as i32, began, &format!("{value}0"));
    std::thread::scope(|scope| {
        let asked: Vec<_> =
            (0..8).map(|at| if at % 2 == 0 { (&wanted, mine) } else { (&theirs, foreign) }).collect();
        let asked: Vec<_> =
            asked.into_iter().map(|(mark, pid)| (scope.spawn(|| members(mark).unwrap()), pid)).collect();
        for (asked, pid) in asked {
            assert_eq!(asked.join().unwrap(), [pid]);
        }
    });

    kill(mine);
    kill(foreign);
    one.wait().unwrap();
    other.wait().unwrap();
    assert_eq!(members(&wanted).unwrap(), [0; 0]);
}
