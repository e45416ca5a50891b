//! From stages to steps: every variable expanded, every configuration known, nothing run. Pure.

pub(crate) mod args;
mod copy;
mod expose;
mod history;
mod metadata;
mod path;
mod signal;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use cachestore::oci::config::ImageConfig;
use cachestore::oci::platform::Target;

use crate::dockerfile::expand::{ExpandError, Expanded, Expander};
use crate::dockerfile::{
    Command, Dockerfile, Escape, Instruction, Located, Location, Rule, RunInstruction, Stage, Warning,
};
use crate::error::{BuildError, Result};
use crate::graph::{Graph, Source};
use args::Variables;

pub(crate) use copy::{Chmod, CopyStep, SourceTree};

/// The search path of images that do not set one.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// A stage, ready to be built.
#[derive(Clone, Debug)]
pub(crate) struct PlannedStage {
    pub(crate) base: Source,
    /// The name of the step that provides the base image, without the image.
    pub(crate) from_prefix: String,
    pub(crate) steps: Vec<PlannedStep>,
    state: State,
}

impl PlannedStage {
    /// Returns the configuration of the stage's image; its layers and times are filled in when they are known.
    pub(crate) fn config(&self) -> &ImageConfig {
        &self.state.image
    }
}

/// A step that makes a layer.
#[derive(Clone, Debug)]
pub(crate) struct PlannedStep {
    /// As docker shows it: `[build 2/4] WORKDIR /compose/hello-docker`.
    pub(crate) name: String,
    pub(crate) location: Location,
    pub(crate) kind: StepKind,
}

/// What a step does.
#[derive(Clone, Debug)]
pub(crate) enum StepKind {
    Copy(CopyStep),
    Run(RunStep),
    Mkdir(MkdirStep),
}

/// `RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunStep {
    pub(crate) args: Vec<String>,
    /// `NAME=value`; part of the cache key.
    pub(crate) env: Vec<String>,
    /// Proxy settings; no part of it.
    pub(crate) proxies: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) user: String,
}

/// The directory of `WORKDIR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MkdirStep {
    pub(crate) path: String,
    pub(crate) user: String,
}

/// What a stage has come to at an instruction.
#[derive(Clone, Debug, Default)]
struct State {
    image: ImageConfig,
    /// Environment and arguments, as steps and expansions see them.
    env: Variables,
    /// The arguments in scope, in the order of their declaration; those without a value too.
    declared: Vec<(String, Option<String>)>,
    cmd_is_set: bool,
}

/// What all stages share.
pub(crate) struct Planner<'a> {
    pub(crate) file: &'a Dockerfile,
    pub(crate) graph: &'a Graph,
    pub(crate) globals: &'a Variables,
    pub(crate) build_args: &'a BTreeMap<String, String>,
    /// The configurations of the graph's images.
    pub(crate) images: &'a [ImageConfig],
}

/// The plan of a build.
#[derive(Debug)]
pub(crate) struct Plan {
    /// One for each stage of the file; nothing for those that are not needed.
    pub(crate) stages: Vec<Option<PlannedStage>>,
    pub(crate) warnings: Vec<Warning>,
}

