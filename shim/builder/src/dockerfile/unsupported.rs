use super::instruction::{Heredoc, Instruction, Network, RunInstruction, Security};
use super::{Dockerfile, Location};

/// A part of the language that the parser knows and the builder cannot execute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// The instruction, and the flag or form if only that is not supported: `ADD`, `RUN --mount`, `COPY <<`.
    pub feature: &'static str,
    /// Where it stands.
    pub location: Location,
}

/// Lists what the builder cannot execute, in the order of the file.
///
/// A flag that says what is so anyway (`--network=default`, `--link=false`) is supported.
#[must_use]
pub fn unsupported(dockerfile: &Dockerfile) -> Vec<Unsupported> {
    let instructions = dockerfile.stages.iter().flat_map(|stage| &stage.instructions);
    let of = |located: &super::Located<Instruction>| {
        let location = located.location;
        features(&located.value).into_iter().map(move |feature| Unsupported { feature, location })
    };
    instructions.flat_map(of).collect()
}

fn features(instruction: &Instruction) -> Vec<&'static str> {
    match instruction {
        Instruction::Add(_) => vec!["ADD"],
        Instruction::Healthcheck(_) => vec!["HEALTHCHECK"],
        Instruction::Onbuild(_) => vec!["ONBUILD"],
        Instruction::Maintainer(_) => vec!["MAINTAINER"],
        Instruction::Copy(copy) => present(&[
            ("COPY --link", copy.link),
            ("COPY --parents", copy.parents),
            ("COPY --exclude", !copy.exclude.is_empty()),
            ("COPY <<", has(&copy.heredocs)),
        ]),
        Instruction::Run(run) => run_features(run),
        Instruction::Arg(_)
        | Instruction::Cmd(_)
        | Instruction::Entrypoint(_)
        | Instruction::Env(_)
        | Instruction::Expose(_)
        | Instruction::Label(_)
        | Instruction::Shell(_)
        | Instruction::StopSignal(_)
        | Instruction::User(_)
        | Instruction::Volume(_)
        | Instruction::Workdir(_) => Vec::new(),
    }
}

fn run_features(run: &RunInstruction) -> Vec<&'static str> {
    present(&[
        ("RUN --mount", !run.mounts.is_empty()),
        ("RUN --network", run.network != Network::Default),
        ("RUN --security", run.security != Security::Sandbox),
        ("RUN --device", !run.devices.is_empty()),
        ("RUN <<", has(&run.heredocs)),
    ])
}

const fn has(heredocs: &[Heredoc]) -> bool {
    !heredocs.is_empty()
}

fn present(features: &[(&'static str, bool)]) -> Vec<&'static str> {
    features.iter().filter(|(_, used)| *used).map(|(feature, _)| *feature).collect()
}
