//! What surrounds the program in a test: directories, programs that it calls, daemons.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::fake::Daemons;

/// The Dockerfile in the directory in which commands run.
pub(crate) const DOCKERFILE: &str = "FROM scratch\nCOPY hello /\nCMD [\"/hello\"]\n";
/// A stand-in for bootstrap: it says how it was called, and fails if it is told to.
const BOOTSTRAP: &str = "#!/bin/sh\necho \"bootstrap $*\"\nexit \"${BOOTSTRAP_EXIT:-0}\"\n";
/// A credential helper: it knows one server, and nothing of others.
const HELPER: &str = r#"#!/bin/sh
read -r server
case "$1 $server" in
"get registry.example") echo '{"ServerURL":"registry.example","Username":"helped","Secret":"s3cret"}' ;;
"get token.example") echo '{"ServerURL":"token.example","Username":"<token>","Secret":"t0ken"}' ;;
"get broken.example") echo '{"Username":'; exit 0 ;;
"get failing.example") echo "the keychain is locked" >&2; exit 1 ;;
*) echo "credentials not found in native keychain"; exit 1 ;;
esac
"#;

/// A world. Everything in it goes with it.
pub(crate) struct World {
    /// Has the instance, the home and the directory in which commands run.
    dir: TempDir,
    /// Has the programs. It is beside the one under test, so that no copy is needed.
    bin: TempDir,
    _daemons: Daemons,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["root/run", "root/log", "empty", "home/.docker", "work/docker"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        write(&dir.path().join("work/Dockerfile"), DOCKERFILE);
        write(&dir.path().join("work/docker/Dockerfile.dev"), "FROM scratch\n");
        let bin = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        std::fs::hard_link(env!("CARGO_BIN_EXE_shimctl"), bin.path().join("shimctl")).unwrap();
        script(&bin.path().join("bootstrap"), BOOTSTRAP);
        script(&bin.path().join("docker-credential-test"), HELPER);
        let daemons = Daemons::start(&dir.path().join("root"));
        Self { dir, bin, _daemons: daemons }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns a shell that runs a command line in this world.
    pub(crate) fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        self.prepare(command.args(["-c", line]));
        command
    }

    /// Returns the program under test.
    pub(crate) fn shimctl(&self) -> Command {
        let mut command = Command::new(self.bin.path().join("shimctl"));
        self.prepare(&mut command);
        command
    }

    fn prepare(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.bin.path().display()))
            .env("HOME", self.path("home"))
            .env("TZ", "UTC")
            .env("SHIM_ROOT", self.root())
            .env("WORLD", self.dir.path())
            .current_dir(self.path("work"))
            .stdin(Stdio::null());
    }

    /// Replaces what differs from run to run.
    pub(crate) fn normalise(&self, text: &str) -> String {
        let world = self.dir.path().to_str().unwrap();
        text.replace(world, "{WORLD}")
            .replace("sudo shimctl", "shimctl")
            .replace(env!("CARGO_PKG_VERSION"), "{VERSION}")
    }
}

fn write(path: &Path, text: &str) {
    use std::io::Write as _;
    std::fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn script(path: &Path, text: &str) {
    write(path, text);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
