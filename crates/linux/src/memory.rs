//! How a small long-lived process keeps its heap small. glibc's defaults suit large ones: an arena for each
//! thread, 128 KiB kept at the top. musl has neither, and nothing to set.

/// One arena, nothing kept at the top, and everything over 32 KiB mapped by itself and so given back at once.
pub fn keep_heap_small() {
    #[cfg(target_env = "gnu")]
    for (option, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_TOP_PAD, 0),
        (libc::M_TRIM_THRESHOLD, 16 * 1024),
        (libc::M_MMAP_THRESHOLD, 32 * 1024),
    ] {
        set(option, value);
    }
}

/// At most this many arenas: threads of a daemon share them instead of each keeping its own.
pub fn limit_arenas(arenas_max: u8) {
    #[cfg(target_env = "gnu")]
    set(libc::M_ARENA_MAX, i32::from(arenas_max));
    #[cfg(not(target_env = "gnu"))]
    let _ = arenas_max;
}

/// Gives free memory back to the kernel.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: has no preconditions; it takes the heap's own locks.
    let _ = unsafe { libc::malloc_trim(0) };
}

#[cfg(target_env = "gnu")]
fn set(option: libc::c_int, value: libc::c_int) {
    // SAFETY: takes numbers and touches only malloc's own settings; an unknown one is ignored.
    let _ = unsafe { libc::mallopt(option, value) };
}
