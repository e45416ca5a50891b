//! What runs at once, what runs once, and what ends it.

use std::sync::atomic::Ordering;

use builder::{Cancel, Kind};

use crate::world::World;

#[test]
fn independent_stages_run_at_once() {
    let world = World::with_parallel(2);
    let done = world.build(
        "FROM scratch AS a\nRUN meet here 2; write /a 1\nFROM scratch AS b\nRUN meet here 2; write /b 2\n\
         FROM scratch\nCOPY --from=a / /\nCOPY --from=b / /\n",
    );
    assert_eq!(world.tree(&done.image()), ["a 644 1", "b 644 2"]);
}

#[test]
fn no_more_run_than_is_allowed() {
    let world = World::with_parallel(1);
    let stages: String =
        (0..6).map(|n| format!("FROM scratch AS s{n}\nRUN write /{n} x\nRUN write /{n}b x\n")).collect();
    let copies: String = (0..6).map(|n| format!("COPY --from=s{n} / /\n")).collect();
    let done = world.build(&format!("{stages}FROM scratch\n{copies}"));
    assert_eq!(world.tree(&done.image()).len(), 12);
    assert_eq!(world.host.most_running.load(Ordering::SeqCst), 1);
}

#[test]
fn only_what_the_target_needs_runs() {
    let world = World::new();
    let text = "FROM scratch AS a\nRUN write /a 1\nFROM nowhere AS never\nRUN fail 9\nFROM a AS b\nRUN write /b 2\nFROM b\nRUN fail 8\n";
    let mut request = world.request(text);
    request.target = Some("B".into());
    let done = world.run(&request, &Cancel::default());
    assert_eq!(world.tree(&done.image()), ["a 644 1", "b 644 2"]);
    assert_eq!(*world.host.ran.lock().unwrap(), ["write /a 1", "write /b 2"]);
    assert!(world.host.asked.lock().unwrap().is_empty());
}

#[test]
fn builds_of_the_same_share_their_steps() {
    let world = World::new();
    let text = "FROM scratch\nRUN meet inside 2; write /f x\n";
    std::thread::scope(|scope| {
        let builds: Vec<_> = (0..3).map(|_| scope.spawn(|| world.build(text))).collect();
        // The one that runs waits for us: by then the others wait for it, or will find its layer.
        world.host.meet("inside", 2, &Cancel::default());
        let done: Vec<_> = builds.into_iter().map(|build| build.join().unwrap()).collect();
        assert!(done.iter().all(|build| build.image().id == done[0].image().id));
        let mut ends: Vec<_> = done.iter().map(crate::world::Done::ends).collect();
        ends.sort();
        assert_eq!(ends, ["cached", "cached", "done"]);
    });
    assert_eq!(world.host.ran.lock().unwrap().len(), 1);
}

#[test]
fn a_failing_step_ends_the_others() {
    let world = World::new();
    let done = world.build(
        "FROM scratch AS a\nRUN meet x 2; hang\nFROM scratch AS b\nRUN true\nRUN meet x 2; fail 3\nFROM scratch\n\
         COPY --from=a / /\nCOPY --from=b / /\n",
    );
    let error = done.error();
    assert_eq!((error.kind, error.location.map(|at| at.first_line)), (Kind::Command(3), Some(5)));
    assert_eq!(
        error.message,
        "process \"/bin/sh -c meet x 2; fail 3\" did not complete successfully: exit code: 3"
    );
    let end = |part: &str| done.steps.iter().find(|(name, _)| name.contains(part)).unwrap().1.clone();
    assert_eq!(end("hang"), "the build was cancelled");
    assert_eq!(end("RUN true"), "done");
    assert!(!done.steps.iter().any(|(name, _)| name.contains("COPY")), "{:?}", done.steps);
}

#[test]
fn a_cancelled_build_ends_and_can_go_on() {
    let world = World::new();
    world.put(&[("f", "1")]);
    let (text, cancel) = ("FROM scratch\nCOPY f /\nRUN meet in 2; hang\n", Cancel::default());
    std::thread::scope(|scope| {
        let build = scope.spawn(|| world.run(&world.request(text), &cancel));
        world.host.meet("in", 2, &Cancel::default());
        cancel.cancel();
        let done = build.join().unwrap();
        assert_eq!(done.error().kind, Kind::Cancelled);
        assert_eq!(done.ends(), "done the build was cancelled");
    });
    let next = world.build("FROM scratch\nCOPY f /\nRUN write /g 2\n");
    assert_eq!((next.ends().as_str(), world.tree(&next.image()).len()), ("cached done", 2));
    let left = std::fs::read_dir(world.store.dir().join("t")).unwrap().count();
    assert_eq!(left, 0, "no workspace is left");
}
