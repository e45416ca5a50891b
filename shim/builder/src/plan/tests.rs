use super::*;
use crate::dockerfile::parse;

/// Plans a file on base images with these configurations (`Env`, `Cmd` …), in the order in which they are needed.
fn plan(text: &str, build_args: &[(&str, &str)], images: &[&str]) -> Result<Plan> {
    let file = parse(text.as_bytes())?;
    let build_args = build_args.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let globals = args::globals(&file, &build_args, "")?;
    let graph = Graph::new(&file, &globals, None)?;
    let config = |config: &&str| {
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{config},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#
        );
        ImageConfig::parse(text.as_bytes()).unwrap()
    };
    let images: Vec<_> = images.iter().map(config).collect();
    Planner { file: &file, graph: &graph, globals: &globals, build_args: &build_args, images: &images }.plan()
}

fn target(text: &str, build_args: &[(&str, &str)], images: &[&str]) -> PlannedStage {
    plan(text, build_args, images).unwrap().stages.pop().unwrap().unwrap()
}

fn history(stage: &PlannedStage) -> Vec<String> {
    let entry = |entry: &cachestore::oci::config::History| {
        format!("{}{}", entry.created_by, if entry.empty_layer { "" } else { " *" })
    };
    stage.config().history.iter().map(entry).collect()
}

fn names(stage: &PlannedStage) -> Vec<&str> {
    stage.steps.iter().map(|step| step.name.as_str()).collect()
}

const HELLO: &str = "FROM golang:1.16 AS build\nWORKDIR /compose/hello-docker\nCOPY main.go main.go\n\
                     RUN CGO_ENABLED=0 go build -o hello main.go\nFROM scratch\n\
                     COPY --from=build /compose/hello-docker/hello /usr/local/bin/hello\nCMD [\"/usr/local/bin/hello\"]\n";

