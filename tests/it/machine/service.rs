//! A machine with the service installed: its own user, settings and database, and root's beside it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use process_orchestrator::database::private_cluster::PrivateCluster;
use process_orchestrator::platform::files::effective_uid;

use super::{is_granted, program_for_all};
use crate::common::{leave_out, tool, wait_until};
use crate::program::{Bench, Ended, ended};

/// `/etc` and `/var/lib` of the test's own; the user's number is one that nobody has.
const MACHINE: &str = r#"
mount --make-rprivate /
mkdir "$folder/lib"
cp -a /etc "$folder/etc"
rm -rf "$folder/etc/process-orchestrator"
chmod 755 "$folder/etc" "$folder/lib"
mount --bind "$folder/etc" /etc
mount --bind "$folder/lib" /var/lib
echo "process-orchestrator:x:54322:54322::/var/lib/process-orchestrator:/bin/sh" >>/etc/passwd
echo "process-orchestrator:x:54322:" >>/etc/group
"#;

/// The same with what `scripts/install` and the service's first start leave.
const INSTALLED: &str = r#"
mkdir -p /etc/process-orchestrator /var/lib/process-orchestrator
chmod 700 /var/lib/process-orchestrator
chown 54322:54322 /var/lib/process-orchestrator
echo 'PROCESS_ORCHESTRATOR_SCHEMA="of the service"' >/etc/process-orchestrator/process-orchestrator.env
install -m 600 /dev/null /etc/process-orchestrator/database-url
"#;

/// Runs the steps as root of such a machine; `None` where there can't be one.
fn on_a_machine(bench: &Bench, steps: &[&str]) -> Option<Ended> {
    if effective_uid() != 0 {
        leave_out("only root can imitate a machine of its own");
        return None;
    }
    if !is_granted(&["unshare", "--mount", "true"]) {
        return None;
    }
    let template = bench.command(&[]);
    let mut machine = Command::new("unshare");
    machine.args(["--mount", "sh", "-euc", &[MACHINE, &steps.concat()].concat()]);
    for (name, _) in template.get_envs().filter(|(_, value)| value.is_none()) {
        machine.env_remove(name);
    }
    machine.env("folder", &bench.folder).env("program", program_for_all(bench)).current_dir(&bench.folder);
    Some(ended(&mut machine))
}

#[test]
fn a_command_reaches_the_services_own_database_by_an_option_that_every_error_names() {
    let bench = Bench::new("service");
    let steps = r#"
        say() { echo "== $1"; }
        exec 2>&1
        say absent; "$program" --service list || true
    "#;
    let installed = r#"
        say elsewhere; "$program" list || true
        say made; "$program" --service migrate
        say whose; stat -c %u /var/lib/process-orchestrator/postgresql-*
        say listed; "$program" --service list --json
        say hint; "$program" --service show nothing || true
        say foreign; PROCESS_ORCHESTRATOR_DATA_DIR=/var/lib/process-orchestrator "$program" list || true
        say user; setpriv --reuid 54321 --clear-groups "$program" --service list --limit 3 || true
        say roots; "$program" migrate
        say "not found"; "$program" show nothing || true
        say doctor; "$program" doctor || true
        say url; echo 'postgresql://somebody@127.0.0.1:1/db' >/etc/process-orchestrator/database-url
        "$program" --service list || true
        say settings; echo 'PROCESS_ORCHESTRATOR_SCHEMA="pg_own"' >/etc/process-orchestrator/process-orchestrator.env
        "$program" --service list || true
    "#;
    let Some(said) = on_a_machine(&bench, &[steps, INSTALLED, installed]) else { return };
    let said = said.expect(0).out;
    let section = |name: &str| {
        let all = said.split(&format!("== {name}\n")).nth(1).unwrap_or_else(|| panic!("no {name}: {said}"));
        all.split("== ").next().unwrap().to_owned()
    };
    let reach = "the service on this machine has a database of its own, and a command reaches that by: \
                 sudo process-orchestrator --service COMMAND";
    for (name, part) in [
        ("absent", "--service: there is no service on this machine"),
        ("elsewhere", reach),
        ("elsewhere", "/var/lib/process-orchestrator-root holds no database"),
        ("made", "making a private PostgreSQL in /var/lib/process-orchestrator,"),
        ("settings", "'pg_own' for '--schema"),
        ("whose", "54322\n"),
        ("listed", "\"processes\": []"),
        ("foreign", "/var/lib/process-orchestrator belongs to process-orchestrator"),
        ("foreign", "it is the service's own: sudo process-orchestrator --service COMMAND"),
        ("user", "sudo process-orchestrator --service list --limit 3"),
        ("roots", "making a private PostgreSQL in /var/lib/process-orchestrator-root, where"),
        ("roots", reach),
        ("not found", reach),
        ("doctor", "sudo process-orchestrator --service COMMAND"),
        ("url", "127.0.0.1:1"),
    ] {
        assert!(section(name).replace("\n ", " ").contains(part), "{name} lacks {part:?}: {said}");
    }
    for name in ["made", "hint", "url"] {
        assert!(!section(name).contains(reach), "{name}: {said}");
    }
}

