//! Links the program statically, so that it runs in an image that holds nothing else, and is still what the plain
//! `cargo build` produces: `-C target-feature=+crt-static` would need a target or flags of its own.
//!
//! For a dynamic C library rustc ends its command with `-Bdynamic -lgcc_s -lutil … -lc`. A directory that is searched before the
//! system's holds an archive of each of these names: a linker script that stands for the static one.

use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::{env, fmt};

/// What rustc's standard library asks for, and the archives that have it. The C library and the unwinder need each other.
const LIBRARIES: [(&str, &[&str]); 7] = [
    ("gcc_s", &["gcc_eh", "gcc"]),
    ("c", &["c", "gcc_eh", "gcc"]),
    ("m", &["m"]),
    ("dl", &["dl"]),
    ("rt", &["rt"]),
    ("util", &["util"]),
    ("pthread", &["pthread"]),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    let target = |name: &str| env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    // With musl, or when it was asked for, it is static already.
    if target("ENV") != "gnu" || target("FEATURE").split(',').any(|feature| feature == "crt-static") {
        return Ok(());
    }
    let directory = env::var("OUT_DIR")?;
    match scripts(Path::new(&directory)) {
        Ok(()) => {
            println!("cargo::rustc-link-arg-bins=-L{directory}\ncargo::rustc-link-arg-bins=-static-pie")
        }
        Err(problem) => {
            println!("cargo::warning=`controllers` is not static and will not run in a pod: {problem}")
        }
    }
    Ok(())
}

fn scripts(directory: &Path) -> Result<(), Box<dyn Error>> {
    let compiler = env::var("RUSTC_LINKER").unwrap_or_else(|_| "cc".into());
    for (name, archives) in LIBRARIES {
        let paths = archives
            .iter()
            .map(|archive| find(&compiler, &format!("lib{archive}.a")))
            .collect::<Result<Vec<String>, _>>()?;
        let script = format!("GROUP({})\n", paths.join(" "));
        File::create(directory.join(format!("lib{name}.a")))?.write_all(script.as_bytes())?;
    }
    Ok(())
}

/// Asks the C compiler where it would find a file.
fn find(compiler: &str, name: &str) -> Result<String, Missing> {
    let missing = |why: String| Missing { name: name.into(), why };
    let output = Command::new(compiler)
        .arg(format!("-print-file-name={name}"))
        .output()
        .map_err(|error| missing(format!("cannot run {compiler}: {error}")))?;
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    // What it does not find it answers with the bare name.
    if Path::new(&path).is_absolute() && Path::new(&path).exists() {
        Ok(path)
    } else {
        Err(missing(format!(
            "{compiler} does not find it; the C library's static archives are not installed"
        )))
    }
}

#[derive(Debug)]
struct Missing {
    name: String,
    why: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.why)
    }
}

impl Error for Missing {}
