//! Memory that goes back to the system. By itself the allocator of the GNU C library keeps what was freed, for ever where
//! something smaller lies behind it; others give it back.

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
