use clap::Parser as _;

use super::*;

const NOW_S: i64 = 1_800_000_000;

fn image(digit: char, age_s: Option<i64>, names: &[&str], digests: &[&str]) -> api::Image {
    api::Image {
        id: format!("sha256:{}", digit.to_string().repeat(64)),
        names: names.iter().map(|&name| name.to_owned()).collect(),
        digests: digests.iter().map(|&name| name.to_owned()).collect(),
        created_at: age_s.map(|age| prost_types::Timestamp { seconds: NOW_S - age, nanos: 0 }),
        size_bytes: 12_345_678,
        ..Default::default()
    }
}

fn shown(flags: &[&str]) -> String {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }
    let args = Line::parse_from(std::iter::once(&"images").chain(flags)).args;
    let images = vec![
        image('d', None, &[], &[]),
        image(
            'c',
            Some(90),
            &["registry.example:5000/team/app@sha256:99"],
            &["registry.example:5000/team/app@sha256:99"],
        ),
        image(
            'b',
            Some(7200),
            &["docker.io/library/alpine:3", "docker.io/team/app:1"],
            &["docker.io/library/alpine@sha256:11"],
        ),
        image('a', Some(30), &["docker.io/library/hellodocker:latest"], &[]),
    ];
    write(images, &args, Timestamp::from_second(NOW_S).unwrap(), &TimeZone::UTC).unwrap()
}

#[test]
fn tables() {
    let expected = "\
REPOSITORY                       TAG       IMAGE ID       CREATED              SIZE
hellodocker                      latest    aaaaaaaaaaaa   30 seconds ago       12.3MB
registry.example:5000/team/app   <none>    cccccccccccc   About a minute ago   12.3MB
alpine                           3         bbbbbbbbbbbb   2 hours ago          12.3MB
team/app                         1         bbbbbbbbbbbb   2 hours ago          12.3MB
<none>                           <none>    dddddddddddd   N/A                  12.3MB
";
    assert_eq!(shown(&[]), expected);
    assert_eq!(shown(&["-a"]), expected);
    let digests = "\
REPOSITORY                       TAG       DIGEST      IMAGE ID       CREATED              SIZE
hellodocker                      latest    <none>      aaaaaaaaaaaa   30 seconds ago       12.3MB
registry.example:5000/team/app   <none>    sha256:99   cccccccccccc   About a minute ago   12.3MB
alpine                           3         sha256:11   bbbbbbbbbbbb   2 hours ago          12.3MB
team/app                         1         <none>      bbbbbbbbbbbb   2 hours ago          12.3MB
<none>                           <none>    <none>      dddddddddddd   N/A                  12.3MB
";
    assert_eq!(shown(&["--digests"]), digests);
    assert!(shown(&["--no-trunc"]).contains(&format!("sha256:{}   30 seconds ago", "a".repeat(64))));
}

#[test]
fn ids_only() {
    assert_eq!(shown(&["-q"]), "aaaaaaaaaaaa\ncccccccccccc\nbbbbbbbbbbbb\nbbbbbbbbbbbb\ndddddddddddd\n");
    assert_eq!(shown(&["-q", "--no-trunc", "hellodocker"]), format!("sha256:{}\n", "a".repeat(64)));
    assert_eq!(shown(&["-q", "--format", "{{.Repository}}", "alpine"]), "alpine\n");
}

#[test]
fn filters() {
    let rows: [(&[&str], &str); 9] = [
        (&["alpine"], "alpine:3\n"),
        (&["alpine:4"], ""),
        (&["team/*"], "team/app:1\n"),
        (&["*"], "hellodocker:latest\nalpine:3\n"),
        (&["-f", "dangling=true"], "<none>:<none>\n"),
        (&["-f", "dangling=false", "alpine"], "alpine:3\n"),
        (&["-f", "reference=alp*", "-f", "reference=hello*"], "hellodocker:latest\nalpine:3\n"),
        (&["-f", "dangling=true", "-f", "reference=alp*"], ""),
        (&["registry.example:5000/*/app"], "registry.example:5000/team/app:<none>\n"),
    ];
    for (flags, expected) in rows {
        let flags: Vec<_> = flags.iter().copied().chain(["--format", "{{.Repository}}:{{.Tag}}"]).collect();
        assert_eq!(shown(&flags), expected, "{flags:?}");
    }
}

#[test]
fn refused_filters() {
    for (filter, expected) in
        [("label=x", "no filter \"label\""), ("dangling=maybe", "true or false"), ("dangling", "NAME=VALUE")]
    {
        let error = filter.parse::<Filter>().unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn json() {
    let first = shown(&["--format", "json"]).lines().next().unwrap().to_owned();
    assert_eq!(
        first,
        "{\"Containers\":\"N/A\",\"CreatedAt\":\"2027-01-15 07:59:30 +0000 UTC\",\"CreatedSince\":\"30 seconds ago\",\
         \"Digest\":\"<none>\",\"ID\":\"aaaaaaaaaaaa\",\"Repository\":\"hellodocker\",\"SharedSize\":\"N/A\",\
         \"Size\":\"12.3MB\",\"Tag\":\"latest\",\"UniqueSize\":\"N/A\",\"VirtualSize\":\"12.35MB\"}"
    );
}

#[test]
fn short_ids() {
    for (id, expected) in [
        ("sha256:0123456789abcdef", "0123456789ab"),
        ("short", "short"),
        ("", ""),
        ("sha256:ééééééé", "éééééé"),
    ] {
        assert_eq!(short_id(id), expected);
    }
}
