use super::yaml::{self, Node};
use super::*;

fn entry() -> Entry {
    Entry {
        server: "https://kubernetes.docker.internal:6443".into(),
        tls_server_name: None,
        authority: "CA\n".into(),
        certificate: "CERT\n".into(),
        key: "KEY\n".into(),
    }
}

const FRESH: &str = "\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: Q0EK
    server: https://kubernetes.docker.internal:6443
  name: docker-desktop
contexts:
- context:
    cluster: docker-desktop
    user: docker-desktop
  name: docker-desktop
current-context: docker-desktop
kind: Config
users:
- name: docker-desktop
  user:
    client-certificate-data: Q0VSVAo=
    client-key-data: S0VZCg==
";

#[test]
fn a_new_file_is_as_kubectl_writes_it() {
    for text in [None, Some(""), Some("# mine\n"), Some("---\n"), Some("null\n")] {
        assert_eq!(merge(text, &entry()).unwrap(), FRESH, "{text:?}");
    }
    assert_eq!(read(FRESH).unwrap(), entry());
    // Again: nothing is doubled.
    assert_eq!(merge(Some(FRESH), &entry()).unwrap(), FRESH);
    let named = Entry { tls_server_name: Some("kubernetes.docker.internal".into()), ..entry() };
    let text = merge(None, &named).unwrap();
    assert!(text.contains("\n    tls-server-name: kubernetes.docker.internal\n"), "{text}");
    assert_eq!(read(&text).unwrap(), named);
}

/// Everything that somebody may have in there: quotes of both kinds, blocks, flow style, numbers of other times, anchors, tags.
const AWKWARD: &str = r#"# mine
kind: Config
apiVersion: v1
preferences: {colors: true}
unknown: [1_000, 0777, 1e3, .5, ~, yes, 'no', "on", 2024-01-02, 0x1F, !!str 12, !!str , !mine x, ! y]
extensions:
  - name: "tab\there"
    extension: &shared {a: 'it''s', b: ""}
  - name: again
    extension: *shared
clusters:
  - name: prod
    cluster: {server: "https://10.0.0.1:6443", insecure-skip-tls-verify: true}
  - name: docker-desktop
    cluster:
      server: https://elsewhere:1
      insecure-skip-tls-verify: true
contexts:
- {name: prod, context: {cluster: prod, user: "jörg: #1"}}
- name: docker-desktop
  context: {cluster: old, user: old, namespace: mine}
users:
- name: "jörg: #1"
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      args:
      - |-
        first

          second
      - >
        folded
        line
      - plain of
        two lines
      -
      - {}
      - []
      - [[a, b], [c]]
    empty:
- name: docker-desktop
  user: {token: stale}
current-context: prod
"#;

const MERGED: &str = r#"kind: Config
apiVersion: v1
preferences:
  colors: true
unknown:
- 1_000
- 0777
- 1e3
- .5
- ~
- yes
- "no"
- "on"
- 2024-01-02
- 0x1F
- !!str 12
- !!str ""
- !mine x
- ! y
extensions:
- name: "tab\there"
  extension:
    a: "it's"
    b: ""
- name: again
  extension:
    a: "it's"
    b: ""
clusters:
- name: prod
  cluster:
    server: "https://10.0.0.1:6443"
    insecure-skip-tls-verify: true
- cluster:
    certificate-authority-data: Q0EK
    server: https://kubernetes.docker.internal:6443
  name: docker-desktop
contexts:
- name: prod
  context:
    cluster: prod
    user: "jörg: #1"
- context:
    cluster: docker-desktop
    user: docker-desktop
    namespace: mine
  name: docker-desktop
users:
- name: "jörg: #1"
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      args:
      - "first\n\n  second"
      - "folded line\n"
      - plain of two lines
      - null
      - {}
      - []
      - - - a
          - b
        - - c
    empty: null
- name: docker-desktop
  user:
    client-certificate-data: Q0VSVAo=
    client-key-data: S0VZCg==
current-context: docker-desktop
"#;

#[test]
fn what_others_wrote_is_kept_as_it_was_meant() {
    let merged = merge(Some(AWKWARD), &entry()).unwrap();
    assert_eq!(merged, MERGED);
    assert_eq!(merge(Some(&merged), &entry()).unwrap(), MERGED);
    let Rest::Text(rest) = remove(&merged).unwrap() else { panic!("something is left") };
    assert!(!rest.contains(NAME), "{rest}");
    assert!(rest.contains("current-context: \"\"\n") && rest.contains("name: prod\n"), "{rest}");
    assert_eq!(remove(&rest).unwrap(), Rest::Unchanged);
    // Another reader sees the same values in both.
    let other = |text: &str| serde_saphyr::from_str::<serde_json::Value>(text).unwrap();
    for field in ["preferences", "extensions", "apiVersion"] {
        assert_eq!(other(AWKWARD)[field], other(&rest)[field], "{field}");
    }
    assert_eq!(other(AWKWARD)["users"][0]["user"]["exec"], other(&rest)["users"][0]["user"]["exec"]);
}

