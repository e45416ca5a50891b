//! From the words of a statement to its typed instruction.

use super::error::Fault;
use super::expand::Expander;
use super::flags::{Flags, Kind, Known};
use super::instruction::{
    AddInstruction, ArgDeclaration, Command, CopyInstruction, Heredoc, Instruction, Pair,
};
use super::keyword::Keyword;
use super::parse::{Statement, Typed};
use super::words::{Arguments, split};
use super::{Escape, StageFrom, health, heredoc, run};

const FROM_FLAGS: Known = &[("platform", Kind::Text)];

const COPY_FLAGS: Known = &[
    ("from", Kind::Text),
    ("chown", Kind::Text),
    ("chmod", Kind::Text),
    ("link", Kind::Switch),
    ("parents", Kind::Switch),
    ("exclude", Kind::List),
];

const ADD_FLAGS: Known = &[
    ("chown", Kind::Text),
    ("chmod", Kind::Text),
    ("link", Kind::Switch),
    ("keep-git-dir", Kind::Switch),
    ("checksum", Kind::Text),
    ("unpack", Kind::Switch),
    ("exclude", Kind::List),
];

/// Types a statement.
pub(super) fn typed(keyword: Keyword, statement: Statement) -> Result<Typed, Fault> {
    // ARG, STOPSIGNAL and HEALTHCHECK NONE take no flags either, but the reference implementation ignores them there.
    let takes_no_flags = matches!(
        keyword,
        Keyword::Cmd
            | Keyword::Entrypoint
            | Keyword::Env
            | Keyword::Expose
            | Keyword::Label
            | Keyword::Maintainer
            | Keyword::Onbuild
            | Keyword::Shell
            | Keyword::User
            | Keyword::Volume
            | Keyword::Workdir
    );
    if takes_no_flags {
        Flags::none(keyword, &statement.flags)?;
    }
    let instruction = match keyword {
        Keyword::From => return from(statement).map(Typed::From),
        Keyword::Add => Instruction::Add(add(statement)?),
        Keyword::Arg => Instruction::Arg(declarations(words(keyword, statement.arguments)?)?),
        Keyword::Cmd => Instruction::Cmd(command(statement.arguments)),
        Keyword::Copy => Instruction::Copy(copy(statement)?),
        Keyword::Entrypoint => Instruction::Entrypoint(command(statement.arguments)),
        Keyword::Env => Instruction::Env(pairs(keyword, statement.arguments)?),
        Keyword::Expose => Instruction::Expose(ports(words(keyword, statement.arguments)?)),
        Keyword::Healthcheck => Instruction::Healthcheck(health::healthcheck(&statement)?),
        Keyword::Label => Instruction::Label(pairs(keyword, statement.arguments)?),
        Keyword::Maintainer => Instruction::Maintainer(text(keyword, statement.arguments)?),
        Keyword::Onbuild => Instruction::Onbuild(trigger(statement)?),
        Keyword::Run => Instruction::Run(run::run(statement)?),
        Keyword::Shell => Instruction::Shell(shell(statement.arguments)?),
        Keyword::StopSignal => Instruction::StopSignal(text(keyword, statement.arguments)?),
        Keyword::User => Instruction::User(text(keyword, statement.arguments)?),
        Keyword::Volume => Instruction::Volume(volumes(words(keyword, statement.arguments)?)?),
        Keyword::Workdir => Instruction::Workdir(text(keyword, statement.arguments)?),
    };
    Ok(Typed::Instruction(instruction))
}

fn from(statement: Statement) -> Result<StageFrom, Fault> {
    let words = words(Keyword::From, statement.arguments).unwrap_or_default();
    let (image, name) = match &words[..] {
        [image] => (image.clone(), None),
        [image, as_word, name] if as_word.eq_ignore_ascii_case("as") => {
            (image.clone(), Some(stage_name(name)?))
        }
        _ => return Err(Fault::new("FROM requires one argument, or three: IMAGE AS NAME")),
    };
    let flags = Flags::read(Keyword::From, &statement.flags, FROM_FLAGS)?;
    Ok(StageFrom { image, name, platform: flags.filled("platform") })
}

