//! What is done again, and what is not; and the flags of `shimctl build`.

use anyhow::{Result, ensure};
use tests::files;
use tests::registry::Registry;

use super::{Site, Steps};

const DOCKERFILE: &str = "FROM busybox\nWORKDIR /w\nCOPY first .\nRUN cat first > copy\nCOPY dir dir\nARG WHO=you\n\
                          RUN echo $WHO > who\n";

const ALL_CACHED: [&str; 5] = ["CACHED"; 5];

#[test]
fn a_step_is_done_again_if_its_inputs_changed() -> Result<()> {
    let site = Site::new()?;
    site.sh(
        "echo 1 > first; mkdir dir; echo a > dir/a; echo b > dir/b; touch -d @1500000000 first dir/* dir",
    )?;
    assert_eq!(site.built(DOCKERFILE, &["-t", "app", "--iidfile", "id"])?.ends(), ["DONE"; 5]);
    let id = site.sh("cat id")?;
    let build = |args: &[&str]| Ok::<_, anyhow::Error>(Steps::of(&site.build(args)?.run()?));

    // What is as it was makes the same image, and so does what only has another time.
    for change in
        ["true", "touch first dir dir/a", "cp dir/a x; mv x dir/a", "touch ignored; mkdir -p other/dir"]
    {
        site.sh(change)?;
        assert_eq!(build(&["-t", "app", "--iidfile", "id"])?.ends(), ALL_CACHED, "{change}");
        assert_eq!(site.sh("cat id")?, id, "{change}");
    }
    // From the first step whose input changed, steps are done again; what is back as it was is found again.
    let (from_copy, from_first) =
        (["CACHED", "CACHED", "CACHED", "DONE", "DONE"], ["CACHED", "DONE", "DONE", "DONE", "DONE"]);
    for (change, back, expected) in [
        ("echo c > dir/b", "echo b > dir/b", from_copy),
        ("chmod 600 dir/a", "chmod 644 dir/a", from_copy),
        ("mv dir/a dir/c", "mv dir/c dir/a", from_copy),
        ("mkdir dir/empty", "rmdir dir/empty", from_copy),
        ("rm dir/b; ln -s a dir/b", "rm dir/b; echo b > dir/b", from_copy),
        ("echo 2 > first", "echo 1 > first", from_first),
    ] {
        site.sh(change)?;
        assert_eq!(build(&[])?.ends(), expected, "{change}");
        site.sh(back)?;
        assert_eq!(build(&[])?.ends(), ALL_CACHED, "{back}");
    }
    // An argument counts from where it is declared; one that nobody declares does not.
    let other = build(&["--build-arg", "WHO=me", "-t", "me"])?;
    assert_eq!(other.ends(), ["CACHED", "CACHED", "CACHED", "CACHED", "DONE"]);
    assert_eq!(site.saved("me")?.text("w/who")?, "me\n");
    // The environment has it where it has no value here.
    let command = site.build(&["--build-arg", "WHO", "-t", "env"])?.env("WHO", "env");
    command.run()?;
    assert_eq!(site.saved("env")?.text("w/who")?, "env\n");
    ensure!(site.build(&["--build-arg", "OTHER=1"])?.run()?.stderr.contains("CACHED"));
    // Everything again, of which later builds take the new.
    assert_eq!(build(&["--no-cache", "--iidfile", "id"])?.ends(), ["DONE"; 5]);
    let again = site.sh("cat id")?;
    assert_eq!(build(&["--iidfile", "id"])?.ends(), ALL_CACHED);
    assert_eq!(site.sh("cat id")?, again);
    // It outlives the daemon.
    let Site { mut shimd, host, context, registry } = site;
    shimd.kill_and_restart()?;
    let site = Site { shimd, host, context, registry };
    assert_eq!(Steps::of(&site.build(&[])?.run()?).ends(), ALL_CACHED);
    site.assert_nothing_is_left()
}

/// Counts how often somebody asked what a tag is.
fn asked(registry: &Registry) -> Result<usize> {
    let requests = registry.requests()?;
    Ok(requests.iter().filter(|request| request.path.contains("/busybox/manifests/latest")).count())
}

