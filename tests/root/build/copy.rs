//! What a `COPY` makes of what it finds.

use anyhow::{Result, ensure};

use super::Site;

const ROWS: &str = include_str!("copy.txt");

/// Everything but two entries has the time 1500000000.
const CONTEXT: &str = "
umask 022
mkdir -p src/sub/deep src/.hid modes/dir empty other
for file in a.go b.go c.txt sub/x sub/deep/y .hid/h; do basename $file | cut -c1 > src/$file; done
echo h > src/.hid/h
ln -s a.go src/link
ln -s sub src/dirlink
ln -s /nowhere src/dangling
echo 1 > modes/600
chmod 600 modes/600
echo 2 > modes/4755
chmod 4755 modes/4755
chmod 2770 modes/dir
echo 3 > modes/dir/f
ln modes/600 modes/same
ln -s src/sub up
ln -s src/a.go file
mkfifo other/fifo
echo sp > 'with space'
echo z > '[odd]'
find . -depth -exec touch -h -d @1500000000 {} +
touch -d @1400000000 src/sub src/a.go
";

const BEFORE: &str = "FROM busybox AS stage
RUN mkdir -p /s/own && echo o > /s/own/f && chown 5:6 /s/own/f && chown user /s/own && ln -s own /s/link \
 && touch -d @1300000000 /s/own/f /s/own
FROM busybox
RUN mkdir -p /there/sub /real && chmod 700 /there/sub && ln -s real /alias && echo old > /there/a.go \
 && ln -s /bin/true /there/b.go && chown 7:7 /there
WORKDIR /w
";

/// The instructions of the table with the entries that each makes.
fn rows() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut rows: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in ROWS.lines().filter(|line| !line.starts_with('#')) {
        match (line.strip_prefix("  "), rows.last_mut()) {
            (Some(entry), Some((_, entries))) => entries.push(entry),
            _ => rows.push((line, Vec::new())),
        }
    }
    rows
}

#[test]
fn every_entry_is_as_buildkit_makes_it() -> Result<()> {
    let site = Site::new()?;
    site.sh(CONTEXT)?;
    let rows = rows();
    ensure!(rows.len() > 20, "{} rows", rows.len());
    let instructions: Vec<&str> = rows.iter().map(|(instruction, _)| *instruction).collect();
    site.built(&format!("{BEFORE}{}\n", instructions.join("\n")), &["-t", "copies"])?;
    let saved = site.saved("copies")?;
    for (from_top, (instruction, entries)) in rows.iter().rev().enumerate() {
        assert_eq!(saved.layer(from_top), *entries, "{instruction}");
    }
    // Times are those of the sources, the destination's own too, but not those of directories made above it.
    let time =
        |path: &str| saved.layers.iter().rev().find_map(|layer| layer.get(path)).map(|entry| entry.time);
    for (path, expected) in [
        ("w/x", 1_400_000_000),
        ("dir", 1_500_000_000),
        ("dir/sub", 1_400_000_000),
        ("dir/sub/x", 1_500_000_000),
        ("dir/link", 1_500_000_000),
        ("there", 1_500_000_000),
        ("there/sub", 1_400_000_000),
        ("s/own", 1_300_000_000),
        ("s/own/f", 1_300_000_000),
        ("linked", 1_300_000_000),
        ("other/fifo", 1_500_000_000),
    ] {
        assert_eq!(time(path), Some(expected), "{path}");
    }
    for path in ["w/many", "w/z/deep", "number", "names", "chmod"] {
        ensure!(time(path) > Some(1_700_000_000), "{path}: {:?}", time(path));
    }
    site.assert_nothing_is_left()
}

#[test]
fn what_cannot_be_copied_is_said() -> Result<()> {
    let site = Site::new()?;
    site.sh("mkdir dir dir/f sub; touch file hidden sub/f; ln -s gone dangling; ln -s loop loop")?;
    site.put(".dockerignore", "hidden\n")?;
    for (instructions, expected) in [
        ("COPY missing /", "\"/missing\": not found"),
        ("COPY hidden /", "the .dockerignore file leaves it out"),
        ("COPY dangling /", "\"/dangling\": not found"),
        ("COPY loop /", "too many symbolic links"),
        ("COPY ../../etc/passwd /", "\"/etc/passwd\": not found"),
        ("COPY --from=busybox /missing /", "\"/missing\": not found"),
        ("COPY file /x/\nCOPY dir /x/file", "/x/file"),
        ("COPY dir /x\nCOPY sub /x", "cannot replace to directory /x/f with file"),
        ("COPY sub /x\nCOPY dir /x", "cannot copy to non-directory: /x/f"),
    ] {
        site.put("Dockerfile", &format!("FROM scratch\n{instructions}\n"))?;
        let failed = site.build(&[])?.fails_with(1)?;
        ensure!(failed.stderr.contains(expected), "{instructions}: {failed}");
    }
    // As in BuildKit, wildcards may match nothing, and nobody's name is root's; the second is said.
    let nobody = "FROM scratch\nCOPY nothing* /x/\nCOPY --chown=nobodyhere:nogroup file /y\n";
    site.put("Dockerfile", nobody)?;
    let built = site.build(&["-t", "nobody"])?.run()?;
    ensure!(built.stderr.contains("unable to find user nobodyhere"), "{built}");
    let saved = site.saved("nobody")?;
    assert_eq!((saved.layer(1), saved.layer(0)), (vec![], vec!["y: -644 0:0".to_owned()]));
    site.assert_nothing_is_left()
}
