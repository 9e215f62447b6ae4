//! Parse, run, exit code: nothing else happens here.

fn main() -> std::process::ExitCode {
    syncscope::cli::main()
}
