use std::path::Path;
use std::time::Duration;

use super::*;
use crate::testing::write_hosts;

const NOWHERE: &str = "/nowhere";

fn shown(endpoints: &[Endpoint]) -> Vec<String> {
    endpoints.iter().map(Endpoint::to_string).collect()
}

fn parsed(text: &str) -> Vec<file::Entry> {
    file::parse(text, Path::new("/base")).unwrap()
}

#[test]
fn without_files_the_name_decides() {
    for (host, root, skip_verify) in [
        ("docker.io", "https://registry-1.docker.io/v2", false),
        ("r.example", "https://r.example/v2", false),
        ("r.example:5000", "https://r.example:5000/v2", false),
        ("10.0.0.1:5000", "https://10.0.0.1:5000/v2", false),
        ("localhost", "http://localhost/v2", true),
        ("localhost:5000", "http://localhost:5000/v2", true),
        ("localhost:80", "http://localhost/v2", true),
        ("localhost:443", "https://localhost/v2", true),
        ("127.0.0.1:5000", "http://127.0.0.1:5000/v2", true),
        ("127.255.0.7", "http://127.255.0.7/v2", true),
        ("[::1]:5000", "http://[::1]:5000/v2", true),
        ("[::1]", "http://[::1]/v2", true),
        ("localhost.example", "https://localhost.example/v2", false),
        ("128.0.0.1", "https://128.0.0.1/v2", false),
    ] {
        let endpoints = endpoints(&[], host).unwrap();
        let found: Vec<_> =
            endpoints.iter().map(|e| (e.root.as_str(), e.tls.skip_verify, e.capabilities)).collect();
        assert_eq!(found, [(root, skip_verify, Capabilities::ALL)], "{host}");
    }
    assert!(endpoints(&[], "r.example:99999").is_err());
}

#[test]
fn credentials_belong_to_the_registry_or_to_the_mirror_itself() {
    for (endpoint, host, expected) in [
        ("docker.io", "docker.io", "docker.io"),
        ("r.example:443", "r.example", "r.example"),
        ("r.example", "r.example:443", "r.example:443"),
        ("R.example", "r.EXAMPLE", "r.EXAMPLE"),
        ("m.example", "r.example", "m.example"),
        ("r.example:5000", "r.example", "r.example:5000"),
        ("r.example", "docker.io", "r.example"),
        ("registry-1.docker.io", "r.example", "registry-1.docker.io"),
        ("[::1]:5000", "r.example", "[::1]:5000"),
    ] {
        let endpoint = Endpoint::default_for(endpoint).unwrap();
        assert_eq!(endpoint.credential_host(host), expected, "{endpoint}");
    }
}

#[test]
fn a_file_is_read_in_its_own_order() {
    let entries = parsed(
        r#"
        server = "https://upstream.example"
        capabilities = ["Pull"]
        [host."https://z.example:5000"]
          capabilities = ["pull", "resolve"]
          ca = "ca.pem"
          skip_verify = true
          dial_timeout = "1m1.5s"
        [host."http://a.example/mirror/"]
          capabilities = ["pull", "push", "referrers"]
          ca = ["/abs.pem", "sub/rel.pem"]
          client = [["c.cert", "c.key"]]
          [host."http://a.example/mirror/".header]
            x-one = "1"
            x-two = ["2", "3"]
        [host."m.example/v2"]
          override_path = true
          client = "both.pem"
        "#,
    );
    let roots: Vec<_> = entries.iter().map(|entry| entry.root.as_ref().unwrap().as_str()).collect();
    assert_eq!(
        roots,
        [
            "https://z.example:5000/v2",
            "http://a.example/mirror/v2",
            "https://m.example/v2",
            "https://upstream.example/v2"
        ]
    );
    let [z, a, m, upstream] = &entries[..] else { panic!() };
    assert_eq!(
        (z.capabilities, a.capabilities.resolve, upstream.capabilities.resolve),
        (Capabilities::ALL, false, false)
    );
    assert_eq!(z.ca, [Path::new("/base/ca.pem")]);
    assert_eq!(a.ca, [Path::new("/abs.pem"), Path::new("/base/sub/rel.pem")]);
    assert_eq!((z.skip_verify, a.skip_verify), (Some(true), None));
    assert_eq!(z.connect_timeout, Some(Duration::from_millis(61_500)));
    let pair = |certificate: &str, key: Option<&str>| {
        Some(file::ClientPair { certificate: certificate.into(), key: key.map(Into::into) })
    };
    assert_eq!(a.client, pair("/base/c.cert", Some("/base/c.key")));
    assert_eq!(m.client, pair("/base/both.pem", None));
    let two: Vec<_> = a.headers.get_all("x-two").iter().collect();
    assert_eq!((&a.headers["x-one"], two.len()), (&"1".parse().unwrap(), 2));
}