/// Root's cargo is nobody's: rustup puts it into a home directory, and sudo does not look there.
#[test]
fn root_has_the_program_built_by_whom_the_checkout_belongs_to() {
    let bench = Bench::new("install_build");
    let (cargo, program) = (bench.folder.join("cargo"), env!("CARGO_BIN_EXE_process-orchestrator"));
    fs::write(
        &cargo,
        format!(
            "#!/bin/sh\ncase $1 in\n--version) echo cargo 1.95.0 ;;\nmetadata) echo '{{\"target_directory\":\"/home/maker/t\"}}' ;;\n\
             build) id -un >&2; umask 077; mkdir -p ~/t/release; cp /made ~/t/release/process-orchestrator ;;\nesac\n# {program}"
        ),
    )
    .unwrap();
    let steps = format!(
        r#"
        exec 2>&1
        touch "$folder/nothing"
        mkdir "$folder/home" "$folder/prefix"
        mount --bind "$folder/home" /home
        mount --bind "$folder/prefix" /opt
        mkdir -p /home/maker/.cargo/bin
        echo "maker:x:54323:54323::/home/maker:/bin/sh" >>/etc/passwd
        echo "maker:x:54323:" >>/etc/group
        sed "s|/made|/home/maker/made|" cargo >/home/maker/.cargo/bin/cargo
        chmod 755 /home/maker/.cargo/bin/cargo
        cp "{program}" /home/maker/made
        chown -R 54323:54323 /home/maker
        chmod 755 /home/maker/made
        cd "{}"
        umask 077
        PREFIX=/opt SUDO_USER=maker PATH=/usr/sbin:/usr/bin:/sbin:/bin scripts/install
        # A rustup user's own files may be closed to others; what is installed is not.
        find /opt /etc/process-orchestrator -perm /077 -o -print
        stat -c '%u %a %n' /home/maker/t/release/process-orchestrator
        "#,
        env!("CARGO_MANIFEST_DIR")
    );
    let Some(said) = on_a_machine(&bench, &[&steps]) else { return };
    let said = said.expect(0).out;
    for part in [
        "\nmaker\n",
        "\n54323 700 /home/maker/t/release/",
        "installed /opt/bin/process-orchestrator",
        "--service list",
    ] {
        assert!(said.contains(part), "no {part:?}: {said}");
    }
    let closed: Vec<&str> =
        said.lines().filter(|line| line.starts_with("/opt") || line.starts_with("/etc")).collect();
    assert_eq!(closed, ["/etc/process-orchestrator/database-url"], "{said}");
}

