//! See the library.

fn main() -> std::process::ExitCode {
    bootstrap::run()
}
