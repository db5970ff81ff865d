//! A real terminal for a program: what it shows and asks is read, and answered, as by a person.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use crate::common::PATIENCE;

/// How soon the thread that reads sees that it is to end.
const LOOK_MS: i32 = 20;

/// A program on a terminal of 80 columns.
pub struct Terminal {
    pub child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    /// Whether the thread that reads it is to end.
    is_closed: Arc<AtomicBool>,
    watcher: JoinHandle<()>,
    /// All that it has shown.
    pub seen: String,
    /// How much of that was waited for.
    read: usize,
}

impl Terminal {
    pub fn start(command: &mut Command) -> Self {
        let (mut ours, mut theirs) = (0, 0);
        let size = libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let null = std::ptr::null_mut::<libc::termios>();
        // SAFETY: both descriptors are written by the call, which takes null for "no name, usual settings".
        let opened = unsafe {
            libc::openpty(&mut ours, &mut theirs, std::ptr::null_mut(), null, (&raw const size).cast_mut())
        };
        assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
        // SAFETY: nobody else has these two.
        let (ours, theirs) = unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
        // SAFETY: of the descriptor that was just opened.
        unsafe { libc::fcntl(ours.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
        let other = || theirs.try_clone().unwrap();
        command.stdin(other()).stdout(other()).stderr(other());
        // SAFETY: both calls may be made between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY as _, 0);
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        // The copies in the command would keep the terminal open.
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        command.stderr(std::process::Stdio::null());
        let keyboard = File::from(ours);
        let mut reader = keyboard.try_clone().unwrap();
        let (sender, screen) = channel();
        let is_closed = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&is_closed);
        let watcher = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while !is_over.load(Ordering::SeqCst) {
                let mut wanted = libc::pollfd { fd: reader.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                // SAFETY: one descriptor, which is open.
                if unsafe { libc::poll(&raw mut wanted, 1, LOOK_MS) } < 1 {
                    continue;
                }
                // An error is the end: the last program has closed the terminal.
                let Ok(read @ 1..) = reader.read(&mut bytes) else { return };
                if sender.send(bytes[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard, screen, is_closed, watcher, seen: String::new(), read: 0 }
    }

    pub fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this is shown behind what was waited for before; gives what came up to it.
    pub fn until(&mut self, part: &str) -> String {
        loop {
            if let Some(at) = self.seen[self.read..].find(part) {
                let end = self.read + at + part.len();
                return self.seen[std::mem::replace(&mut self.read, end)..end].to_owned();
            }
            match self.screen.recv_timeout(PATIENCE) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("{part:?} was not shown ({error}): {:?}", self.seen),
            }
        }
    }

    /// Closes it, as somebody who closes the window.
    pub fn close(self) -> Child {
        let Self { child, is_closed, watcher, .. } = self;
        is_closed.store(true, Ordering::SeqCst);
        watcher.join().unwrap();
        child
    }

    /// Waits for the end; the exit code and what was shown since.
    pub fn end(mut self) -> (Option<i32>, String) {
        while let Ok(bytes) = self.screen.recv_timeout(PATIENCE) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        (self.child.wait().unwrap().code(), self.seen[self.read..].to_owned())
    }
}
