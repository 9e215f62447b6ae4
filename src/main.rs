//! Parse, run, exit code: nothing else happens here.

fn main() -> std::process::ExitCode {
    keep_memory();
    syncscope::cli::main()
}

/// Stretches of a connection are analysed one after the other, each in a few megabytes: to hand those back to the
/// kernel every time costs a fifth of the processor time.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
fn keep_memory() {
    const KEPT: i32 = 32 << 20;
    // SAFETY: sets two numbers of the allocator, before there is another thread.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}

#[cfg(not(target_env = "gnu"))]
fn keep_memory() {}
