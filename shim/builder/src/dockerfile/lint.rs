use super::Location;

/// A rule of good Dockerfiles, by the name under which BuildKit reports it and `# check=skip=NAME` silences it.
///
/// The first group is checked by [`parse`](super::parse); the others need the values of variables, the base image
/// or the context, and are for later code. Experimental rules are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Stage names are lower case.
    StageNameCasing,
    /// `AS` is written in the case of its `FROM`.
    FromAsCasing,
    /// No empty line follows a line that is continued.
    NoEmptyContinuation,
    /// All instructions are written in the same case.
    ConsistentInstructionCasing,
    /// No two stages have one name.
    DuplicateStageName,
    /// No stage is called `scratch` or `context`.
    ReservedStageName,
    /// `LABEL` is used in place of `MAINTAINER`.
    MaintainerDeprecated,
    /// `ENV` and `LABEL` have a `=` between name and value.
    LegacyKeyValueFormat,

    /// `CMD` and `ENTRYPOINT` are JSON, unless a `SHELL` was chosen.
    JsonArgsRecommended,
    /// `FROM` uses arguments that are declared.
    UndefinedArgInFrom,
    /// `WORKDIR` is absolute, or stands on an absolute one of this file.
    WorkdirRelativePath,
    /// Variables are defined where they are used.
    UndefinedVar,
    /// A stage has one `CMD`, one `ENTRYPOINT` and one `HEALTHCHECK`.
    MultipleInstructionsDisallowed,
    /// The base image has the platform that is built for.
    InvalidBaseImagePlatform,
    /// `FROM --platform=$TARGETPLATFORM` says what is so anyway.
    RedundantTargetPlatform,
    /// Secrets do not belong in `ARG` and `ENV`.
    SecretsUsedInArgOrEnv,
    /// `FROM` is valid with the defaults of the arguments.
    InvalidDefaultArgInFrom,
    /// `FROM --platform` is not a constant.
    FromPlatformFlagConstDisallowed,
    /// `COPY` and `ADD` name no ignored file.
    CopyIgnoredFile,
    /// The protocol in `EXPOSE` is lower case.
    ExposeProtoCasing,
    /// `EXPOSE` has no address and no host port.
    ExposeInvalidFormat,
}

impl Rule {
    /// Returns the name of the rule; case matters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StageNameCasing => "StageNameCasing",
            Self::FromAsCasing => "FromAsCasing",
            Self::NoEmptyContinuation => "NoEmptyContinuation",
            Self::ConsistentInstructionCasing => "ConsistentInstructionCasing",
            Self::DuplicateStageName => "DuplicateStageName",
            Self::ReservedStageName => "ReservedStageName",
            Self::MaintainerDeprecated => "MaintainerDeprecated",
            Self::LegacyKeyValueFormat => "LegacyKeyValueFormat",
            Self::JsonArgsRecommended => "JSONArgsRecommended",
            Self::UndefinedArgInFrom => "UndefinedArgInFrom",
            Self::WorkdirRelativePath => "WorkdirRelativePath",
            Self::UndefinedVar => "UndefinedVar",
            Self::MultipleInstructionsDisallowed => "MultipleInstructionsDisallowed",
            Self::InvalidBaseImagePlatform => "InvalidBaseImagePlatform",
            Self::RedundantTargetPlatform => "RedundantTargetPlatform",
            Self::SecretsUsedInArgOrEnv => "SecretsUsedInArgOrEnv",
            Self::InvalidDefaultArgInFrom => "InvalidDefaultArgInFrom",
            Self::FromPlatformFlagConstDisallowed => "FromPlatformFlagConstDisallowed",
            Self::CopyIgnoredFile => "CopyIgnoredFile",
            Self::ExposeProtoCasing => "ExposeProtoCasing",
            Self::ExposeInvalidFormat => "ExposeInvalidFormat",
        }
    }
}

/// A rule that a Dockerfile breaks, and where. The build goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The rule.
    pub rule: Rule,
    /// What breaks it.
    pub message: String,
    /// The instruction that breaks it.
    pub location: Location,
}