#[test]
fn base_images_are_pulled_when_they_have_to_be() -> Result<()> {
    let mut site = Site::new()?;
    let dockerfile =
        "FROM busybox AS a\nRUN true\nFROM docker.io/library/busybox:latest\nCOPY --from=a /etc/passwd /\n";
    site.put("Dockerfile", dockerfile)?;
    site.build(&["-t", "app"])?.run()?;
    assert_eq!(asked(&site.registry)?, 1, "an image is asked for once, whatever it is called");
    site.build(&["--no-cache"])?.run()?;
    assert_eq!(asked(&site.registry)?, 1, "what is here is not asked for");
    let pulled = site.build(&["--pull"])?.run()?;
    assert_eq!(asked(&site.registry)?, 2, "--pull asks");
    assert_eq!(Steps::of(&pulled).ends(), ["CACHED"; 2]);
    site.registry.kill()?;
    site.build(&["--no-cache"])?.run()?;
    let failed = site.build(&["--pull"])?.fails_with(1)?;
    ensure!(failed.stderr.contains("busybox") && failed.stderr.contains("Dockerfile:1"), "{failed}");
    // A local build is a base image like any other.
    site.put("Dockerfile", "FROM app\nRUN cat /passwd > /copy\n")?;
    site.build(&["-t", "next"])?.run()?;
    ensure!(site.saved("next")?.text("copy")?.starts_with("root:"));
    site.put("Dockerfile", "FROM not-here:1\n")?;
    let failed = site.build(&[])?.fails_with(1)?;
    ensure!(failed.stderr.contains("not-here:1"), "{failed}");
    site.assert_nothing_is_left()
}

#[test]
fn flags_do_what_dockers_do() -> Result<()> {
    let site = Site::new()?;
    site.sh("mkdir docker; echo kept > kept; echo left > left; echo main > file; echo ign > docker/file")?;
    site.put(".dockerignore", "left\n")?;
    site.put("Dockerfile", "FROM scratch\nCOPY . /all/\n")?;
    site.put("docker/Dev", "FROM scratch\nLABEL dev=1\nCOPY . /dev/\n")?;
    site.put("docker/Dev.dockerignore", "*\n!file\n")?;

    let quiet =
        site.shimd.shimctl_in(&site.context, &["build", "-q", "-t", "one", "-t", "two:2", "."])?.run()?;
    let id = quiet.stdout.trim();
    ensure!(id.starts_with("sha256:") && id.len() == 71 && quiet.stderr.is_empty(), "{quiet}");
    site.build(&["--iidfile", "id"])?.run()?;
    assert_eq!(files::text(site.context.join("id"))?, id, "without a line end, as docker writes it");
    site.sh("rm id")?;
    let names =
        site.shimd.shimctl(&["images", "--format", "{{.Repository}}:{{.Tag}}", "--no-trunc"])?.stdout()?;
    ensure!(names.contains("one:latest") && names.contains("two:2"), "{names}");
    let one = site.saved("one")?;
    let paths: Vec<&String> = one.layers[0].keys().collect();
    let expected = [
        "all",
        "all/.dockerignore",
        "all/Dockerfile",
        "all/docker",
        "all/docker/Dev",
        "all/docker/Dev.dockerignore",
        "all/docker/file",
        "all/file",
        "all/kept",
    ];
    assert_eq!(paths, expected);

    // The ignore file beside the Dockerfile wins.
    site.build(&["-f", "docker/Dev", "-t", "dev"])?.run()?;
    let dev = site.saved("dev")?;
    assert_eq!(dev.layer(0), ["dev: d755 0:0", "dev/file: -644 0:0 main"]);
    // A Dockerfile on standard input; the context's ignore file.
    let command = site.build(&["-f", "-", "-t", "stdin"])?.input("FROM scratch\nCOPY file left* /\n");
    command.run()?;
    assert_eq!(site.saved("stdin")?.layer(0), ["file: -644 0:0 main"]);
    for (args, code, expected) in [
        (&["-f", "none"][..], 1, "failed to read dockerfile"),
        (&["-t", "UPPER"], 1, "UPPER"),
        (&["--build-arg", "=x"], 2, "has no name"),
        (&["--iidfile", "no/such/id"], 1, "no/such"),
    ] {
        let failed = site.build(args)?.fails_with(code)?;
        ensure!(failed.stderr.contains(expected), "{failed}");
    }
    site.assert_nothing_is_left()
}