#[test]
fn only_ours_is_removed() {
    let other = "clusters:\n- name: a\ncurrent-context: a\n";
    let current = "clusters:\n- name: a\ncurrent-context: docker-desktop\n";
    let rows = [
        ("", Rest::Unchanged),
        (other, Rest::Unchanged),
        (FRESH, Rest::Nothing),
        (current, Rest::Text("clusters:\n- name: a\ncurrent-context: \"\"\n".into())),
        // What is not understood is not nothing.
        ("mine: 1\ncurrent-context: docker-desktop\n", Rest::Text("mine: 1\ncurrent-context: \"\"\n".into())),
        // A list of ours alone.
        ("users: [{name: docker-desktop}]\ncontexts:\n", Rest::Nothing),
        // Somebody else chose another context in the meantime.
        (
            "contexts: [{name: docker-desktop}, {name: b}, 7]\ncurrent-context: b\n",
            Rest::Text("contexts:\n- name: b\n- 7\ncurrent-context: b\n".into()),
        ),
    ];
    for (text, rest) in rows {
        assert_eq!(remove(text).unwrap(), rest, "{text}");
    }
}

#[test]
fn what_cannot_be_kept_is_refused_with_its_line() {
    let deep = format!("a: {}1{}\n", "[".repeat(100), "]".repeat(100));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let (name, below) = (format!("a{level}"), format!("*a{}", level - 1));
        bomb.push_str(&format!("{name}: &{name} [{}]\n", vec![below; 10].join(", ")));
    }
    let rows: [(&str, &str); 13] = [
        ("a: b\n  c: d\n", "line 2"),
        ("clusters:\n- name: 'x\n", "line "),
        ("a: 1\nb: \"\\q\"\n", "line 2"),
        ("- a\n", "line 1: is not a map"),
        ("just text\n", "line 1: is not a map"),
        ("kind: Config\nclusters: 7\n", "line 2: `clusters` is not a list"),
        ("kind: Config\nusers:\n  a: b\n", "line 3: `users` is not a list"),
        ("a: 1\n---\nb: 2\n", "line 2: a second document"),
        ("a: 1\nb: 2\na: 3\n", "line 3: the key \"a\" is there twice"),
        ("{a: b}: c\n", "line 1: a key is not a single value"),
        ("a: &x [*x]\n", "line 1: an alias stands for what it is in"),
        (&deep, "levels deep"),
        (&bomb, "values up to here"),
    ];
    for (text, named) in rows {
        let problem = merge(Some(text), &entry()).unwrap_err().to_string();
        assert!(problem.contains(named), "{text:.60}: {problem}");
        assert!(remove(text).is_err(), "{text:.60}");
    }
}

#[test]
fn what_kubectl_cannot_read_is_not_added_to_but_taken_out_of() {
    for (text, named) in [
        ("clusters: []\ncontexts:\n- null\n- 7\n", "line 4: what `contexts` lists is not a map"),
        ("users:\n- [name, me]\n", "line 2: what `users` lists is not a map"),
        ("kind: Config\ncurrent-context: {a: b}\n", "line 2: `current-context` is not a name"),
    ] {
        for refusal in [check(Some(text)), merge(Some(text), &entry()).map(drop)] {
            let problem = refusal.unwrap_err().to_string();
            assert!(problem.contains(named), "{text}: {problem}");
        }
        assert_eq!(remove(text), Ok(Rest::Unchanged), "{text}");
    }
    assert_eq!([None, Some(""), Some("contexts: [null]\n")].map(check), [Ok(()), Ok(()), Ok(())]);
}

#[test]
fn strings_are_written_so_that_they_are_read_as_strings() {
    let words = [
        "",
        " ",
        "a b",
        "yes",
        "No",
        "true",
        "null",
        "~",
        "1",
        "-1",
        "0x1f",
        "1:30",
        ".inf",
        "- a",
        "a: b",
        "a #b",
        "#a",
        "&a",
        "*a",
        "!a",
        "|",
        ">",
        "%a",
        "@a",
        "`a",
        "'",
        "\"",
        "\\",
        "{",
        "[",
        "a,b",
        "line\nline",
        "\ttab",
        "\u{0}\u{7f}\u{85}\u{2028}\u{feff}",
        "jörg",
        "\u{1f433}",
        "y",
        "https://a:1",
        "docker-desktop",
        "key:",
    ];
    for word in words {
        let node = Node::map([("key", Node::text(word)), (word, Node::list(vec![Node::text(word)]))]);
        let text = yaml::write(&node).unwrap();
        let reread: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(reread["key"], word, "{text}");
        assert_eq!(reread[word][0], word, "{text}");
    }
}

#[test]
fn a_key_is_never_shown() {
    assert!(!format!("{:?}", entry()).contains("KEY"));
    for (from, to) in [("S0VZCg==", "S0VZ*"), ("docker-desktop\nkind", "other\nkind"), ("server:", "srv:")] {
        let problem = read(&FRESH.replace(from, to)).unwrap_err().to_string();
        assert!(problem.contains("has no ") && !problem.contains("S0VZ"), "{problem}");
    }
    assert!(read("").is_err());
}
