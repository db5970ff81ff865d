//! A network between node and database that is cut: both ways, and one way each, where the other still carries.
//!
//! The cut node lives in a network namespace of its own, the server and the other node outside. A way is cut
//! silently, as a broken switch does it: what is sent goes to an address on the link that nobody has.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use process_orchestrator::database::private_cluster::PrivateCluster;
use process_orchestrator::database::{ConnectionSettings, process_environment};
use process_orchestrator::platform::files::effective_uid;
use process_orchestrator::platform::processes::is_alive;
use process_orchestrator::store::Store;
use process_orchestrator::{Outcome, ProcessStatus, ProcessType};

use super::{Served, done, is_granted, read};
use crate::common::{script, tool, wait_until};
use crate::program::{Bench, ended};

const LEASE: Duration = Duration::from_secs(6);
/// The times of both nodes; the shortest lease that leaves a loaded machine its heartbeats.
const TIMES: [&str; 6] = ["--heartbeat", "500ms", "--dead-after", "2s", "--lease", "6s"];

/// Which packets are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    BothWays,
    ToServer,
    ToNode,
}

/// One end of a link.
struct End {
    /// What comes between `ip` and its command.
    place: Vec<String>,
    interface: String,
    address: String,
    hardware: String,
}

/// A namespace with a link to it.
struct Network {
    namespace: String,
    outside: End,
    inside: End,
}

/// An address on the link that nobody has.
const NOBODY: &str = "02:00:00:00:00:99";

fn ip(end: &End, words: &[&str]) {
    let place: Vec<&str> = end.place.iter().map(String::as_str).collect();
    done(&[&["ip"], &place[..], words].concat());
}

impl Network {
    /// The `number`th of this test program; `None` on a machine that does not let us have one.
    fn new(number: u32) -> Option<Self> {
        let pid = std::process::id();
        let namespace = format!("po-{pid}-{number}");
        if !is_granted(&["ip", "netns", "add", &namespace]) {
            return None;
        }
        // From the block for benchmarks, which nobody routes; four addresses for each network.
        let address =
            |host: u32| format!("198.18.{}.{}", pid % 256, (pid / 256 % 4 * 16 + number) * 4 + host);
        let end = |place: &[&str], side: &str, host: u32| End {
            place: place.iter().map(|it| (*it).to_owned()).collect(),
            interface: format!("po{pid}{side}{number}"),
            address: address(host),
            hardware: format!("02:00:00:00:{number:02x}:0{host}"),
        };
        let (outside, inside) = (end(&[], "o", 1), end(&["-n", &namespace], "i", 2));
        let network = Self { namespace, outside, inside };
        let Network { outside, inside, namespace } = &network;
        let link = ["link", "add", &outside.interface, "address", &outside.hardware, "type", "veth", "peer"];
        let peer = ["name", &inside.interface, "address", &inside.hardware, "netns", namespace];
        if !is_granted(&[&["ip"], &link[..], &peer].concat()) {
            return None;
        }
        for end in [outside, inside] {
            ip(end, &["addr", "add", &format!("{}/30", end.address), "dev", &end.interface]);
            ip(end, &["link", "set", &end.interface, "up"]);
        }
        network.heal();
        Some(network)
    }

    /// Where `from` sends what is for `to`.
    fn direct(from: &End, to: &End, hardware: &str) {
        let words =
            ["neigh", "replace", &to.address, "lladdr", hardware, "dev", &from.interface, "nud", "permanent"];
        ip(from, &words);
    }

    fn cut(&self, cut: Cut) {
        if cut != Cut::ToNode {
            Self::direct(&self.inside, &self.outside, NOBODY);
        }
        if cut != Cut::ToServer {
            Self::direct(&self.outside, &self.inside, NOBODY);
        }
    }

    fn heal(&self) {
        Self::direct(&self.inside, &self.outside, &self.outside.hardware);
        Self::direct(&self.outside, &self.inside, &self.inside.hardware);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The link goes with the namespace.
        done(&["ip", "netns", "del", &self.namespace]);
    }
}

/// A server that is reached over all these networks.
fn open_cluster(folder: &Path, networks: &[(Cut, Network)]) -> PrivateCluster {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let rules = folder.join("rules");
    fs::write(&rules, "local all all trust\nhost all all 198.18.0.0/15 trust\n").unwrap();
    fs::set_permissions(&rules, fs::Permissions::from_mode(0o644)).unwrap();
    let addresses: Vec<&str> = networks.iter().map(|(_, network)| network.outside.address.as_str()).collect();
    let options = [
        ("fsync", "off"),
        ("shared_buffers", "8MB"),
        ("listen_addresses", &addresses.join(",")),
        ("hba_file", rules.to_str().unwrap()),
    ];
    PrivateCluster::open_with(&folder.join("data"), &options).unwrap()
}

