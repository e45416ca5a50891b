use super::suggest;

/// The name of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
}

impl Keyword {
    const ALL: [Self; 18] = [
        Self::Add,
        Self::Arg,
        Self::Cmd,
        Self::Copy,
        Self::Entrypoint,
        Self::Env,
        Self::Expose,
        Self::From,
        Self::Healthcheck,
        Self::Label,
        Self::Maintainer,
        Self::Onbuild,
        Self::Run,
        Self::Shell,
        Self::StopSignal,
        Self::User,
        Self::Volume,
        Self::Workdir,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Arg => "ARG",
            Self::Cmd => "CMD",
            Self::Copy => "COPY",
            Self::Entrypoint => "ENTRYPOINT",
            Self::Env => "ENV",
            Self::Expose => "EXPOSE",
            Self::From => "FROM",
            Self::Healthcheck => "HEALTHCHECK",
            Self::Label => "LABEL",
            Self::Maintainer => "MAINTAINER",
            Self::Onbuild => "ONBUILD",
            Self::Run => "RUN",
            Self::Shell => "SHELL",
            Self::StopSignal => "STOPSIGNAL",
            Self::User => "USER",
            Self::Volume => "VOLUME",
            Self::Workdir => "WORKDIR",
        }
    }

    /// Finds the instruction that a word names, in any case.
    pub(super) fn find(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|keyword| keyword.name().eq_ignore_ascii_case(word))
    }

    /// Finds the instruction whose name a misspelt word comes close to, in the case the word is written in.
    pub(super) fn closest(word: &str) -> Option<String> {
        let names: Vec<&str> = Self::ALL.iter().map(|keyword| keyword.name()).collect();
        let name = suggest::closest(&word.to_uppercase(), &names)?;
        let lower = word == word.to_lowercase();
        Some(if lower { name.to_lowercase() } else { name.to_owned() })
    }

    /// Tells whether `<<WORD` in the arguments of the instruction starts a heredoc.
    pub(super) const fn takes_heredocs(self) -> bool {
        matches!(self, Self::Add | Self::Copy | Self::Run)
    }
}