fn stage_name(written: &str) -> Result<String, Fault> {
    let name = written.to_lowercase();
    let rest_is_valid =
        |rest: &str| rest.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'));
    if name.starts_with(|first: char| first.is_ascii_lowercase()) && rest_is_valid(&name) {
        return Ok(name);
    }
    Err(Fault::new(format!("FROM: {written:?} cannot be the name of a stage"))
        .with_hint("a name begins with a letter and has letters, digits, -, _ and ."))
}

/// Returns the words of an instruction that needs at least one.
fn words(keyword: Keyword, arguments: Arguments) -> Result<Vec<String>, Fault> {
    match arguments {
        Arguments::Words(words) | Arguments::Json(words) if !words.is_empty() => Ok(words),
        _ => Err(at_least_one(keyword)),
    }
}

/// Returns the text of an instruction that needs exactly one argument.
fn text(keyword: Keyword, arguments: Arguments) -> Result<String, Fault> {
    match arguments {
        Arguments::Text(text) if !text.is_empty() => Ok(text),
        _ => Err(Fault::new(format!("{} requires exactly one argument", keyword.name()))),
    }
}

fn at_least_one(keyword: Keyword) -> Fault {
    Fault::new(format!("{} requires at least one argument", keyword.name()))
}

fn blank_name(keyword: Keyword) -> Fault {
    Fault::new(format!("{}: a name is empty", keyword.name()))
}

fn pairs(keyword: Keyword, arguments: Arguments) -> Result<Vec<Pair>, Fault> {
    match arguments {
        Arguments::Pairs { pairs, .. } if pairs.iter().any(|pair| pair.name.is_empty()) => {
            Err(blank_name(keyword))
        }
        Arguments::Pairs { pairs, .. } if !pairs.is_empty() => Ok(pairs),
        _ => Err(at_least_one(keyword)),
    }
}

fn declarations(words: Vec<String>) -> Result<Vec<ArgDeclaration>, Fault> {
    let declaration = |word: String| match word.split_once('=') {
        Some(("", _)) => Err(blank_name(Keyword::Arg)),
        Some((name, default)) => {
            Ok(ArgDeclaration { name: name.to_owned(), default: Some(default.to_owned()) })
        }
        None => Ok(ArgDeclaration { name: word, default: None }),
    };
    words.into_iter().map(declaration).collect()
}

pub(super) fn command(arguments: Arguments) -> Command {
    match arguments {
        Arguments::Json(arguments) => Command::Exec(arguments),
        Arguments::Text(text) => Command::Shell(text),
        // Commands are read as text or JSON only.
        Arguments::Words(_) | Arguments::Pairs { .. } => Command::Shell(String::new()),
    }
}

fn ports(mut ports: Vec<String>) -> Vec<String> {
    ports.sort();
    ports
}

fn volumes(volumes: Vec<String>) -> Result<Vec<String>, Fault> {
    let volume = |volume: String| match volume.trim() {
        "" => Err(Fault::new("VOLUME: a path is empty")),
        path => Ok(path.to_owned()),
    };
    volumes.into_iter().map(volume).collect()
}

