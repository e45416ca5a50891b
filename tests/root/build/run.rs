//! What a `RUN` finds around it, and what it leaves.

use anyhow::{Result, ensure};
use tests::host::{Host, Options};

use super::Site;

const DOCKERFILE: &str = r#"FROM busybox
ENV GREETING="hello world"
ARG PART=1
WORKDIR /work
RUN pwd > pwd && echo "$GREETING $PART" > shell
RUN ["/bin/sh", "-c", "echo $0 $GREETING > exec", "zero"]
RUN env | sort > /env
RUN grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status > /status
RUN cat /etc/hosts > /hosts; cat /etc/resolv.conf > /resolv; hostname > /hostname; echo $$ > /pid
RUN wget -q -O /net http://127.0.0.1:5000/v2/ && cat /proc/net/dev | wc -l > /links
RUN awk '{ print $5, substr($6, 1, 2) }' /proc/self/mountinfo > /mounts
RUN true
RUN for try in 'mount -t tmpfs none /mnt' 'unshare -n true' 'hostname other' 'mknod /dev/sda b 8 0 && cat /dev/sda' \
               'echo 1 > /proc/sys/kernel/panic' 'touch /etc/hosts'; do sh -c "$try" && echo "$try" >> /escaped; done; true
RUN cat > /stdin
USER user
RUN id > /tmp/name; touch /root/mine && echo no > /tmp/no; true
USER 1000:33
RUN id > /tmp/numbers
USER 77
RUN id > /tmp/unknown; pwd >> /tmp/unknown
USER root
SHELL ["/bin/busybox", "sh", "-eu", "-c"]
RUN echo "$0 $-" > /shell
"#;

#[test]
fn a_step_runs_as_in_buildkit() -> Result<()> {
    let site = Site::on(Host::with(&Options { resolv_conf_symlink: true, ..Options::default() })?)?;
    site.built(DOCKERFILE, &["-t", "app"])?;
    let saved = site.saved("app")?;
    let resolv_conf = site.host.sh("cat /etc/resolv.conf")?;
    let links = site.host.sh("wc -l < /proc/net/dev")?;
    for (path, expected) in [
        ("work/pwd", "/work\n"),
        ("work/shell", "hello world 1\n"),
        ("work/exec", "zero hello world\n"),
        (
            "env",
            "GREETING=hello world\nHOME=/root\nPART=1\n\
             PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nPWD=/work\nSHLVL=1\n",
        ),
        (
            "status",
            "Groups:\t0 \nCapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n\
             CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n",
        ),
        ("hosts", "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n"),
        ("resolv", &format!("{resolv_conf}\n")),
        ("hostname", "buildkitsandbox\n"),
        ("pid", "1\n"),
        ("net", "{}"),
        ("links", &format!("{links}\n")),
        ("stdin", ""),
        ("tmp/name", "uid=1000(user) gid=1000(user) groups=1000(user),50000(group-of-the-image)\n"),
        ("tmp/numbers", "uid=1000(user) gid=33(www-data) groups=33(www-data)\n"),
        ("tmp/unknown", "uid=77 gid=0(root) groups=0(root)\n/work\n"),
        ("shell", "sh uce\n"),
    ] {
        assert_eq!(saved.text(path)?, expected, "{path}");
    }
    let mounts = saved.text("mounts")?;
    for mounted in ["/proc rw", "/dev rw", "/sys ro", "/etc/resolv.conf ro", "/etc/hosts ro", "/proc/sys ro"]
    {
        ensure!(mounts.lines().any(|line| line == mounted), "{mounted}: {mounts}");
    }
    // Of what steps are given, and of what they tried, nothing stays; one that does nothing makes an empty layer.
    for path in ["etc/hosts", "etc/resolv.conf", "etc/hostname", "escaped", "tmp/no", "dev/null"] {
        ensure!(saved.text(path).is_err(), "{path}");
    }
    assert_eq!(saved.layer(0), ["shell: -644 0:0 sh uce"]);
    assert_eq!(saved.layer(6), [""; 0]);
    site.assert_nothing_is_left()
}

#[test]
fn two_builds_run_at_once() -> Result<()> {
    let site = Site::new()?;
    site.shimd.shimctl(&["pull", "busybox"])?.run()?;
    // Either step ends only if the other runs at the same time: the first waits for the second, which waits for the
    // first to answer, and the first ends when the second has ended.
    let serve =
        |port: u32| format!("mkdir /www && echo x > /www/index.html && httpd -p 127.0.0.1:{port} -h /www");
    let until = |word: &str, port: u32| {
        format!("{word} wget -q -O /dev/null http://127.0.0.1:{port}/; do sleep 0.1; done")
    };
    let first = format!("RUN {}; {}; {}", until("until", 8102), serve(8101), until("while", 8102));
    let second = format!("RUN {}; {}", serve(8102), until("until", 8101));
    site.put("first", &format!("FROM busybox\n{first}\n"))?;
    site.put("second", &format!("FROM busybox\n{second}\n"))?;
    let mut one = site.start("one", &["-f", "first", "-t", "one"])?;
    let mut two = site.start("two", &["-f", "second", "-t", "two"])?;
    for build in [&mut one, &mut two] {
        ensure!(build.wait(super::STEP_LIMIT)?.success(), "{}", build.log()?);
    }

    // The stages of one build too.
    let stages = format!(
        "FROM busybox AS one\nENV AGAIN=1\n{first}\nFROM busybox AS two\nENV AGAIN=1\n{second}\nFROM scratch\n\
         COPY --from=one /www /1/\nCOPY --from=two /www /2/\n"
    );
    let steps = site.built(&stages, &["-t", "stages"])?;
    assert_eq!(steps.ends(), ["DONE"; 4], "{steps:?}");

    // Two builds of the same share the work: what only chance decides is decided once.
    site.put("Dockerfile", "FROM busybox\nRUN sleep 0.5; cat /proc/sys/kernel/random/uuid > /uuid\n")?;
    let mut builds =
        [site.start("same-1", &["--iidfile", "id-1"])?, site.start("same-2", &["--iidfile", "id-2"])?];
    for build in &mut builds {
        ensure!(build.wait(super::STEP_LIMIT)?.success(), "{}", build.log()?);
    }
    assert_eq!(site.sh("cat id-1")?, site.sh("cat id-2")?);
    site.assert_nothing_is_left()
}