#[test]
fn what_a_file_leaves_out_has_a_default() {
    for (text, expected) in [
        ("skip_verify = true", None),
        ("server = ''", None),
        ("server = 'r.example'", Some("https://r.example/v2")),
        ("server = 'httpd.example'", Some("https://httpd.example/v2")),
        ("server = 'http://r.example:81/v2/'", Some("http://r.example:81/v2")),
        ("server = 'http://r.example/x'\noverride_path = true", Some("http://r.example/x")),
        ("server = 'http://r.example/'\noverride_path = true", Some("http://r.example/")),
    ] {
        let entries = parsed(text);
        let roots: Vec<_> =
            entries.iter().map(|entry| entry.root.as_ref().map(reqwest::Url::as_str)).collect();
        assert_eq!(roots, [expected], "{text}");
    }
}

#[test]
fn wrong_files_are_refused_by_table_and_key() {
    let many: String = (0..40).map(|number| format!("[host.\"h{number}.example\"]\n")).collect();
    for (text, problem) in [
        ("server = ", "TOML parse error"),
        ("server = 7", "server: expected a string"),
        ("host = 'x'", "host: expected tables"),
        ("sever = 'x'", "unknown field `sever`"),
        ("[host.'m.example']\nskip_verfy = true", "[host.\"m.example\"]: unknown field `skip_verfy`"),
        (
            "[host.'m.example']\ncapabilities = ['pul']",
            "[host.\"m.example\"]: capabilities: unknown capability \"pul\"",
        ),
        ("[host.'m.example']\nca = 7", "[host.\"m.example\"]: expected a string or a list of strings"),
        ("client = ['a.pem', 'b.pem']", "more than one client certificate"),
        ("client = [['a', 'b', 'c']]", "expected a file, a list of files"),
        ("dial_timeout = '30'", "dial_timeout: \"30\" is not a duration"),
        ("dial_timeout = '9h'", "is not a duration between"),
        ("dial_timeout = '-1s'", "is not a duration"),
        ("[header]\n'a b' = 'x'", "header: \"a b\" is not a header"),
        ("[header]\na = \"x\\ny\"", "forbidden characters"),
        ("server = 'ftp://r.example'", "neither http nor https"),
        ("server = 'https://user@r.example'", "nothing else"),
        ("server = 'https://r.example?x=1'", "nothing else"),
        ("server = 'https://'", "is not a URL"),
        (&many, "more than 32 hosts"),
    ] {
        let error = file::parse(text, Path::new(NOWHERE)).unwrap_err();
        assert!(error.contains(problem), "{text}: {error}");
    }
}

#[test]
fn directories_are_searched_as_containerd_does() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let write = |root: &Path, name: &str, server: &str| {
        fs::create_dir_all(root.join(name)).unwrap();
        write_hosts(root, name, &format!("server = 'https://{server}.example'"));
    };
    write(first.path(), "r.example:5000", "underscores");
    write(second.path(), "r.example", "plain");
    let directories = [first.path().join("absent"), first.path().to_owned(), second.path().to_owned()];
    let found = |host: &str| shown(&endpoints(&directories, host).unwrap());
    assert_eq!(found("r.example:5000"), ["https://underscores.example"]);
    assert_eq!(found("r.example"), ["https://plain.example"]);
    assert_eq!(found("other.example"), ["https://other.example"]);
    write(second.path(), "_default", "fallback");
    assert_eq!(found("other.example"), ["https://fallback.example"]);
    fs::create_dir(first.path().join("other.example:81")).unwrap();
    assert_eq!(found("other.example:81"), ["https://other.example:81"], "a directory without a file");
}

