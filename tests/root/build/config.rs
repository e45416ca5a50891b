//! What a build writes about an image, and what other programs make of it.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Site;

const DOCKERFILE: &str = r#"FROM busybox AS base
ARG WHO=you
LABEL a=1 "b c"="d e"
ENV ONE=1 TWO="two words"
CMD ["inherited"]
FROM base
ARG WHO LATER
ENV ONE=one THREE=$TWO
WORKDIR /a//b/
WORKDIR c/
COPY --chown=1:2 f ./
RUN echo $WHO > who && ln -s f l && ln f h
EXPOSE 80 53/UDP 90-91
VOLUME /v /w
USER user:users
STOPSIGNAL SIGINT
SHELL ["/bin/sh", "-ec"]
LABEL a=2
ENTRYPOINT run "it"
CMD ["x y", "z\"q"]
"#;

const HISTORY: [&str; 19] = [
    "layer 1 *",
    "ARG WHO=you",
    "LABEL a=1 b c=d e",
    "ENV ONE=1 TWO=two words",
    "CMD [\"inherited\"]",
    "ARG WHO LATER",
    "ENV ONE=one THREE=two words",
    "WORKDIR /a//b/ *",
    "WORKDIR /a/b/c *",
    "COPY --chown=1:2 f ./ # buildkit *",
    "RUN |2 WHO=you LATER= /bin/sh -c echo $WHO > who && ln -s f l && ln f h # buildkit *",
    "EXPOSE [53/udp 80/tcp 90/tcp 91/tcp]",
    "VOLUME [/v /w]",
    "USER user:users",
    "STOPSIGNAL SIGINT",
    "SHELL [/bin/sh -ec]",
    "LABEL a=2",
    "ENTRYPOINT [\"/bin/sh\" \"-ec\" \"run \\\"it\\\"\"]",
    "CMD [\"x y\" \"z\\\"q\"]",
];

/// Returns the names of a JSON object's text in their order, at the first level.
fn keys(text: &str) -> Vec<String> {
    let (mut depth, mut in_text, mut escaped, mut word) = (0, false, false, String::new());
    let mut found = Vec::new();
    for character in text.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' if in_text => escaped = true,
            '"' => in_text = !in_text,
            _ if in_text => word.push(character),
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ':' if depth == 1 => found.push(word.clone()),
            _ => {}
        }
        if !in_text && character != '"' {
            word.clear();
        }
    }
    found
}

#[test]
fn configuration_and_history_are_buildkits() -> Result<()> {
    let site = Site::new()?;
    site.put("f", "f\n")?;
    site.built(DOCKERFILE, &["-t", "app"])?;
    let saved = site.saved("app")?;
    assert_eq!(
        saved.config["config"],
        json!({
            "User": "user:users",
            "ExposedPorts": {"53/udp": {}, "80/tcp": {}, "90/tcp": {}, "91/tcp": {}},
            "Env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "ONE=one", "TWO=two words", "THREE=two words",
            ],
            "Entrypoint": ["/bin/sh", "-ec", "run \"it\""],
            "Cmd": ["x y", "z\"q"],
            "Volumes": {"/v": {}, "/w": {}},
            "WorkingDir": "/a/b/c",
            "Labels": {"a": "2", "b c": "d e"},
            "StopSignal": "SIGINT",
            "ArgsEscaped": true,
            "Shell": ["/bin/sh", "-ec"],
        })
    );
    assert_eq!(saved.history(), HISTORY);
    let history = saved.config["history"].as_array().context("a history")?;
    ensure!(history[1..].iter().all(|entry| entry["comment"] == "buildkit.dockerfile.v0"), "{history:?}");
    // An entry without a layer has the time of the next layer, or else of the last one.
    assert_eq!(history[1]["created"], history[7]["created"]);
    assert_eq!(history[18]["created"], history[10]["created"]);
    assert_eq!(saved.config["created"], history[10]["created"]);
    ensure!(saved.config["rootfs"]["diff_ids"].as_array().map(Vec::len) == Some(5), "{}", saved.config);
    site.others_read_it(&saved.config)
}

