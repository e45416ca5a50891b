use super::super::build::End;
use super::*;

/// One thing that happens in a build.
enum Event {
    Start(u32, &'static str),
    Say(u32, &'static str),
    Item(u32, &'static str, u64, u64),
    End(u32, Outcome),
    Tick,
}
use Event::{End as Ended, Item as Progress, Say, Start, Tick};

/// Plays events at their milliseconds and returns all lines.
fn play(events: Vec<(u64, Event)>) -> Vec<String> {
    let (mut build, mut plain) = (Build::default(), Plain::default());
    let mut out = Vec::new();
    for (milliseconds, event) in events {
        let now = Duration::from_millis(milliseconds);
        let change = match event {
            Start(step, name) => build.step_started(step, name, now),
            Say(step, text) => build.step_output(step, text.as_bytes(), now),
            Progress(step, item, current, total) => build.step_progress(step, item, (current, total), now),
            Ended(step, outcome) => {
                let took = Duration::from_millis(1234);
                build.step_finished(step, End { took, outcome }, now)
            }
            Tick => {
                out.extend(plain.tick(&build, now));
                continue;
            }
        };
        out.extend(change.map(|change| plain.tell(&build, change, now)).unwrap_or_default());
    }
    out
}

#[test]
fn steps_one_after_the_other() {
    let lines = play(vec![
        (0, Start(1, "[internal] load build definition from Dockerfile")),
        (1, Progress(1, "transferring dockerfile:", 32, 0)),
        (2, Ended(1, Outcome::Done)),
        (3, Start(2, "[1/2] FROM docker.io/library/alpine")),
        (3, Ended(2, Outcome::Cached)),
        (10, Start(3, "[2/2] RUN make")),
        (133, Say(3, "compiling\nlink")),
        (140, Say(3, "ing\r\n")),
        (150, Say(3, "no end")),
        (1244, Ended(3, Outcome::Failed("exit code: 2".into()))),
        (1245, Start(4, "exporting")),
        (1246, Ended(4, Outcome::Cancelled)),
    ]);
    assert_eq!(
        lines,
        [
            "#1 [internal] load build definition from Dockerfile",
            "#1 transferring dockerfile: 32B done",
            "#1 DONE 1.2s",
            "",
            "#2 [1/2] FROM docker.io/library/alpine",
            "#2 CACHED",
            "",
            "#3 [2/2] RUN make",
            "#3 0.123 compiling",
            "#3 0.123 linking",
            "#3 0.140 no end",
            "#3 ERROR: exit code: 2",
            "",
            "#4 exporting",
            "#4 CANCELED",
        ]
    );
}

#[test]
fn parallel_steps_take_turns() {
    let lines = play(vec![
        (0, Start(1, "[a 1/1] RUN a")),
        (0, Start(2, "[b 1/1] RUN b")),
        (0, Start(3, "[c 1/1] RUN c")),
        (100, Say(1, "a1\n")),
        (200, Say(2, "b1\n")),
        (300, Say(1, "a2\n")),
        // Its turn is over, and the one that has waited longest comes.
        (5100, Tick),
        (5200, Say(1, "a3\n")),
        (5300, Say(2, "b2\n")),
        // What ends is shown at once, and the next one that waits has its turn.
        (5400, Ended(3, Outcome::Done)),
        (5500, Ended(2, Outcome::Done)),
        (5600, Ended(1, Outcome::Done)),
    ]);
    assert_eq!(
        lines,
        [
            "#1 [a 1/1] RUN a",
            "#1 0.100 a1",
            "#1 0.300 a2",
            "#1 ...",
            "",
            "#2 [b 1/1] RUN b",
            "#2 0.200 b1",
            "#2 5.300 b2",
            "#2 ...",
            "",
            "#3 [c 1/1] RUN c",
            "#3 DONE 1.2s",
            "",
            "#1 [a 1/1] RUN a",
            "#1 5.200 a3",
            "#1 ...",
            "",
            "#2 [b 1/1] RUN b",
            "#2 DONE 1.2s",
            "",
            "#1 [a 1/1] RUN a",
            "#1 DONE 1.2s",
        ]
    );
}

#[test]
fn much_output_does_not_wait() {
    let (mut build, mut plain) = (Build::default(), Plain::default());
    let start = Duration::ZERO;
    for (number, name) in [(1, "a"), (2, "b")] {
        let change = build.step_started(number, name, start).unwrap();
        plain.tell(&build, change, start);
    }
    let change = build.step_output(2, "x\n".repeat(MAX_WAITING_LINES + 1).as_bytes(), start).unwrap();
    let lines = plain.tell(&build, change, start);
    assert_eq!(lines[..3], ["#1 ...", "", "#2 b"]);
    assert_eq!(lines.len(), 3 + MAX_WAITING_LINES + 1);
}

#[test]
fn transfers_are_mentioned_now_and_then() {
    let lines = play(vec![
        (0, Start(1, "pull")),
        (0, Progress(1, "layer", 0, 1000)),
        (10, Progress(1, "layer", 49, 1000)),
        (20, Progress(1, "layer", 50, 1000)),
        (30, Progress(1, "layer", 60, 1000)),
        (5031, Progress(1, "layer", 61, 1000)),
        (5100, Progress(1, "layer", 1000, 1000)),
        (5200, Progress(1, "layer", 1000, 1000)),
        (6000, Ended(1, Outcome::Done)),
    ]);
    assert_eq!(
        lines,
        [
            "#1 pull",
            "#1 layer 0B / 1.00kB",
            "#1 layer 50B / 1.00kB 0.0s",
            "#1 layer 61B / 1.00kB 5.0s",
            "#1 layer 1.00kB / 1.00kB 5.1s done",
            "#1 DONE 1.2s",
        ]
    );
}

#[test]
fn work_without_bytes() {
    let lines = play(vec![
        (0, Start(1, "exporting to image")),
        (0, Progress(1, "exporting layers", 0, 0)),
        (900, Tick),
        (1000, Tick),
        (1100, Tick),
        (2000, Progress(1, "naming to docker.io/library/x:latest", 0, 0)),
        (2001, Ended(1, Outcome::Done)),
    ]);
    assert_eq!(
        lines,
        [
            "#1 exporting to image",
            "#1 exporting layers 1.0s",
            "#1 exporting layers 2.0s done",
            "#1 naming to docker.io/library/x:latest done",
            "#1 DONE 1.2s",
        ]
    );
}