#[test]
fn the_story_is_planned_as_docker_shows_it() {
    let plan =
        plan(HELLO, &[], &[r#"{"Env":["PATH=/go/bin:/bin","GOLANG=1"],"Cmd":["bash"],"WorkingDir":"/go"}"#])
            .unwrap();
    let build = plan.stages[0].as_ref().unwrap();
    assert_eq!(build.from_prefix, "[build 1/4] ");
    assert_eq!(
        names(build),
        [
            "[build 2/4] WORKDIR /compose/hello-docker",
            "[build 3/4] COPY main.go main.go",
            "[build 4/4] RUN CGO_ENABLED=0 go build -o hello main.go"
        ]
    );
    let StepKind::Run(run) = &build.steps[2].kind else { panic!("not a RUN") };
    assert_eq!(run.args, ["/bin/sh", "-c", "CGO_ENABLED=0 go build -o hello main.go"]);
    assert_eq!(
        (run.cwd.as_str(), &run.env[..]),
        ("/compose/hello-docker", &["PATH=/go/bin:/bin".to_owned(), "GOLANG=1".into()][..])
    );
    let last = plan.stages[1].as_ref().unwrap();
    assert_eq!(
        names(last),
        ["[stage-1 1/1] COPY --from=build /compose/hello-docker/hello /usr/local/bin/hello"]
    );
    assert_eq!(
        history(last),
        [
            "COPY /compose/hello-docker/hello /usr/local/bin/hello # buildkit *",
            "CMD [\"/usr/local/bin/hello\"]"
        ]
    );
    let config = &last.config().config;
    assert_eq!(
        (config.cmd.join(" "), config.working_dir.as_str(), config.args_escaped),
        ("/usr/local/bin/hello".into(), "/", true)
    );
    assert_eq!(config.env, [format!("PATH={DEFAULT_PATH}")]);
    assert_eq!(plan.warnings, []);
}

#[test]
fn variables_are_those_before_the_instruction() {
    let stage = target(
        "FROM scratch\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\nLABEL l=\"$abc $def\"\nWORKDIR /$ghi\nWORKDIR sub\n",
        &[],
        &[],
    );
    let config = &stage.config().config;
    assert_eq!(config.env[1..], ["abc=bye", "def=hello", "ghi=bye"]);
    assert_eq!(config.labels["l"], "bye hello");
    assert_eq!(config.working_dir, "/bye/sub");
    assert_eq!(history(&stage)[4..], ["WORKDIR /bye *", "WORKDIR /bye/sub *"]);
}

#[test]
fn arguments_come_from_where_they_should() {
    let text = "ARG VERSION=1\nARG TAG=v$VERSION\nFROM base:$TAG\nARG TAG\nARG LOCAL=x$TAG\nARG UNSET\nENV LOCAL=env\nRUN build\n";
    let planned = plan(text, &[("VERSION", "7")], &["{}"]).unwrap();
    let stage = planned.stages[0].as_ref().unwrap();
    let StepKind::Run(run) = &stage.steps[0].kind else { panic!("not a RUN") };
    assert_eq!(run.env[1..], ["TAG=v7", "LOCAL=env"]);
    assert_eq!(
        history(stage),
        [
            "ARG TAG=v7",
            "ARG LOCAL=xv7",
            "ARG UNSET",
            "ENV LOCAL=env",
            "RUN |3 TAG=v7 LOCAL=env UNSET= /bin/sh -c build # buildkit *"
        ]
    );
    let undeclared = plan("FROM scratch\nLABEL a=$VERSION\n", &[("VERSION", "7")], &[]).unwrap();
    assert_eq!(undeclared.stages[0].as_ref().unwrap().config().config.labels["a"], "");
    assert_eq!(undeclared.warnings[0].message, "Usage of undefined variable '$VERSION'");
}

#[test]
fn a_stage_inherits_from_the_one_it_is_built_on() {
    let stage = target(
        "FROM base AS a\nARG X=1\nENV E=2\nUSER ann\nSHELL [\"/bin/bash\",\"-c\"]\nCMD [\"c\"]\nFROM a\nRUN id\nENTRYPOINT [\"e\"]\n",
        &[],
        &[r#"{"Cmd":["base"],"Labels":{"k":"v"}}"#],
    );
    let StepKind::Run(run) = &stage.steps[0].kind else { panic!("not a RUN") };
    assert_eq!((run.user.as_str(), &run.env[1..]), ("ann", &["X=1".to_owned(), "E=2".into()][..]));
    assert_eq!(run.args, ["/bin/bash", "-c", "id"]);
    let config = &stage.config().config;
    assert_eq!(
        (&config.cmd[..], &config.entrypoint[..]),
        (&[][..], &["e".to_owned()][..]),
        "an inherited CMD is cleared"
    );
    assert_eq!(config.labels["k"], "v");
    assert_eq!(names(&stage), ["[stage-1 1/1] RUN id"]);
}

#[test]
fn metadata_is_written_as_buildkit_writes_it() {
    let stage = target(
        "FROM scratch\nEXPOSE 80 443/TCP 9-10\nVOLUME /a /b\nUSER 1:2\nSTOPSIGNAL SIGTERM\nSHELL [\"/sh\", \"-e\"]\nENTRYPOINT run \"it\"\nCMD x\n",
        &[],
        &[],
    );
    assert_eq!(
        history(&stage),
        [
            "EXPOSE [443/tcp 80/tcp 9/tcp 10/tcp]",
            "VOLUME [/a /b]",
            "USER 1:2",
            "STOPSIGNAL SIGTERM",
            "SHELL [/sh -e]",
            "ENTRYPOINT [\"/sh\" \"-e\" \"run \\\"it\\\"\"]",
            "CMD [\"/sh\" \"-e\" \"x\"]"
        ]
    );
    let config = &stage.config().config;
    assert_eq!(config.exposed_ports.keys().collect::<Vec<_>>(), ["10/tcp", "443/tcp", "80/tcp", "9/tcp"]);
    assert_eq!(config.volumes.keys().collect::<Vec<_>>(), ["/a", "/b"]);
}

#[test]
fn copies_know_where_from_and_where_to() {
    let stage = target(
        "FROM scratch AS s\nFROM scratch\nWORKDIR /w\nARG O=7\nCOPY --chown=$O:8 --chmod=u+x a ../b/ ./dest/\nCOPY --from=0 /x y\nCOPY c .\n",
        &[],
        &[],
    );
    let copies: Vec<_> = stage
        .steps
        .iter()
        .filter_map(|step| match &step.kind {
            StepKind::Copy(copy) => Some((
                copy.from,
                copy.sources.join(" "),
                copy.destination.path.as_str(),
                copy.destination.is_directory,
            )),
            _ => None,
        })
        .collect();
    assert_eq!(
        copies,
        [
            (SourceTree::Context, "/a /b".to_owned(), "/w/dest", true),
            (SourceTree::Stack(Source::Stage(0)), "/x".to_owned(), "/w/y", false),
            (SourceTree::Context, "/c".to_owned(), "/w", true),
        ]
    );
    assert_eq!(history(&stage)[2], "COPY --chown=7:8 --chmod=u+x a ../b/ ./dest/ # buildkit *");
    assert_eq!(stage.steps[1].name, "[stage-1 2/4] COPY --chown=7:8 --chmod=u+x a ../b/ ./dest/");
}

#[test]
fn what_is_wrong_is_found_before_anything_runs() {
    for (text, images, expected) in [
        ("FROM scratch\nRUN true\nEXPOSE http\n", &[][..], "EXPOSE http"),
        ("FROM scratch\nSTOPSIGNAL SIGWHAT\n", &[], "SIGWHAT"),
        ("FROM scratch\nCOPY --chmod=8888 a b\n", &[], "8888"),
        ("FROM scratch\nCOPY --chmod=ux a b\n", &[], "ux"),
        ("FROM scratch\nCOPY https://x/y b\n", &[], "URL"),
        ("FROM scratch\nCOPY [\"[a\", \"b\"]\n", &[], "[a"),
        ("FROM scratch\nWORKDIR $EMPTY\n", &[], "WORKDIR"),
        ("FROM scratch\nVOLUME /$a $EMPTY\n", &[], "VOLUME"),
        ("FROM scratch\nENV a=${b?needed}\n", &[], "needed"),
        ("FROM base\n", &[r#"{"OnBuild":["RUN x"]}"#], "RUN x"),
    ] {
        let error = plan(text, &[], images).unwrap_err();
        assert!(error.message.contains(expected) && error.location.is_some(), "{text}: {error:?}");
    }
}

#[test]
fn advice_is_given_and_can_be_declined() {
    let warnings = |text: &str| plan(text, &[], &[]).unwrap().warnings.len();
    assert_eq!(warnings("FROM scratch\nCMD echo $HOME\n"), 1);
    assert_eq!(warnings("FROM scratch\nSHELL [\"sh\"]\nCMD echo\n"), 0);
    assert_eq!(warnings("# check=skip=JSONArgsRecommended\nFROM scratch\nCMD echo\n"), 0);
}
