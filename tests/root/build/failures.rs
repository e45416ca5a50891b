//! Builds that fail: what is said, and that nothing was run before what is wrong could be known.

use anyhow::{Result, ensure};

use super::{Site, Steps};

#[test]
fn a_failing_step_is_shown_with_its_lines() -> Result<()> {
    let site = Site::new()?;
    site.put(
        "Dockerfile",
        "# one\nFROM busybox\nWORKDIR /w\nRUN echo out && echo err >&2 \\\n && exit 42\nRUN never\n",
    )?;
    let failed = site.build(&["-t", "app"])?.fails_with(1)?;
    let stderr = &failed.stderr;
    let command = "/bin/sh -c echo out && echo err >&2  && exit 42";
    for expected in [
        " > [3/4] RUN echo out && echo err >&2  && exit 42:\n".to_owned(),
        "Dockerfile:4\n--------------------\n   2 |     FROM busybox\n   3 |     WORKDIR /w\n   \
         4 | >>> RUN echo out && echo err >&2 \\\n   5 | >>>  && exit 42\n   6 |     RUN never\n--------------------\n"
            .to_owned(),
        format!("ERROR: failed to solve: process \"{command}\" did not complete successfully: exit code: 42\n"),
    ] {
        ensure!(stderr.contains(&expected), "{expected:?} is not in {failed}");
    }
    let said = |word: &str| stderr.lines().any(|line| line.starts_with('#') && line.ends_with(word));
    ensure!(said(" out") && said(" err"), "{failed}");
    assert_eq!(Steps::of(&failed).ends(), ["DONE", "ERROR"]);
    assert_eq!(site.shimd.shimctl(&["images", "-q", "app"])?.stdout()?, "");
    // What was done before it is not done again.
    site.put("Dockerfile", "# one\nFROM busybox\nWORKDIR /w\nRUN nosuchprogram\n")?;
    let failed = site.build(&[])?.fails_with(1)?;
    assert_eq!(Steps::of(&failed).ends(), ["CACHED", "ERROR"]);
    ensure!(
        failed.stderr.contains("nosuchprogram: not found") && failed.stderr.contains("exit code: 127"),
        "{failed}"
    );
    for (instruction, expected) in [
        ("RUN [\"nosuchprogram\"]", "\"nosuchprogram\": executable file not found"),
        ("RUN sh -c 'kill -9 $$; true'; exit $?", "exit code: 137"),
        ("USER nobodyhere\nRUN true", "unable to find user nobodyhere"),
    ] {
        site.put("Dockerfile", &format!("FROM busybox\n{instruction}\n"))?;
        let failed = site.build(&[])?.fails_with(1)?;
        ensure!(failed.stderr.contains(expected), "{instruction}: {failed}");
    }
    site.assert_nothing_is_left()
}

#[test]
fn a_failure_ends_the_other_stages() -> Result<()> {
    let site = Site::new()?;
    // The second stage fails when the first one runs, which would never end.
    let dockerfile = "FROM busybox AS slow\nRUN mkdir /www && echo x > /www/index.html && httpd -p 127.0.0.1:8105 -h /www \
                      && sleep 100000\nFROM busybox AS bad\n\
                      RUN until wget -q -O /dev/null http://127.0.0.1:8105/; do sleep 0.1; done; exit 3\n\
                      FROM scratch\nCOPY --from=slow / /\nCOPY --from=bad / /\n";
    site.put("Dockerfile", dockerfile)?;
    let failed = site.build(&[])?.fails_with(1)?;
    ensure!(failed.stderr.contains("exit code: 3") && failed.stderr.contains("Dockerfile:4"), "{failed}");
    let left = site.programs()?;
    ensure!(!left.iter().any(|line| line.contains("sleep 100000")), "{left:?}");
    site.assert_nothing_is_left()
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_runs() -> Result<()> {
    let site = Site::new()?;
    for (instruction, expected) in [
        ("ADD x /", "ADD cannot be executed by this builder yet"),
        ("HEALTHCHECK CMD true", "HEALTHCHECK cannot"),
        ("ONBUILD RUN true", "ONBUILD cannot"),
        ("MAINTAINER me", "MAINTAINER cannot"),
        ("RUN --mount=type=cache,target=/c true", "RUN --mount cannot"),
        ("RUN --network=none true", "RUN --network cannot"),
        ("RUN --security=insecure true", "RUN --security cannot"),
        ("RUN <<END\ntrue\nEND", "RUN << cannot"),
        ("COPY <<END /x\ntext\nEND", "COPY << cannot"),
        ("COPY --link x /", "COPY --link cannot"),
        ("COPY --parents x /", "COPY --parents cannot"),
        ("COPY --exclude=y x /", "COPY --exclude cannot"),
        ("RUM true", "unknown instruction RUM"),
        ("COPY --form=x y /", "--form"),
        ("COPY --from=later x /\nFROM scratch AS later", "later"),
        ("EXPOSE http", "http"),
        ("STOPSIGNAL SIGNOT", "SIGNOT"),
        ("COPY --chmod=999 x /", "999"),
        ("ENV A=${B?must be set}", "must be set"),
        ("LABEL a='b", "'"),
    ] {
        site.put("Dockerfile", &format!("FROM busybox\nRUN echo ran\n{instruction}\n"))?;
        let failed = site.build(&[])?.fails_with(1)?;
        ensure!(failed.stderr.contains(expected), "{instruction}: {failed}");
        ensure!(
            failed.stderr.contains("Dockerfile:3\n") && failed.stderr.contains("   3 | >>> "),
            "{failed}"
        );
        ensure!(!failed.stderr.contains("RUN echo ran\n#"), "{failed}");
        assert_eq!(Steps::of(&failed).ends(), [""; 0], "{instruction}");
    }
    for (text, expected) in [
        ("", "has no instructions"),
        ("FROM\n", "FROM"),
        ("RUN true\n", "RUN stands before the first FROM"),
        ("FROM UPPER\n", "UPPER"),
    ] {
        site.put("Dockerfile", text)?;
        let failed = site.build(&[])?.fails_with(1)?;
        ensure!(failed.stderr.contains(expected), "{text:?}: {failed}");
    }
    site.assert_nothing_is_left()
}
