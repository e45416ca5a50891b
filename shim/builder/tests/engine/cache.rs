//! Which steps are found again, and which are done again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use builder::Cancel;

use crate::world::World;

const DOCKERFILE: &str = "FROM scratch\nCOPY src /src\nRUN write /ran yes\n";
const FILES: [(&str, &str); 4] =
    [("src/a", "a"), ("src/sub/b", "b"), ("other", "x"), (".dockerignore", "**/*.log")];

#[test]
fn a_copy_is_done_again_if_what_it_copies_changed() {
    type Change = fn(&World);
    let changes: [(&str, Change, &str); 11] = [
        ("nothing", |_| {}, "cached cached"),
        ("content", |world| world.put(&[("src/a", "A")]), "done done"),
        ("the same content", |world| world.put(&[("src/a", "a")]), "cached cached"),
        (
            "times",
            |world| {
                let past = fs::FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(5));
                fs::File::open(world.context("src/a")).unwrap().set_times(past).unwrap();
                fs::File::open(world.context("src/sub")).unwrap().set_times(past).unwrap();
            },
            "cached cached",
        ),
        (
            "mode",
            |world| {
                fs::set_permissions(world.context("src/a"), fs::Permissions::from_mode(0o600)).unwrap();
            },
            "done done",
        ),
        ("a name", |world| world.put(&[("src/c", "a")]), "done done"),
        ("an empty directory", |world| world.put(&[("src/empty/", "")]), "done done"),
        ("a link", |world| world.put(&[("src/link -> a", "")]), "done done"),
        ("a removal", |world| fs::remove_file(world.context("src/sub/b")).unwrap(), "done done"),
        (
            "what is ignored",
            |world| world.put(&[("src/x.log", "1"), ("src/sub/y.log", "2")]),
            "cached cached",
        ),
        ("what is not copied", |world| world.put(&[("other", "y"), ("more", "z")]), "cached cached"),
    ];
    for (what, change, expected) in changes {
        let world = World::new();
        world.put(&FILES);
        assert_eq!(world.build(DOCKERFILE).ends(), "done done");
        change(&world);
        let again = world.build(DOCKERFILE);
        assert_eq!(again.ends(), expected, "{what}");
        assert_eq!(world.build(DOCKERFILE).ends(), "cached cached", "{what}, once more");
        assert_eq!(world.build(DOCKERFILE).image().id, again.image().id, "{what}");
    }
}

#[test]
fn a_file_that_changes_in_the_tick_of_a_clock_is_seen() {
    let world = World::new();
    for content in ["1", "2", "3", "4", "5"] {
        world.put(&[("f", content)]);
        let image = world.build("FROM scratch\nCOPY f /f\n").image();
        assert_eq!(world.tree(&image), [format!("f 644 {content}")]);
    }
}

#[test]
fn a_run_is_done_again_if_what_it_sees_changed() {
    let file = |line: &str| format!("FROM scratch\nARG GLOBAL=0\nCOPY f /\n{line}\nRUN true\n");
    for (before, after, expected) in [
        ("ENV A=1", "ENV A=1", "cached"),
        ("ENV A=1", "ENV A=2", "done"),
        ("ENV A=1 B=2", "ENV A=1\nENV B=2", "cached"),
        ("ENV A=1 B=2", "ENV B=2 A=1", "done"),
        ("", "ARG A", "cached"),
        ("", "ARG A=1", "done"),
        ("ARG A=1", "ARG A=2", "done"),
        ("ARG A=1", "ENV A=1", "cached"),
        ("ENV A=1", "ENV A=1\nARG A=2", "done"),
        ("", "LABEL a=b\nEXPOSE 80\nVOLUME /v\nCMD x\nENTRYPOINT y\nSTOPSIGNAL 9", "cached"),
        ("", "# a comment\n\n", "cached"),
        ("", "USER 5", "done"),
        ("USER 5", "USER 6", "done"),
        ("", "WORKDIR /", "cached"),
        ("", "SHELL [\"/other\", \"-c\"]", "done"),
        ("", "ENV PATH=/x", "done"),
    ] {
        let world = World::new();
        world.put(&[("f", "")]);
        world.build(&file(before)).image();
        assert_eq!(world.build(&file(after)).ends(), format!("cached {expected}"), "{before:?} {after:?}");
    }
}

#[test]
fn arguments_of_the_command_line_count_where_they_are_declared() {
    let text =
        "ARG BASE=scratch\nFROM $BASE\nCOPY f /\nRUN true\nARG WHO=a\nRUN write /who x\nARG HTTP_PROXY\n";
    for (args, expected) in [
        (&[][..], "cached cached cached"),
        (&[("WHO", "a")], "cached cached cached"),
        (&[("WHO", "b")], "cached cached done"),
        (&[("UNDECLARED", "b")], "cached cached cached"),
        (&[("BASE", "scratch")], "cached cached cached"),
        (&[("https_proxy", "http://p")], "cached cached cached"),
    ] {
        let world = World::new();
        world.put(&[("f", "")]);
        world.build(text).image();
        let mut request = world.request(text);
        request.build_args = args.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        assert_eq!(world.run(&request, &Cancel::default()).ends(), expected, "{args:?}");
    }
    let world = World::new();
    let mut request = world.request("FROM scratch\nARG A=1\nRUN true\n");
    request.build_args.insert("http_proxy".into(), "p".into());
    world.run(&request, &Cancel::default()).image();
    let env = world.host.last_process.lock().unwrap().take().unwrap().env;
    assert_eq!(env[1..], ["A=1", "HTTP_PROXY=p", "http_proxy=p"]);
}

#[test]
fn a_copy_from_a_stage_depends_on_what_it_copies_only() {
    let file = |said: &str| {
        format!(
            "FROM scratch AS a\nRUN write /out same; write /log {said}\nFROM scratch\nCOPY --from=a /out /out\n"
        )
    };
    let world = World::new();
    assert_eq!(world.build(&file("1")).ends(), "done done");
    let second = world.build(&file("2"));
    assert_eq!(second.ends(), "done cached", "the stage was done again, and made the same file");
    assert_eq!(world.tree(&second.image()), ["out 644 same"]);
    let third =
        world.build("FROM scratch AS a\nRUN write /out other\nFROM scratch\nCOPY --from=a /out /out\n");
    assert_eq!(third.ends(), "done done");
}

#[test]
fn everything_is_done_again_on_demand() {
    let world = World::new();
    world.put(&FILES);
    let first = world.build(DOCKERFILE);
    let mut request = world.request(DOCKERFILE);
    request.no_cache = true;
    let again = world.run(&request, &Cancel::default());
    assert_eq!(again.ends(), "done done");
    assert_ne!(again.image().id, first.image().id, "its layers are newer");
    // Later builds stand on the new layers.
    let later = world.build(DOCKERFILE);
    assert_eq!((later.ends().as_str(), later.image().id), ("cached cached", again.image().id));
    assert_eq!(world.host.ran.lock().unwrap().len(), 2);
}