impl Planner<'_> {
    /// Plans every stage that the target needs.
    pub(crate) fn plan(&self) -> Result<Plan> {
        let mut plan = Plan { stages: Vec::new(), warnings: Vec::new() };
        for number in 0..self.file.stages.len() {
            let planned = match self.graph.stages[number].is_reachable {
                true => Some(self.stage(number, &mut plan)?),
                false => None,
            };
            plan.stages.push(planned);
        }
        Ok(plan)
    }

    fn stage(&self, number: usize, plan: &mut Plan) -> Result<PlannedStage> {
        let stage = &self.file.stages[number];
        let node = &self.graph.stages[number];
        let state = self.base_state(stage, node.base, &plan.stages)?;
        let names = StepNames::new(stage, node.base, &node.shown_name);
        let mut planning =
            StagePlanner { planner: self, number, state, names, steps: Vec::new(), warnings: Vec::new() };
        let from_prefix = match node.base {
            Source::Image(_) => planning.names.next(""),
            Source::Scratch | Source::Stage(_) => String::new(),
        };
        for (index, instruction) in stage.instructions.iter().enumerate() {
            planning.instruction(index, instruction).map_err(|error| error.at(instruction.location))?;
        }
        let StagePlanner { state, steps, warnings, .. } = planning;
        plan.warnings.extend(warnings);
        Ok(PlannedStage { base: node.base, from_prefix, steps, state })
    }

    fn base_state(&self, stage: &Stage, base: Source, stages: &[Option<PlannedStage>]) -> Result<State> {
        let image = match base {
            Source::Stage(number) => {
                let planned =
                    stages[number].as_ref().expect("a stage that is needed is reachable and earlier");
                return Ok(State { cmd_is_set: false, ..planned.state.clone() });
            }
            Source::Image(number) => self.images[number].clone(),
            Source::Scratch => scratch(),
        };
        if let Some(trigger) = image.config.on_build.first() {
            let problem = format!(
                "the base image runs {trigger:?} in builds that start from it (ONBUILD), which this builder cannot do yet"
            );
            return Err(BuildError::invalid(problem).at(stage.location));
        }
        let mut state = State { image: ImageConfig { created: None, ..image }, ..State::default() };
        for pair in &state.image.config.env {
            state.env.set_pair(pair);
        }
        if state.env.get("PATH").is_none() {
            state.set_env("PATH", DEFAULT_PATH);
        }
        Ok(state)
    }
}

/// The configuration of an image of nothing.
fn scratch() -> ImageConfig {
    let host = Target::host();
    let mut image = ImageConfig { os: host.os, ..ImageConfig::default() };
    // The one variant of arm64 is not written, as in containerd's normal form.
    image.variant = if host.architecture == "arm64" { String::new() } else { host.variant };
    image.architecture = host.architecture;
    image.config.working_dir = "/".into();
    image
}

impl State {
    fn set_env(&mut self, name: &str, value: &str) {
        self.env.set(name, value);
        let mut configured = Variables::default();
        self.image.config.env.iter().for_each(|pair| configured.set_pair(pair));
        configured.set(name, value);
        self.image.config.env = configured.pairs();
    }

    /// Returns the working directory, absolute and clean, whatever the base image or a `WORKDIR` wrote.
    fn working_dir(&self) -> String {
        path::clean(&self.image.config.working_dir)
    }

    fn shell(&self) -> Vec<String> {
        match &self.image.config.shell[..] {
            [] => DEFAULT_SHELL.map(str::to_owned).to_vec(),
            shell => shell.to_vec(),
        }
    }

    fn command_line(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(args) => args.clone(),
            Command::Shell(text) => {
                let mut args = self.shell();
                args.push(text.clone());
                args
            }
        }
    }
}

/// Numbers the steps of a stage.
struct StepNames {
    prefix: String,
    next: usize,
    total: usize,
}

impl StepNames {
    fn new(stage: &Stage, base: Source, shown_name: &str) -> Self {
        let counts = |instruction: &Located<Instruction>| {
            matches!(
                instruction.value,
                Instruction::Add(_) | Instruction::Copy(_) | Instruction::Run(_) | Instruction::Workdir(_)
            )
        };
        let own = stage.instructions.iter().filter(|instruction| counts(instruction)).count();
        let total = own + usize::from(matches!(base, Source::Image(_)));
        let prefix = if shown_name.is_empty() { String::new() } else { format!("{shown_name} ") };
        Self { prefix, next: 1, total }
    }

    fn next(&mut self, text: &str) -> String {
        let number = self.next;
        self.next += 1;
        let width = self.total.to_string().len();
        format!("[{}{number:>width$}/{}] {text}", self.prefix, self.total)
    }
}

struct StagePlanner<'a> {
    planner: &'a Planner<'a>,
    number: usize,
    state: State,
    names: StepNames,
    steps: Vec<PlannedStep>,
    warnings: Vec<Warning>,
}

