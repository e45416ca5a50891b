//! What is left of a build: the image, its names, its place as a base of others.

use builder::Cancel;

use crate::world::World;

#[test]
fn an_image_is_named_and_is_a_base_like_any_other() {
    let world = World::new();
    world.put(&[("f", "1")]);
    let mut request = world.request("FROM scratch\nENV A=1\nCOPY f /\nCMD [\"x\"]\n");
    request.names = vec!["one".parse().unwrap(), "two:2".parse().unwrap()];
    let image = world.run(&request, &Cancel::default()).image();
    assert_eq!(image.names.len(), 2);
    assert_eq!(world.store.resolve("two:2").unwrap().unwrap().id, image.id);

    let mut next = world
        .request("FROM two:2 AS a\nFROM docker.io/library/two:2\nRUN write /g 2\nCOPY --from=one /f /h\n");
    next.pull = true;
    let done = world.run(&next, &Cancel::default());
    assert_eq!(world.tree(&done.image()), ["f 644 1", "g 644 2", "h 644 1"]);
    let mut asked = world.host.asked.lock().unwrap().clone();
    asked.sort();
    assert_eq!(asked, ["one:latest!", "two:2!"], "each once, the newest");
    let process = world.host.last_process.lock().unwrap().take().unwrap();
    assert_eq!((process.env[1].as_str(), process.cwd.as_str()), ("A=1", "/"));
    assert_eq!(done.image().diff_ids[..1], image.diff_ids[..]);
}

#[test]
fn a_name_goes_to_the_newest_build() {
    let world = World::new();
    let build = |text: &str| {
        let mut request = world.request(text);
        request.names = vec!["app".parse().unwrap()];
        world.run(&request, &Cancel::default()).image()
    };
    let first = build("FROM scratch\nLABEL v=1\n");
    let second = build("FROM scratch\nLABEL v=2\n");
    assert_ne!(first.id, second.id);
    assert_eq!(world.store.resolve("app").unwrap().unwrap().id, second.id);
    assert_eq!(build("FROM scratch\nLABEL v=1\n").id, first.id);
    assert_eq!(world.store.resolve("app").unwrap().unwrap().id, first.id);
}

#[test]
fn what_is_refused_runs_nothing() {
    for (line, expected) in [
        ("ADD x /", "ADD cannot be executed by this builder yet"),
        ("HEALTHCHECK NONE", "HEALTHCHECK"),
        ("ONBUILD RUN true", "ONBUILD"),
        ("MAINTAINER x", "MAINTAINER"),
        ("RUN --mount=type=tmpfs,target=/t true", "RUN --mount"),
        ("RUN <<E\ntrue\nE", "RUN <<"),
        ("COPY --link x /", "COPY --link"),
        ("COPY --chmod=xyz x /", "xyz"),
        ("FROM --platform=plan9/mips other", "plan9/mips"),
    ] {
        let world = World::new();
        let done = world.build(&format!("FROM scratch\nRUN write /ran 1\n{line}\n"));
        let error = done.error();
        assert!(error.message.contains(expected), "{line}: {}", error.message);
        assert_eq!(error.location.map(|at| at.first_line), Some(3), "{line}");
        assert_eq!(*world.host.ran.lock().unwrap(), [""; 0], "{line}");
    }
    let done = World::new().build("FROM missing:1\n");
    assert_eq!(done.error().message, "missing:1: no registry has it");
    assert_eq!(done.error().location.map(|at| at.first_line), Some(1));
}

#[test]
fn unknown_owners_are_told() {
    let world = World::new();
    world.put(&[("f", "1")]);
    let done = world.build("FROM scratch\nUSER app\nWORKDIR /w\nCOPY --chown=eve:7 f /\n");
    assert_eq!(world.tree(&done.image()), ["f 644 1", "w/ 755"]);
    let told = |name: &str| done.warnings.iter().any(|warning| warning.contains(name));
    assert!(done.warnings.len() == 2 && told("user app") && told("user eve"), "{:?}", done.warnings);
}
