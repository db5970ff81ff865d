//! What the system says of itself.

/// The host's name; `localhost` where the system does not tell.
pub fn host_name() -> String {
    // POSIX allows 255 bytes and a NUL.
    let mut buffer = [0_u8; 256];
    // SAFETY: the pointer and the length are those of one live buffer.
    let failed = unsafe { libc::gethostname(buffer.as_mut_ptr().cast(), buffer.len()) } != 0;
    let end = buffer.iter().position(|&byte| byte == 0).unwrap_or(buffer.len());
    match std::str::from_utf8(&buffer[..end]) {
        Ok(name) if !failed && !name.is_empty() => name.to_owned(),
        _ => "localhost".to_owned(),
    }
}
