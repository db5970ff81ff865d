//! A way by TCP to the suite's server, whose socket is its owner's alone; it may be a bad one.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::socket_directory;

/// How bytes pass.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    AtOnce,
    /// Each piece so much later: a round trip takes twice that.
    Late(Duration),
    /// Each in a packet of its own.
    ByteByByte,
}

/// Open until the suite ends.
pub struct Door {
    port: u16,
}

impl Door {
    pub fn open(pace: Pace) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let socket = socket_directory().join(".s.PGSQL.5432");
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                client.set_nodelay(true).unwrap();
                let server = UnixStream::connect(&socket).unwrap();
                let (from_client, from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (to_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                // Who hangs up may have been faster: then there is nothing to shut down.
                std::thread::spawn(move || {
                    pass(from_client, to_server, pace);
                    drop(server.shutdown(Shutdown::Both));
                });
                std::thread::spawn(move || {
                    pass(from_server, to_client, pace);
                    drop(client.shutdown(Shutdown::Both));
                });
            }
        });
        Self { port }
    }

    pub fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

/// Until either side hangs up.
fn pass(mut from: impl Read, mut to: impl Write, pace: Pace) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(bytes @ 1..) = from.read(&mut buffer) {
        let piece = &buffer[..bytes];
        let passed = match pace {
            Pace::AtOnce => to.write_all(piece),
            Pace::Late(delay) => {
                // What the network does, not a wait for something.
                std::thread::sleep(delay);
                to.write_all(piece)
            }
            Pace::ByteByByte => piece.iter().try_for_each(|byte| to.write_all(&[*byte])),
        };
        if passed.is_err() {
            return;
        }
    }
}