impl Site {
    /// skopeo and umoci read what was saved; a registry takes it.
    fn others_read_it(&self, config: &Value) -> Result<()> {
        self.registry.mirror_for_skopeo()?;
        let archive = format!("oci-archive:{}", self.host.dir().join("saved.tar").display());
        let skopeo = |args: &[&str]| self.host.command("skopeo").args(args);
        let raw = skopeo(&["inspect", "--config", "--raw", &archive]).stdout()?;
        assert_eq!(serde_json::from_str::<Value>(&raw)?, *config);
        assert_eq!(keys(&raw), ["architecture", "config", "created", "history", "os", "rootfs"]);
        let inspected = skopeo(&["inspect", &archive]).json()?;
        assert_eq!((&inspected["Os"], &inspected["Labels"]["a"]), (&json!("linux"), &json!("2")));
        let to = format!("docker://{}/pushed:1", self.registry.address());
        skopeo(&["copy", "--quiet", &archive, &to]).run()?;
        self.shimd.shimctl(&["pull", &to["docker://".len()..]])?.run()?;

        let layout = self.host.dir().join("layout");
        skopeo(&["copy", "--quiet", &archive, &format!("oci:{}:app", layout.display())]).run()?;
        let bundle = self.host.dir().join("bundle");
        let image = format!("{}:app", layout.display());
        self.host.command("umoci").args(["unpack", "--image", &image]).arg(&bundle).run()?;
        let listed = self
            .host
            .command_in(bundle.join("rootfs/a/b/c"), "sh")
            .args(["-euc", "stat -c '%n %a %u:%g %h' *; cat who; readlink l"]);
        assert_eq!(listed.stdout()?, "f 644 1:2 2\nh 644 1:2 2\nl 777 0:0 1\nwho 644 0:0 1\nyou\nf");
        self.assert_nothing_is_left()
    }
}

#[test]
fn a_target_is_all_that_is_built() -> Result<()> {
    let site = Site::new()?;
    let dockerfile = "FROM busybox AS build\nRUN echo built > /built\nFROM nowhere.invalid/image AS never\nRUN exit 1\n\
                      FROM busybox AS Tools\nRUN echo tools > /tools\nFROM scratch\nCOPY --from=build /built /\n\
                      COPY --from=busybox /etc/group /group\n";
    let steps = site.built(dockerfile, &["-t", "last"])?;
    assert_eq!(
        steps.names().iter().filter(|name| !name.contains("] FROM ")).copied().collect::<Vec<_>>(),
        [
            "[build 2/2] RUN echo built > /built",
            "[stage-3 1/2] COPY --from=build /built /",
            "[stage-3 2/2] COPY --from=busybox /etc/group /group"
        ]
    );
    let saved = site.saved("last")?;
    assert_eq!(saved.layers.len(), 2);
    assert_eq!((saved.text("built")?, saved.text("group")?.lines().next()), ("built\n", Some("root:x:0:")));
    assert_eq!(saved.config["config"]["WorkingDir"], "/");
    for (target, file) in [("tools", "tools"), ("BUILD", "built"), ("0", "built"), ("2", "tools")] {
        site.build(&["--target", target, "-t", "one"])?.run()?;
        assert_eq!(site.saved("one")?.text(file)?, format!("{file}\n"), "{target}");
    }
    let failed = site.build(&["--target", "other"])?.fails_with(1)?;
    ensure!(failed.stderr.contains("target stage \"other\" could not be found"), "{failed}");
    ensure!(failed.stderr.contains("hint: the stages are: build, never, tools"), "{failed}");

    // An image of nothing, and one that only says something.
    site.built("FROM scratch\nLABEL a=b\n", &["-t", "nothing"])?;
    let nothing = site.saved("nothing")?;
    assert_eq!((nothing.layers.len(), nothing.history()), (0, vec!["LABEL a=b".to_owned()]));
    site.assert_nothing_is_left()
}
