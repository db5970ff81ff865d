//! A network that is slow, drips, or is cut for a while.

use std::time::{Duration, Instant};

use super::proxy::{Proxy, Weather};
use super::world::{Idle, Serve, World};

fn serve_through(world: &mut World, proxy: &Proxy) -> Serve {
    let url = world.url_through(proxy);
    world.serve_on(&url, &["--no-http"], &[])
}

#[test]
fn a_latency_of_200_ms_slows_processes_and_nothing_else() {
    let mut world = World::new("latency");
    let proxy = world.proxy();
    proxy.weather(Weather::Late(Duration::from_millis(100)));
    let ids = world.start("two", 12, &["true", "true"]);
    let began = Instant::now();
    let mut serve = serve_through(&mut world, &proxy);
    println!("ready after {:?}", began.elapsed());
    world.wait_for_all(&ids);
    println!("all ended after {:?}", began.elapsed());
    serve.stop();
    assert!(!serve.log().contains("query failed"), "{}", serve.log());
    world.assert_ran_once(&ids, 2);
}

#[test]
fn a_connection_that_drips_byte_by_byte_is_read_all_the_same() {
    let mut world = World::new("trickle");
    let proxy = world.proxy();
    proxy.weather(Weather::Trickle);
    let ids = world.start("two", 6, &["echo some output", "true"]);
    let mut serve = serve_through(&mut world, &proxy);
    world.wait_for_all(&ids);
    serve.stop();
    assert!(!serve.log().contains("query failed"), "{}", serve.log());
    world.assert_ran_once(&ids, 2);
}

#[test]
fn a_network_that_is_cut_and_refuses_for_a_while_is_waited_for() {
    let mut world = World::new("cut");
    let proxy = world.proxy();
    let mut ids = world.start("two", 40, &["true", "sleep 0.05"]);
    let mut serve = serve_through(&mut world, &proxy);
    let idle = Idle::begin(&serve);
    for _ in 0..3 {
        proxy.refuse(true);
        proxy.cut();
        std::thread::sleep(Duration::from_secs(1));
        proxy.refuse(false);
        std::thread::sleep(Duration::from_millis(300));
    }
    world.wait_for_all(&ids);
    idle.end(&serve, 60);
    ids.extend(world.start("afterwards", 4, &["true", "true"]));
    world.wait_for_all(&ids);
    serve.stop();
    world.assert_ran_once(&ids, 2);
}