impl StagePlanner<'_> {
    fn escape(&self) -> Escape {
        self.planner.file.escape
    }

    /// Expands an argument with the variables before its instruction, and notes those that are not set.
    fn word(&mut self, text: &str, location: Location) -> Result<String> {
        self.expand(location, |expander| expander.word(text))
    }

    fn words(&mut self, text: &str, location: Location) -> Result<Vec<String>> {
        self.expand(location, |expander| expander.words(text))
    }

    fn expand<T>(
        &mut self,
        location: Location,
        expand: impl FnOnce(&Expander<'_>) -> Result<Expanded<T>, ExpandError>,
    ) -> Result<T> {
        let values = |name: &str| self.state.env.get(name);
        let expanded = expand(&Expander::new(self.escape(), &values)).map_err(BuildError::invalid)?;
        for name in &expanded.unset {
            // Declared without a value is not a mistake.
            if !self.state.declared.iter().any(|(declared, _)| declared == name) {
                self.warn(Rule::UndefinedVar, format!("Usage of undefined variable '${name}'"), location);
            }
        }
        Ok(expanded.value)
    }

    fn warn(&mut self, rule: Rule, message: String, location: Location) {
        if !self.planner.file.check.skips(rule, location) {
            self.warnings.push(Warning { rule, message, location });
        }
    }

    /// Names a step by its instruction, with variables replaced as far as they can be.
    fn step_name(&mut self, instruction: &Located<Instruction>) -> String {
        let values = |name: &str| self.state.env.get(name);
        let expander = Expander::new(self.escape(), &values);
        let text = match &instruction.value {
            Instruction::Run(_) => expander.display(&instruction.source),
            _ => expander
                .word(&instruction.source)
                .map_or_else(|_| instruction.source.clone(), |word| word.value),
        };
        let text = match text.split_once(' ') {
            Some((keyword, rest)) => format!("{} {rest}", keyword.to_uppercase()),
            None => text.to_uppercase(),
        };
        self.names.next(&text)
    }

    fn push(&mut self, instruction: &Located<Instruction>, kind: StepKind) {
        let name = self.step_name(instruction);
        self.steps.push(PlannedStep { name, location: instruction.location, kind });
    }

    fn instruction(&mut self, index: usize, instruction: &Located<Instruction>) -> Result<()> {
        match &instruction.value {
            Instruction::Copy(copy) => self.copy(index, copy, instruction),
            Instruction::Run(run) => self.run(run, instruction),
            Instruction::Workdir(path) => self.workdir(path, instruction),
            _ => self.metadata(instruction),
        }
    }

    fn run(&mut self, run: &RunInstruction, instruction: &Located<Instruction>) -> Result<()> {
        let args = self.state.command_line(&run.command);
        let step = RunStep {
            env: self.state.env.pairs(),
            proxies: args::proxies(self.planner.build_args),
            cwd: self.state.working_dir(),
            user: self.state.image.config.user.clone(),
            args,
        };
        let text = history::run(&step.args, &self.state.declared, &self.state.env);
        self.push(instruction, StepKind::Run(step));
        self.state.commit(format!("RUN {text} # buildkit"), true);
        Ok(())
    }

    fn workdir(&mut self, wanted: &str, instruction: &Located<Instruction>) -> Result<()> {
        let wanted = self.word(wanted, instruction.location)?;
        if wanted.is_empty() {
            return Err(BuildError::invalid("WORKDIR is empty after its variables were replaced"));
        }
        let directory = path::workdir(&self.state.working_dir(), &wanted);
        self.state.image.config.working_dir.clone_from(&directory);
        let makes_layer = directory != "/";
        if makes_layer {
            let step =
                MkdirStep { path: path::clean(&directory), user: self.state.image.config.user.clone() };
            self.push(instruction, StepKind::Mkdir(step));
        }
        self.state.commit(format!("WORKDIR {directory}"), makes_layer);
        Ok(())
    }
}
