//! Golden files: shell commands, each with what it printed and how it ended.
//!
//! `SHIMCTL_BLESS=1 cargo test -p shimctl` writes what the commands print now into the files.

use std::path::Path;

use crate::world::World;

/// Runs the commands of `testdata/cli/NAME.txt` again and compares.
pub(crate) fn check(world: &World, name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/cli").join(format!("{name}.txt"));
    let expected = std::fs::read_to_string(&path).unwrap();
    let commands: Vec<_> = expected.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    assert!(!commands.is_empty(), "{name} has no commands");
    let found = commands.iter().map(|command| transcript(world, command)).collect::<Vec<_>>().join("\n");
    if std::env::var_os("SHIMCTL_BLESS").is_some() {
        use std::io::Write as _;
        std::fs::File::create(&path).unwrap().write_all(found.as_bytes()).unwrap();
        return;
    }
    if expected != found {
        let difference = expected.lines().zip(found.lines()).find(|(expected, found)| expected != found);
        panic!("{name} is not as recorded; the first difference is {difference:#?}\nall of it:\n{found}");
    }
}

fn transcript(world: &World, command: &str) -> String {
    let output = world.shell(command).output().unwrap();
    let stdout = world.normalise(&String::from_utf8_lossy(&output.stdout));
    let stderr = untimed(&world.normalise(&String::from_utf8_lossy(&output.stderr)));
    let mut text = format!("$ {command}\n{stdout}");
    if !text.ends_with('\n') {
        text.push_str("[no line end]\n");
    }
    if !stderr.is_empty() {
        text.push_str(&format!("[stderr]\n{stderr}"));
    }
    match output.status.code() {
        Some(0) => text,
        Some(code) => format!("{text}[exit {code}]\n"),
        None => format!("{text}[{}]\n", output.status),
    }
}

/// Replaces times that were measured here: stamps with three decimals, and those of transfers.
fn untimed(text: &str) -> String {
    let is_time = |word: &str, decimals: usize| {
        let parts = word.split_once('.').filter(|(whole, rest)| !whole.is_empty() && rest.len() == decimals);
        parts.is_some_and(|(whole, rest)| (whole.to_owned() + rest).bytes().all(|byte| byte.is_ascii_digit()))
    };
    let line = |line: &str| {
        let is_short = |word: &str| word.strip_suffix('s').is_some_and(|time| is_time(time, 1));
        let is_item = line.starts_with('#') && !line.contains(" DONE ");
        let words = line.split(' ').filter(|word| !(is_item && is_short(word)));
        words.map(|word| if is_time(word, 3) { "T.TTT" } else { word }).collect::<Vec<_>>().join(" ") + "\n"
    };
    text.lines().map(line).collect()
}