fn shell(arguments: Arguments) -> Result<Vec<String>, Fault> {
    match arguments {
        Arguments::Json(words) if !words.is_empty() => Ok(words),
        Arguments::Text(text) if !text.is_empty() => {
            Err(Fault::new("SHELL requires a JSON array")
                .with_hint(r#"for example SHELL ["/bin/bash", "-c"]"#))
        }
        _ => Err(at_least_one(Keyword::Shell)),
    }
}

/// Returns the instruction after `ONBUILD`, with its heredocs.
fn trigger(statement: Statement) -> Result<String, Fault> {
    text(Keyword::Onbuild, statement.arguments).map_err(|_| at_least_one(Keyword::Onbuild))?;
    let text = statement.source[statement.word.len()..].trim_start();
    let word = split(text, Escape::default().as_char()).keyword.to_uppercase();
    if matches!(Keyword::find(&word), Some(Keyword::Onbuild | Keyword::From | Keyword::Maintainer)) {
        return Err(Fault::new(format!("ONBUILD {word} is not allowed")));
    }
    let mut trigger = text.to_owned();
    for heredoc in &statement.heredocs {
        trigger.push('\n');
        trigger.push_str(&heredoc.content);
        trigger.push_str(&heredoc.name);
    }
    Ok(trigger)
}

/// The paths and inline files of `COPY` and `ADD`.
struct Paths {
    sources: Vec<String>,
    heredocs: Vec<Heredoc>,
    destination: String,
}

fn paths(keyword: Keyword, arguments: Arguments, heredocs: &[Heredoc]) -> Result<Paths, Fault> {
    let name = keyword.name();
    let mut words = words(keyword, arguments).unwrap_or_default();
    let destination = words.pop().filter(|_| !words.is_empty());
    let destination = destination.ok_or_else(|| {
        Fault::new(format!("{name} requires at least two arguments"))
            .with_hint("the last one is the destination")
    })?;
    if heredoc::word_of(&destination).is_some() {
        return Err(Fault::new(format!("{name}: a heredoc cannot be the destination")));
    }
    let mut paths = Paths { sources: Vec::new(), heredocs: Vec::new(), destination };
    for word in words {
        let Some(start) = heredoc::word_of(&word) else {
            paths.sources.push(word);
            continue;
        };
        // Texts are found by their delimiter: of several with one delimiter the last counts for all.
        let body = heredocs.iter().rfind(|heredoc| heredoc.name == start.name).ok_or_else(|| {
            Fault::new(format!("{name}: the heredoc {word} has no text"))
                .with_hint("heredocs are not read in JSON form")
        })?;
        let (expand, strip_tabs) = (start.expand, start.strip_tabs);
        paths.heredocs.push(Heredoc { name: start.name, expand, strip_tabs, content: body.content.clone() });
    }
    Ok(paths)
}

fn copy(statement: Statement) -> Result<CopyInstruction, Fault> {
    let paths = paths(Keyword::Copy, statement.arguments, &statement.heredocs)?;
    let flags = Flags::read(Keyword::Copy, &statement.flags, COPY_FLAGS)?;
    let from = flags.filled("from");
    if from.as_deref().is_some_and(|from| !is_constant(from)) {
        return Err(Fault::new("COPY: variables are not expanded in --from")
            .with_hint("name the image in a stage of its own (FROM $IMAGE AS name) and copy from that"));
    }
    Ok(CopyInstruction {
        sources: paths.sources,
        heredocs: paths.heredocs,
        destination: paths.destination,
        from,
        chown: flags.filled("chown"),
        chmod: flags.filled("chmod"),
        link: flags.switch("link").unwrap_or_default(),
        parents: flags.switch("parents").unwrap_or_default(),
        exclude: flags.list("exclude").into_iter().map(str::to_owned).collect(),
    })
}

/// Tells whether expansion leaves a text as it is, whatever the variables are.
fn is_constant(text: &str) -> bool {
    let expanded = Expander::new(Escape::default(), &|_| None).word(text);
    expanded.is_ok_and(|expanded| expanded.value == text)
}

fn add(statement: Statement) -> Result<AddInstruction, Fault> {
    let paths = paths(Keyword::Add, statement.arguments, &statement.heredocs)?;
    let flags = Flags::read(Keyword::Add, &statement.flags, ADD_FLAGS)?;
    Ok(AddInstruction {
        sources: paths.sources,
        heredocs: paths.heredocs,
        destination: paths.destination,
        chown: flags.filled("chown"),
        chmod: flags.filled("chmod"),
        link: flags.switch("link").unwrap_or_default(),
        exclude: flags.list("exclude").into_iter().map(str::to_owned).collect(),
        checksum: flags.filled("checksum"),
        keep_git_dir: flags.switch("keep-git-dir"),
        unpack: flags.switch("unpack"),
    })
}
