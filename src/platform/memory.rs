//! Memory that goes back to the system, or that it is not to take. By itself the allocator of the GNU C library keeps what was freed, for ever where
//! something smaller lies behind it; others give it back.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// Blocks of this size are asked of the system one by one, and go back to it when they are freed. Without being told the
/// library raises the size to that of the largest block freed so far (32 MiB at the most).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BYTES: libc::c_int = 256 * 1024;

/// Has large blocks go back as soon as they are freed, in the whole program from now on.
pub fn return_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt takes two numbers; what it does not know it ignores.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
    }
}

/// Gives back what is free now. It looks at all free memory, some milliseconds: for moments after much was freed.
pub fn return_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes a number of bytes to keep and locks what it works on.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Has the system keep no more than about so many bytes that a client has not taken yet (Linux takes it twice).
pub fn limit_send_buffer(stream: &TcpStream, bytes: u32) -> io::Result<()> {
    let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    // SAFETY: the descriptor is open as long as `stream`, and the pointer is to a number of the length that is told.
    let done = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDBUF,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
