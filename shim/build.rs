//! Compiles the process of pod sandboxes, which `shimd` carries inside.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=pause/pause.c");
    let output = PathBuf::from(std::env::var("OUT_DIR")?).join("pause");
    let version = std::env::var("CARGO_PKG_VERSION")?;
    let mut compiler = cc::Build::new().opt_level_str("s").debug(false).get_compiler().to_command();
    compiler
        .args([
            "-static",
            "-nostdlib",
            "-ffreestanding",
            "-fno-stack-protector",
            "-fno-pie",
            "-no-pie",
            "-Wl,--build-id=none",
            "-s",
        ])
        .arg(format!("-DVERSION=\"{version}\""))
        .arg("-o")
        .arg(&output)
        .arg("pause/pause.c");
    let status = compiler.status()?;
    if !status.success() {
        return Err(format!("the C compiler could not build pause/pause.c ({status}): {compiler:?}").into());
    }
    Ok(())
}