#[test]
fn install_moves_roots_cluster_out_of_the_services_way_unless_its_server_runs() {
    let bench = Bench::new("install_move");
    let steps = format!(
        r#"
        exec 2>&1
        mkdir "$folder/prefix"
        mount --bind "$folder/prefix" /opt
        mkdir /var/lib/process-orchestrator
        export PREFIX=/opt
        # As a program before this one has made it.
        PROCESS_ORCHESTRATOR_DATA_DIR=/var/lib/process-orchestrator "$program" migrate
        "$program" serve --no-http --executors 1 2>"$folder/log" &
        until grep -q " ready: node" "$folder/log"; do sleep 0.05; done
        cd "{}"
        echo "== running"; cat "$folder/log"; scripts/install --binary "$program" || true
        echo "== stopped"; kill $!; wait $!; scripts/install --binary "$program"
        "$program" list
        "#,
        env!("CARGO_MANIFEST_DIR")
    );
    let Some(said) = on_a_machine(&bench, &[&steps]) else { return };
    let said = said.expect(0).out;
    let (running, stopped) = said.split_once("== stopped").unwrap();
    assert!(
        running.contains("move it while nothing uses it: mv /var/lib/process-orchestrator /var/lib/"),
        "{said}"
    );
    assert!(
        running.contains("error: root's private PostgreSQL runs in /var/lib/process-orchestrator (process "),
        "{said}"
    );
    assert!(
        stopped.contains("was moved from /var/lib/process-orchestrator, which is the service's"),
        "{said}"
    );
    assert!(!stopped.contains("making a private PostgreSQL"), "{said}");
}

/// What systemd does to a StateDirectory that belongs to somebody else when the service is started.
#[test]
fn a_node_whose_private_cluster_is_given_to_somebody_else_says_so_and_ends() {
    if effective_uid() != 0 {
        return leave_out("only root can give files away");
    }
    if tool("chown").is_none() {
        return;
    }
    let bench = Bench::new("given_away");
    let folder = bench.folder.join("data");
    let data_dir = folder.to_str().unwrap();
    fs::set_permissions(&bench.folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let node = super::Served::ready(&mut bench.command(&["serve", "--no-http", "--data-dir", data_dir]));
    let server = fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path().join("postmaster.pid"));
    let file = server.into_iter().find(|it| it.exists()).unwrap();
    let server: u32 = fs::read_to_string(file).unwrap().lines().next().unwrap().parse().unwrap();
    super::done(&["chown", "-R", "54322:54322", data_dir]);
    node.says("was given to user id 54322 while the private PostgreSQL ran in it as ");
    node.says("give each a directory of its own (--data-dir); the node stops");
    wait_until("the server has ended", || {
        (!process_orchestrator::platform::processes::is_alive(server)).then_some(())
    });
    let log = node.ended();
    assert!(log.ends_with("stopped\n"), "{log}");
}

/// Whoever starts then finds that server, and would lose all with it.
#[test]
fn a_server_whose_files_were_given_to_somebody_else_is_not_joined() {
    if effective_uid() != 0 {
        return leave_out("only root can give files away");
    }
    let bench = Bench::new("given");
    fs::set_permissions(&bench.folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let folder = bench.folder.join("data");
    let first = PrivateCluster::open_with(&folder, &[("fsync", "off")]).unwrap();
    let is_cluster = |path: &std::path::PathBuf| path.join("PG_VERSION").exists();
    let cluster = fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path()).find(is_cluster).unwrap();
    let owner = fs::metadata(&cluster).unwrap().uid();
    std::os::unix::fs::chown(&cluster, Some(54_322), None).unwrap();
    let refused = bench.run(&["list", "--data-dir", folder.to_str().unwrap()]).expect(4).err;
    assert!(
        refused.contains("and the files belong to user id 54322 by now: they were given away under it; stop"),
        "{refused}"
    );
    std::os::unix::fs::chown(&cluster, Some(owner), None).unwrap();
    first.close().unwrap();
}
