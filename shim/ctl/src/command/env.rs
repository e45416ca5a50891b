//! `shimctl env`.

use std::ffi::OsStr;
use std::path::Path;

use clap::ValueEnum;

use crate::exit::Failure;
use crate::layout::Layout;
use crate::output;
use crate::output::text::{fish_quoted, shell_quoted};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  eval \"$(shimctl env)\"\n  shimctl env --shell fish | source")]
pub(crate) struct Args {
    /// The shell that shall understand it; by default the one in SHELL if it is known
    #[arg(long, value_enum)]
    shell: Option<Shell>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    /// Any POSIX shell
    #[value(alias = "zsh", alias = "sh")]
    Bash,
    Fish,
}

pub(crate) fn run(args: Args, layout: &Layout) -> Result<(), Failure> {
    let used = std::env::var_os("SHELL").unwrap_or_default();
    let is_fish = Path::new(&used).file_name() == Some(OsStr::new("fish"));
    let shell = args.shell.unwrap_or(if is_fish { Shell::Fish } else { Shell::Bash });
    let kubeconfig = layout.kubeconfig().filter(|path| Path::new(path).exists());
    let bin = layout.bin_dir();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has_bin = std::env::split_paths(&path).any(|dir| dir == Path::new(&bin));
    output::print(&exports(shell, layout, kubeconfig, (!has_bin).then_some(bin)))
}

fn exports(shell: Shell, layout: &Layout, kubeconfig: Option<String>, bin: Option<String>) -> String {
    let endpoint = format!("unix://{}", layout.cri_socket());
    // Without a file crictl complains in every call, and with one it may be another runtime's.
    let mut variables = vec![
        ("CONTAINER_RUNTIME_ENDPOINT", endpoint.clone()),
        ("IMAGE_SERVICE_ENDPOINT", endpoint),
        ("CRI_CONFIG_FILE", "/dev/null".to_owned()),
    ];
    variables.extend(kubeconfig.map(|path| ("KUBECONFIG", path)));
    let mut text: String = variables
        .into_iter()
        .map(|(name, value)| match shell {
            Shell::Bash => format!("export {name}={}\n", shell_quoted(&value)),
            Shell::Fish => format!("set -gx {name} {};\n", fish_quoted(&value)),
        })
        .collect();
    if let Some(bin) = bin {
        text.push_str(&match shell {
            Shell::Bash => format!("export PATH={}:\"$PATH\"\n", shell_quoted(&bin)),
            Shell::Fish => format!("set -gx PATH {} $PATH;\n", fish_quoted(&bin)),
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells() {
        let layout = Layout::new(Path::new("/srv/it's")).unwrap();
        let bash = exports(Shell::Bash, &layout, layout.kubeconfig(), Some(layout.bin_dir()));
        let expected = r#"export CONTAINER_RUNTIME_ENDPOINT='unix:///srv/it'\''s/run/cri.sock'
export IMAGE_SERVICE_ENDPOINT='unix:///srv/it'\''s/run/cri.sock'
export CRI_CONFIG_FILE='/dev/null'
export KUBECONFIG='/srv/it'\''s/kubeconfig'
export PATH='/srv/it'\''s/bin':"$PATH"
"#;
        assert_eq!(bash, expected);
        let fish = exports(Shell::Fish, &layout, None, Some(layout.bin_dir()));
        let expected = r"set -gx CONTAINER_RUNTIME_ENDPOINT 'unix:///srv/it\'s/run/cri.sock';
set -gx IMAGE_SERVICE_ENDPOINT 'unix:///srv/it\'s/run/cri.sock';
set -gx CRI_CONFIG_FILE '/dev/null';
set -gx PATH '/srv/it\'s/bin' $PATH;
";
        assert_eq!(fish, expected);
    }

    #[test]
    fn only_what_is_needed() {
        let layout = Layout::new(Path::new("/var/lib/shim")).unwrap();
        let text = exports(Shell::Bash, &layout, layout.kubeconfig(), None);
        let endpoint = "'unix:///run/shim/cri.sock'";
        assert_eq!(
            text,
            format!(
                "export CONTAINER_RUNTIME_ENDPOINT={endpoint}\nexport IMAGE_SERVICE_ENDPOINT={endpoint}\n\
                 export CRI_CONFIG_FILE='/dev/null'\n"
            )
        );
    }

    #[test]
    fn a_shell_reads_it_back() {
        let layout = Layout::new(Path::new("/srv/a \"$b\" 'c' \\d `e`")).unwrap();
        let script = exports(Shell::Bash, &layout, layout.kubeconfig(), Some(layout.bin_dir()));
        let shell = std::process::Command::new("sh")
            .args(["-c", &format!("{script}printf '%s\\n%s' \"$KUBECONFIG\" \"$PATH\"")])
            .env("PATH", "/bin:/usr/bin")
            .output()
            .unwrap();
        let expected = format!("{}\n{}:/bin:/usr/bin", layout.kubeconfig().unwrap(), layout.bin_dir());
        assert_eq!(String::from_utf8(shell.stdout).unwrap(), expected);
    }
}
