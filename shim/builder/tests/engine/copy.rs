//! What a `COPY` makes of what it finds; owners need privileges, and are in the root tier.

use crate::world::World;

const FILES: [(&str, &str); 14] = [
    ("a.go", "a"),
    ("b.go", "b"),
    ("c.txt", "c"),
    ("dir/x", "x"),
    ("dir/sub/y", "y"),
    ("dir/link -> x", ""),
    ("dir/gone -> /nowhere", ""),
    ("empty/", ""),
    ("up -> dir/sub", ""),
    ("file -> a.go", ""),
    ("over/x/", ""),
    ("with space", "s"),
    ("logs/1.log", "1"),
    (".dockerignore", "**/*.log\nover/hidden"),
];

#[test]
fn sources_go_where_they_should() {
    for (instructions, expected) in [
        ("COPY a.go /", &["a.go 644 a"][..]),
        ("COPY a.go /x", &["x 644 a"]),
        ("COPY a.go /x/", &["x/ 755", "x/a.go 644 a"]),
        ("COPY a.go x/y", &["x/ 755", "x/y 644 a"]),
        ("COPY a.go b.go /x/", &["x/ 755", "x/a.go 644 a", "x/b.go 644 b"]),
        ("COPY *.go c.* /x/", &["x/ 755", "x/a.go 644 a", "x/b.go 644 b", "x/c.txt 644 c"]),
        // The last one wins, as in BuildKit.
        ("COPY ?.go /x", &["x 644 b"]),
        ("COPY dir/sub /x", &["x/ 755", "x/y 644 y"]),
        ("COPY dir/sub/ /x/", &["x/ 755", "x/y 644 y"]),
        ("COPY d*r/s* /x/", &["x/ 755", "x/y 644 y"]),
        ("COPY up /x", &["x/ 755", "x/y 644 y"]),
        ("COPY up/y file /x/", &["x/ 755", "x/file 644 a", "x/y 644 y"]),
        (
            "COPY dir /x",
            &["x/ 755", "x/gone -> /nowhere", "x/link -> x", "x/sub/ 755", "x/sub/y 644 y", "x/x 644 x"],
        ),
        ("COPY empty /x", &["x/ 755"]),
        ("COPY empty a.go /x/", &["x/ 755", "x/a.go 644 a"]),
        ("COPY none* /x/", &[]),
        ("COPY logs /x", &["x/ 755"]),
        ("COPY [\"with space\", \"/a b\"]", &["a b 644 s"]),
        ("COPY --chmod=700 dir/sub /x/z", &["x/ 700", "x/z/ 700", "x/z/y 700 y"]),
        ("COPY --chmod=u+x,go= a.go /x", &["x 700 a"]),
        ("COPY a.go /x\nCOPY b.go /x", &["x 644 b"]),
        ("COPY a.go /x/y\nCOPY dir/sub /x", &["x/ 755", "x/y 644 y"]),
        (
            "COPY dir /x\nCOPY b.go /x/link",
            &["x/ 755", "x/gone -> /nowhere", "x/link -> x", "x/sub/ 755", "x/sub/y 644 y", "x/x 644 b"],
        ),
        (
            "WORKDIR /w\nCOPY a.go .\nCOPY b.go ..\nCOPY c.txt d/",
            &["b.go 644 b", "w/ 755", "w/a.go 644 a", "w/d/ 755", "w/d/c.txt 644 c"],
        ),
        ("COPY ../../a.go /../../x", &["x 644 a"]),
    ] {
        let world = World::new();
        world.put(&FILES);
        let done = world.build(&format!("FROM scratch\n{instructions}\n"));
        assert_eq!(world.tree(&done.image()), expected, "{instructions}");
    }
}

#[test]
fn stages_and_images_are_sources() {
    let world = World::new();
    world.put(&FILES);
    let mut base = world.request("FROM scratch\nCOPY dir /dir\n");
    base.names = vec!["base".parse().unwrap()];
    world.run(&base, &builder::Cancel::default()).image();
    for (instructions, expected) in [
        ("COPY --from=base /dir/x /", &["x 644 x"][..]),
        ("COPY --from=0 /two /dir/*b /", &["two 644 2", "y 644 y"]),
        ("COPY --from=STAGE /one .", &["one 644 1"]),
        ("COPY --from=stage /dir/link /", &["link 644 x"]),
        ("COPY --from=scratch / /x", &["x/ 755"]),
        (
            "COPY --from=base / /",
            &[
                "dir/ 755",
                "dir/gone -> /nowhere",
                "dir/link -> x",
                "dir/sub/ 755",
                "dir/sub/y 644 y",
                "dir/x 644 x",
            ],
        ),
    ] {
        let text =
            format!("FROM base AS stage\nRUN write /one 1\nRUN write /two 2\nFROM scratch\n{instructions}\n");
        let done = world.build(&text);
        assert_eq!(world.tree(&done.image()), expected, "{instructions}");
        let again = world.build(&text);
        assert!(!again.ends().contains("done"), "{instructions}: {:?}", again.steps);
    }
}

#[test]
fn what_cannot_be_copied_is_named_with_its_line() {
    for (instructions, line, expected) in [
        ("COPY none /", 2, "\"/none\": not found"),
        ("COPY logs/1.log /", 2, "\"/logs/1.log\": not found"),
        ("COPY dir/gone /", 2, "\"/dir/gone\": not found"),
        ("COPY a.go /x\nCOPY dir /x", 3, "/x"),
        ("COPY over /o\nCOPY dir /o", 3, "cannot replace to directory /o/x with file"),
        ("COPY dir /o\nCOPY over /o", 3, "cannot copy to non-directory: /o/x"),
        ("COPY a.go /x\nCOPY b.go /x/y", 3, "/x"),
    ] {
        let world = World::new();
        world.put(&FILES);
        let done = world.build(&format!("FROM scratch\n{instructions}\n"));
        let error = done.error();
        assert!(error.message.contains(expected), "{instructions}: {}", error.message);
        assert_eq!(error.location.map(|at| at.first_line), Some(line), "{instructions}");
    }
    let world = World::new();
    world.put(&FILES);
    let hidden = world.build("FROM scratch\nCOPY logs/1.log /\n");
    assert!(hidden.error().hint.as_ref().unwrap().contains(".dockerignore"));
}
