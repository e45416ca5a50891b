use std::borrow::Cow;
use std::time::Duration;

use super::mount::MountOptions;

/// An instruction of a build stage, with its arguments as they were written.
///
/// Nothing is expanded yet. What later code expands with [`Expander::word`](super::expand::Expander::word), with
/// the variables as they were *before* the instruction, is said at each field; what is not said to be expanded is
/// taken as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instruction {
    /// `ADD`.
    Add(AddInstruction),
    /// `ARG`: declares build arguments. Names and defaults are expanded, the default only if it is needed.
    Arg(Vec<ArgDeclaration>),
    /// `CMD`. Not expanded. An empty exec form clears the command.
    Cmd(Command),
    /// `COPY`.
    Copy(CopyInstruction),
    /// `ENTRYPOINT`. Not expanded. An empty exec form clears the entry point.
    Entrypoint(Command),
    /// `ENV`: names and values are expanded, all before the first is set.
    Env(Vec<Pair>),
    /// `EXPOSE`: in the order of their bytes. Each is expanded with
    /// [`Expander::words`](super::expand::Expander::words), so that one variable may become several ports.
    Expose(Vec<String>),
    /// `HEALTHCHECK`. Not expanded.
    Healthcheck(Healthcheck),
    /// `LABEL`: names and values are expanded.
    Label(Vec<Pair>),
    /// `MAINTAINER`: the author. Not expanded.
    Maintainer(String),
    /// `ONBUILD`: the text of the instruction to run in a later build, with its heredocs. Not expanded.
    Onbuild(String),
    /// `RUN`.
    Run(RunInstruction),
    /// `SHELL`: the shell of later shell forms; never empty. Not expanded.
    Shell(Vec<String>),
    /// `STOPSIGNAL`: expanded.
    StopSignal(String),
    /// `USER`: expanded.
    User(String),
    /// `VOLUME`: none is empty; each is expanded.
    Volume(Vec<String>),
    /// `WORKDIR`: expanded.
    Workdir(String),
}

impl Instruction {
    /// Returns the instruction's name in capitals.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        use super::keyword::Keyword;
        let keyword = match self {
            Self::Add(_) => Keyword::Add,
            Self::Arg(_) => Keyword::Arg,
            Self::Cmd(_) => Keyword::Cmd,
            Self::Copy(_) => Keyword::Copy,
            Self::Entrypoint(_) => Keyword::Entrypoint,
            Self::Env(_) => Keyword::Env,
            Self::Expose(_) => Keyword::Expose,
            Self::Healthcheck(_) => Keyword::Healthcheck,
            Self::Label(_) => Keyword::Label,
            Self::Maintainer(_) => Keyword::Maintainer,
            Self::Onbuild(_) => Keyword::Onbuild,
            Self::Run(_) => Keyword::Run,
            Self::Shell(_) => Keyword::Shell,
            Self::StopSignal(_) => Keyword::StopSignal,
            Self::User(_) => Keyword::User,
            Self::Volume(_) => Keyword::Volume,
            Self::Workdir(_) => Keyword::Workdir,
        };
        keyword.name()
    }
}

/// A build argument: `NAME` or `NAME=DEFAULT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgDeclaration {
    /// The name; never empty before expansion.
    pub name: String,
    /// The default. `NAME=` has an empty one, `NAME` has none.
    pub default: Option<String>,
}

/// A name and its value in `ENV` and `LABEL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The name; never empty before expansion.
    pub name: String,
    /// The value, with its quotes.
    pub value: String,
}

/// A command line in one of its two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Text for the shell of the stage. Empty if the instruction has no arguments.
    Shell(String),
    /// The arguments of a JSON array.
    Exec(Vec<String>),
}

/// A text written in the Dockerfile itself, between `<<NAME` and a line that is `NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter without quotes. In `COPY` and `ADD` it is also the name of the file.
    pub name: String,
    /// Whether variables in the text are expanded (`COPY`, `ADD`), with
    /// [`Expander::body`](super::expand::Expander::body). False if any part of the delimiter was quoted.
    pub expand: bool,
    /// Whether the tabs before each line are dropped (`<<-`).
    pub strip_tabs: bool,
    /// The lines between the delimiters, exactly as they stand in the file.
    pub content: String,
}

impl Heredoc {
    /// Returns the text that the heredoc stands for: its content, without leading tabs if it says so.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        if !self.strip_tabs {
            return Cow::Borrowed(&self.content);
        }
        Cow::Owned(self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect())
    }
}

/// The arguments of `COPY`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CopyInstruction {
    /// The paths to copy; expanded. Empty only if there are heredocs.
    pub sources: Vec<String>,
    /// The files written in the Dockerfile.
    pub heredocs: Vec<Heredoc>,
    /// Where to; expanded.
    pub destination: String,
    /// `--from`: a stage, its number, a named context or an image. Has no variables: they are refused.
    pub from: Option<String>,
    /// `--chown`; expanded.
    pub chown: Option<String>,
    /// `--chmod`; expanded.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`, each in the syntax of [`Ignore`](crate::ignore::Ignore).
    pub exclude: Vec<String>,
}

/// The arguments of `ADD`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddInstruction {
    /// The paths and URLs to add; expanded. Empty only if there are heredocs.
    pub sources: Vec<String>,
    /// The files written in the Dockerfile.
    pub heredocs: Vec<Heredoc>,
    /// Where to; expanded.
    pub destination: String,
    /// `--chown`; expanded.
    pub chown: Option<String>,
    /// `--chmod`; expanded.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--exclude`, each in the syntax of [`Ignore`](crate::ignore::Ignore).
    pub exclude: Vec<String>,
    /// `--checksum`; expanded.
    pub checksum: Option<String>,
    /// `--keep-git-dir`, if it was given.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`, if it was given.
    pub unpack: Option<bool>,
}

/// The arguments of `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInstruction {
    /// The command. Not expanded: the shell does that. An exec form is never empty.
    pub command: Command,
    /// The heredocs that the command names, in their order; only in shell form.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`. The values of all options but `from` are expanded.
    pub mounts: Vec<MountOptions>,
    /// `--network`.
    pub network: Network,
    /// `--security`.
    pub security: Security,
    /// `--device`. Not expanded.
    pub devices: Vec<Device>,
}

/// The network of a `RUN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// The network of the build.
    #[default]
    Default,
    /// No network but loopback.
    None,
    /// The network of the host.
    Host,
}

/// The privileges of a `RUN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// The ordinary restrictions of a container.
    #[default]
    Sandbox,
    /// None of them.
    Insecure,
}

/// A device of the container device interface that a `RUN` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The qualified name or pattern.
    pub name: String,
    /// Whether the build fails without it.
    pub required: bool,
}

/// The health check of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// `NONE`: the base image's check is switched off.
    None,
    /// `CMD`: the check and its schedule.
    Check(HealthcheckSettings),
}

/// A health check's command and schedule. A zero means: as in the base image, or else the runtime's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthcheckSettings {
    /// The command; never empty.
    pub command: Command,
    /// `--interval`.
    pub interval: Duration,
    /// `--timeout`.
    pub timeout: Duration,
    /// `--start-period`.
    pub start_period: Duration,
    /// `--start-interval`.
    pub start_interval: Duration,
    /// `--retries`.
    pub retries: u32,
}
