//! A readable form of what the parser returns. What is empty, false or the default is not written.

use std::fmt::Write;

use super::super::*;

pub(super) fn dockerfile(dockerfile: &Dockerfile) -> String {
    let mut out = String::new();
    if dockerfile.escape == Escape::Backtick {
        line(&mut out, "escape `");
    }
    if let Some(syntax) = &dockerfile.syntax {
        line(&mut out, &format!("syntax {syntax}"));
    }
    if dockerfile.check.is_error() {
        line(&mut out, "warnings are errors");
    }
    for arg in &dockerfile.global_args {
        located(&mut out, arg.location, &arguments(&arg.value), &arg.source);
    }
    for stage in &dockerfile.stages {
        let StageFrom { image, name, platform } = &stage.from;
        let text = format!("FROM {image:?}{}{}", option("as", name), option("platform", platform));
        located(&mut out, stage.location, &text, &stage.source);
        for Located { value, location, source } in &stage.instructions {
            located(&mut out, *location, &instruction(value), source);
        }
    }
    for warning in &dockerfile.warnings {
        line(&mut out, &format!("{} {}: {}", lines(warning.location), warning.rule.name(), warning.message));
    }
    for Unsupported { feature, location } in unsupported(dockerfile) {
        line(&mut out, &format!("{} unsupported: {feature}", lines(location)));
    }
    out
}

pub(super) fn error(error: &SyntaxError) -> String {
    let mut out = String::new();
    line(&mut out, &error.to_string());
    if error.location.last_line != error.location.first_line {
        line(&mut out, &format!("up to line {}", error.location.last_line));
    }
    if let Some(hint) = &error.hint {
        line(&mut out, &format!("hint: {hint}"));
    }
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn located(out: &mut String, location: Location, text: &str, source: &str) {
    line(out, &format!("{} {text}\n    {source}", lines(location)));
}

fn lines(location: Location) -> String {
    let Location { first_line, last_line } = location;
    if first_line == last_line { first_line.to_string() } else { format!("{first_line}-{last_line}") }
}

fn option(name: &str, value: &Option<String>) -> String {
    value.as_ref().map(|value| format!(" {name}={value:?}")).unwrap_or_default()
}

fn flag(name: &str, value: bool) -> String {
    if value { format!(" {name}") } else { String::new() }
}

fn list(name: &str, values: &[String]) -> String {
    if values.is_empty() { String::new() } else { format!(" {name}={values:?}") }
}

fn heredocs(heredocs: &[Heredoc]) -> String {
    heredocs.iter().fold(String::new(), |mut out, Heredoc { name, expand, strip_tabs, content }| {
        let flags = format!("{}{}", flag("expand", *expand), flag("strip-tabs", *strip_tabs));
        write!(out, "\n    <<{name:?}{flags} {content:?}").expect("a string takes everything");
        out
    })
}

fn arguments(declarations: &[ArgDeclaration]) -> String {
    declarations.iter().fold("ARG".to_owned(), |out, ArgDeclaration { name, default }| match default {
        Some(default) => format!("{out} {name:?}={default:?}"),
        None => format!("{out} {name:?}"),
    })
}

fn pairs(name: &str, pairs: &[Pair]) -> String {
    pairs.iter().fold(name.to_owned(), |out, Pair { name, value }| format!("{out} {name:?}={value:?}"))
}

fn command(command: &Command) -> String {
    match command {
        Command::Shell(text) => format!("{text:?}"),
        Command::Exec(arguments) => format!("{arguments:?}"),
    }
}

fn instruction(instruction: &Instruction) -> String {
    let name = instruction.name();
    match instruction {
        Instruction::Add(add) => {
            let paths = format!("{:?} {:?}", add.sources, add.destination);
            let owner =
                [option("chown", &add.chown), option("chmod", &add.chmod), list("exclude", &add.exclude)];
            let keep = add.keep_git_dir.map(|keep| format!(" keep-git-dir={keep}")).unwrap_or_default();
            let unpack = add.unpack.map(|unpack| format!(" unpack={unpack}")).unwrap_or_default();
            let checksum = option("checksum", &add.checksum);
            let link = flag("link", add.link);
            format!(
                "{name} {paths}{}{link}{checksum}{keep}{unpack}{}",
                owner.concat(),
                heredocs(&add.heredocs)
            )
        }
        Instruction::Arg(declarations) => arguments(declarations),
        Instruction::Cmd(line) | Instruction::Entrypoint(line) => format!("{name} {}", command(line)),
        Instruction::Copy(copy) => {
            let paths = format!("{:?} {:?}", copy.sources, copy.destination);
            let owner =
                [option("chown", &copy.chown), option("chmod", &copy.chmod), list("exclude", &copy.exclude)];
            let flags = [option("from", &copy.from), flag("link", copy.link), flag("parents", copy.parents)];
            format!("{name} {paths}{}{}{}", flags.concat(), owner.concat(), heredocs(&copy.heredocs))
        }
        Instruction::Env(list) | Instruction::Label(list) => pairs(name, list),
        Instruction::Expose(list) | Instruction::Shell(list) | Instruction::Volume(list) => {
            format!("{name} {list:?}")
        }
        Instruction::Healthcheck(Healthcheck::None) => format!("{name} NONE"),
        Instruction::Healthcheck(Healthcheck::Check(check)) => {
            let times = [check.interval, check.timeout, check.start_period, check.start_interval];
            format!("{name} {} {times:?} retries={}", command(&check.command), check.retries)
        }
        Instruction::Maintainer(text)
        | Instruction::Onbuild(text)
        | Instruction::StopSignal(text)
        | Instruction::User(text)
        | Instruction::Workdir(text) => format!("{name} {text:?}"),
        Instruction::Run(run) => format!("{name} {}{}", command(&run.command), run_options(run)),
    }
}

fn run_options(run: &RunInstruction) -> String {
    let mut out = String::new();
    for mount in &run.mounts {
        let options = mount.options.iter().map(|MountOption { key, value }| match value {
            Some(value) => format!("{key:?}={value:?}"),
            None => format!("{key:?}"),
        });
        out += &format!(" mount({})", options.collect::<Vec<_>>().join(" "));
    }
    if run.network != Network::Default {
        out += &format!(" network={:?}", run.network);
    }
    if run.security != Security::Sandbox {
        out += &format!(" security={:?}", run.security);
    }
    for Device { name, required } in &run.devices {
        out += &format!(" device({name:?}{})", flag("required", *required));
    }
    out + &heredocs(&run.heredocs)
}