#[test]
fn a_node_cut_off_from_the_database_fences_itself_before_another_takes_over_and_goes_on_when_healed() {
    if effective_uid() != 0 {
        crate::common::leave_out("only root can cut a network");
        return;
    }
    if tool("ip").is_none() || tool("flock").is_none() {
        return;
    }
    let cuts = [Cut::BothWays, Cut::ToServer, Cut::ToNode];
    let networks: Option<Vec<_>> =
        cuts.into_iter().zip(0..).map(|(cut, number)| Some((cut, Network::new(number)?))).collect();
    let Some(networks) = networks else { return };
    let bench = Bench::new("cut_network");
    let cluster = open_cluster(&bench.folder, &networks);
    std::thread::scope(|scope| {
        for (cut, network) in &networks {
            std::thread::Builder::new()
                .name(format!("{cut:?}"))
                .spawn_scoped(scope, || live_through(&bench, *cut, network))
                .unwrap();
        }
    });
    cluster.close().unwrap();
}

fn live_through(bench: &Bench, cut: Cut, network: &Network) {
    let name = format!("{cut:?}").to_lowercase();
    let url = format!("postgresql://postgres@{}/postgres", network.outside.address);
    // Sessions whose words are not acknowledged end after two seconds, not thirty: nobody wants to wait in a test.
    let impatient = format!("{url}?tcp_user_timeout=2000");
    let program = |starter: &[&str], url: &str, words: &[&str]| {
        let mut command = bench.started_by(starter, &[words, &["--schema", &name]].concat());
        command.env("DATABASE_URL", url);
        command
    };
    let serve = |starter: &[&str], url: &str, node_name: &str| {
        let words =
            [&["serve", "--no-http", "--executors", "2", "--node-name", node_name][..], &TIMES].concat();
        Served::ready(&mut program(starter, url, &words))
    };
    let database = || {
        let settings = ConnectionSettings::from_url("the test", &url, &process_environment).unwrap();
        Store::open(&settings, "test", &name).unwrap()
    };
    let (lock, journal) =
        (bench.folder.join(format!("{name}.lock")), bench.folder.join(format!("{name}.journal")));
    // Whoever runs beside another finds the lock taken: it is given back when the last process that has it is gone.
    let text = format!(
        "exec 9>>'{lock}'; flock -n 9 || {{ echo overlap >>'{journal}'; exit 9; }}
         echo $$ >>'{journal}'; [ $TASK_ATTEMPT -gt 1 ] || exec sleep 600",
        lock = lock.display(),
        journal = journal.display()
    );
    let types = [name.clone(), format!("{name}-after")];
    for kind in &types {
        let task = if *kind == name { script("held", &text) } else { script("after", "true") };
        let file = bench.file(&ProcessType::new(kind.as_str(), "").add(task));
        ended(&mut program(&[], &url, &["types", "register", &file])).expect(0);
    }
    let within = ["ip", "netns", "exec", &network.namespace];
    let cut_off = serve(&within, if cut == Cut::BothWays { &impatient } else { &url }, "cut-off");
    ended(&mut program(&[], &url, &["start", &name])).expect(0);
    let lines = || read(&journal).lines().map(str::to_owned).collect::<Vec<_>>();
    let command: u32 = wait_until("the command runs", || lines().first()?.parse().ok());
    let other = serve(&[], &url, "other");

    network.cut(cut);
    wait_until("the command is dead", || (!is_alive(command)).then_some(()));
    cut_off.says("lease not renewed for ");
    if cut == Cut::BothWays {
        cut_off.says("query failed role=keeper");
    }
    let mut store = database();
    let id = format!("{name}-1");
    let process = wait_until("the other node has completed the process", || {
        store.process(&id).unwrap().filter(|process| process.status.is_final())
    });
    assert_eq!(process.status, ProcessStatus::Completed, "{process:#?}");
    assert_eq!(lines().len(), 2, "each attempt once, neither beside the other: {:?}", lines());
    let executions = store.executions(&id).unwrap();
    let seen: Vec<_> = executions.iter().map(|it| (it.outcome, it.node.starts_with("cut-off"))).collect();
    assert_eq!(seen, [(Outcome::Lost, true), (Outcome::Succeeded, false)], "{executions:#?}");
    let nodes = store.nodes(10).unwrap();
    let node = nodes.iter().find(|node| node.name == "cut-off").unwrap();
    let silence = executions[1].started_at.duration_since(node.last_heartbeat);
    assert!(silence.unsigned_abs() >= LEASE, "taken over after a silence of {silence:?}");
    let log = cut_off.log();
    let told = log.split("lease not renewed for ").nth(1).unwrap();
    let fenced_s: f64 = told.split(' ').next().unwrap().parse().unwrap();
    assert!(fenced_s >= LEASE.as_secs_f64() * 2.0 / 3.0, "fenced after {fenced_s} s");

    network.heal();
    cut_off.says("node goes on node_id=cut-off-");
    other.stop();
    let id = types[1].clone();
    ended(&mut program(&[], &url, &["start", &id, "--process-id", &id])).expect(0);
    let process = wait_until("the healed node has completed another process", || {
        store.process(&id).unwrap().filter(|process| process.status.is_final())
    });
    assert_eq!(process.status, ProcessStatus::Completed);
    assert!(store.executions(&id).unwrap()[0].node.starts_with("cut-off"));
    cut_off.stop();
}
