//! Runs critest on a plain containerd and prints what became of every spec that did not pass.
//!
//! usage: cargo run -p tests --example critest -- debian|1.7|2 [FOCUS]

use anyhow::{Result, bail};
use tests::containerd::Engine;
use tests::critest::{self, Outcome};

#[expect(clippy::print_stdout, reason = "printing is what it is for")]
fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let engine = match args.next().as_deref() {
        Some("debian") => Engine::debian()?,
        Some("1.7") => Engine::one_seven()?,
        Some("2") => Engine::two()?,
        _ => bail!("usage: critest debian|1.7|2 [FOCUS]"),
    };
    let report = critest::baseline(&engine, args.next().as_deref())?;
    for (name, outcome) in &report.0 {
        match outcome {
            Outcome::Passed => {}
            Outcome::Skipped(reason) => println!("skipped  {name}\n         {reason}"),
            Outcome::Failed(message) => println!("failed   {name}\n{message}\n"),
        }
    }
    let (passed, failed, skipped) = report.counts();
    println!("containerd {:?}: {passed} passed, {failed} failed, {skipped} skipped", engine.version);
    Ok(())
}
