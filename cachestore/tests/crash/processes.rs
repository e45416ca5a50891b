//! Two processes and one store.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::{Duration, Instant};

use cachestore::{Error, Store};

use crate::driver::assert_clean;
use crate::victim::{Order, Task, command, open, said, start};
use crate::{fixture, picture};

/// What a process says when it has the store open.
const READY: &str = "the store is open";
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn the_second_is_told_who_has_the_store() {
    if let Some(order) = Order::of_this_process() {
        let _store = Store::open(&order.store, "shimd, process 7").expect("the store opens");
        println!("\n{READY}");
        std::io::stdin().read_to_end(&mut Vec::new()).expect("the end of the input");
        return;
    }
    let directory = fixture::temporary();
    let place = directory.path().join("store");
    fixture::fill(&open(&place));
    let before = picture::of(&open(&place));

    let mut command = command("processes::the_second_is_told_who_has_the_store", Task::Help, &place);
    let mut first = start(command.stdin(Stdio::piped()));
    let mut lines = BufReader::new(first.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == READY), "it did not open the store");

    // What the first one is working on is none of the second one's business.
    std::fs::create_dir(place.join("t/1")).expect("work in progress");
    let (_, answers) =
        (0..2).map(|_| Store::open(&place, "the second")).partition::<Vec<_>, _>(Result::is_ok);
    for answer in &answers {
        let Err(Error::Busy { path, holder }) = answer else { panic!("{answer:?}") };
        assert_eq!((path, holder.as_str()), (&place, "shimd, process 7"));
        let text = answer.as_ref().expect_err("seen above").to_string();
        assert_eq!(text, format!("the store {} is in use by shimd, process 7", place.display()));
    }
    assert_eq!(answers.len(), 2);
    assert!(place.join("t/1").exists(), "the second one has emptied the first one's directory");

    first.kill().expect("it is killed");
    first.wait().expect("it has ended");
    let store = open(&place);
    assert_clean("after a kill", &store);
    assert_eq!(picture::of(&store), before);
}

/// Processes that fight for a store get it one after the other, and each finds what the others have done.
#[test]
fn many_take_turns() {
    const PROCESSES: usize = 6;
    if let Some(order) = Order::of_this_process() {
        return take_a_turn(&order);
    }
    let directory = fixture::temporary();
    let place = directory.path().join("store");
    let processes: Vec<_> = (0..PROCESSES)
        .map(|number| {
            let mut command = command("processes::many_take_turns", Task::Help, &place);
            start(command.env("CRASH_NUMBER", number.to_string()))
        })
        .collect();
    for process in processes {
        let output = process.wait_with_output().expect("its output");
        assert!(output.status.success(), "{}", said(&output));
    }
    let store = open(&place);
    assert_clean("after turns", &store);
    assert_eq!(store.images().len(), PROCESSES);
}

fn take_a_turn(order: &Order) {
    let number = std::env::var("CRASH_NUMBER").expect("a number");
    let start = Instant::now();
    let store = loop {
        match Store::open(&order.store, &number) {
            Err(Error::Busy { .. }) if start.elapsed() < LIMIT => std::thread::yield_now(),
            other => break other.expect("the store opens"),
        }
    };
    let lease = store.lease();
    let tar = fixture::Tar::default().file("number", number.as_bytes()).end();
    let layer = fixture::ingest(&store, &tar, &[], &lease);
    fixture::put_image(&store, &lease, &[fixture::named(&layer)], &[&format!("number:{number}")]);
}