#[test]
fn an_edit_counts_at_once_and_a_broken_file_is_not_passed_over() {
    let root = tempfile::tempdir().unwrap();
    let directories = [root.path().to_owned()];
    write_hosts(root.path(), "docker.io", "[host.'https://m.example']");
    assert_eq!(
        shown(&endpoints(&directories, "docker.io").unwrap()),
        ["https://m.example", "https://registry-1.docker.io"]
    );
    write_hosts(root.path(), "docker.io", "[host.'https://n.example']\nnonsense = 1");
    let error = endpoints(&directories, "docker.io").unwrap_err().to_string();
    let file = root.path().join("docker.io/hosts.toml");
    assert!(error.starts_with(&format!("cannot use {}: ", file.display())), "{error}");
    assert!(error.contains("[host.\"https://n.example\"]: unknown field `nonsense`"), "{error}");
    write_hosts(root.path(), "docker.io", &" ".repeat(1 + usize::try_from(MAX_FILE_BYTES).unwrap()));
    assert!(endpoints(&directories, "docker.io").unwrap_err().to_string().contains("larger than"));
}

#[test]
fn the_leniency_of_loopback_is_for_its_own_address_only() {
    let root = tempfile::tempdir().unwrap();
    let directories = [root.path().to_owned()];
    let skips = |host: &str| -> Vec<bool> {
        endpoints(&directories, host).unwrap().iter().map(|endpoint| endpoint.tls.skip_verify).collect()
    };
    write_hosts(root.path(), "localhost:443", "[host.'https://m.example']");
    assert_eq!(skips("localhost:443"), [false, true]);
    write_hosts(root.path(), "localhost:443", "server = 'https://localhost'");
    assert_eq!(skips("localhost:443"), [false]);
}

#[test]
fn certificates_are_checked_where_they_are_named() {
    let root = tempfile::tempdir().unwrap();
    let (directories, directory) = ([root.path().to_owned()], root.path().join("r.example"));
    let put = |name: &str, text: &str| {
        let mut file = fs::File::create(directory.join(name)).unwrap();
        io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    };
    let problem = || endpoints(&directories, "r.example").unwrap_err().to_string();
    write_hosts(root.path(), "r.example", "ca = 'ca.pem'");
    assert!(problem().contains("r.example/ca.pem: No such file"), "{}", problem());
    put("ca.pem", "not a certificate");
    assert!(problem().contains("it holds no certificate in PEM"), "{}", problem());
    write_hosts(root.path(), "r.example", "client = 'ca.pem'");
    assert!(problem().contains("not a client certificate in PEM"), "{}", problem());
}

#[test]
fn dockers_certificate_files_count_where_there_is_no_hosts_toml() {
    let root = tempfile::tempdir().unwrap();
    let (directories, directory) = ([root.path().to_owned()], root.path().join("r.example"));
    fs::create_dir(&directory).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["r.example".into()]).unwrap().self_signed(&key).unwrap();
    for (name, text) in [
        ("ca.crt", certificate.pem()),
        ("client.cert", certificate.pem()),
        ("client.key", key.serialize_pem()),
        ("readme.txt", String::new()),
    ] {
        let mut file = fs::File::create(directory.join(name)).unwrap();
        io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    }
    let [endpoint] = &endpoints(&directories, "r.example").unwrap()[..] else { panic!() };
    assert_eq!((endpoint.tls.roots.len(), endpoint.tls.identity.is_some()), (1, true));
    assert_eq!(format!("{:?}", endpoint.tls), "Tls { roots: 1, identity: true, skip_verify: false }");
    assert_eq!(endpoint.tls.for_another_host().identity, None);
}
