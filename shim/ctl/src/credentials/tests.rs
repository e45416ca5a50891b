//! Lookups in configurations that are written for the test; helpers are tried by the tests of the program.

use std::io::Write as _;

use super::*;

fn base64_login(text: &str) -> String {
    // Only for the tests: the crate has nothing to encode.
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in text.as_bytes().chunks(3) {
        let bits = (0..3).fold(0_usize, |bits, at| bits << 8 | usize::from(*group.get(at).unwrap_or(&0)));
        for place in 0..4 {
            let digit = char::from(DIGITS[bits >> (18 - 6 * place) & 63]);
            out.push(if place <= group.len() { digit } else { '=' });
        }
    }
    out
}

async fn look_up_in(config: &str, host: &str) -> anyhow::Result<Answer> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(config.as_bytes()).unwrap();
    look_up(host.to_owned(), Some(file.path().to_owned())).await
}

async fn found(config: &str, host: &str) -> (String, String, String) {
    let answer = look_up_in(config, host).await.unwrap();
    assert_eq!(answer.warning, None);
    assert_eq!(answer.credential.host, host);
    let api::Credential { username, password, identity_token, .. } = answer.credential;
    (username, password, identity_token)
}

#[tokio::test]
async fn stored_logins() {
    let auth = base64_login("me:pa:ss");
    let rows = [
        ("docker.io", "https://index.docker.io/v1/"),
        ("registry-1.docker.io", "https://index.docker.io/v1/"),
        ("docker.io", "index.docker.io"),
        ("docker.io", "docker.io"),
        ("registry.example:5000", "registry.example:5000"),
        ("registry.example:5000", "https://registry.example:5000"),
        ("registry.example", "http://registry.example/v2/"),
    ];
    for (host, key) in rows {
        let config =
            format!(r#"{{"auths":{{"other.example":{{"auth":"eA=="}},"{key}":{{"auth":"{auth}"}}}},"x":1}}"#);
        assert_eq!(found(&config, host).await, ("me".into(), "pa:ss".into(), String::new()), "{host} {key}");
    }
}

#[tokio::test]
async fn other_fields() {
    let config = r#"{"auths":{"a":{"identitytoken":"tok"},"b":{"username":"u","password":"p"},"c":{}}}"#;
    assert_eq!(found(config, "a").await, (String::new(), String::new(), "tok".into()));
    assert_eq!(found(config, "b").await, ("u".into(), "p".into(), String::new()));
    assert_eq!(found(config, "c").await, Default::default());
    assert_eq!(found(config, "d").await, Default::default());
    let padded = base64_login("u:p\0\0");
    let config = format!(r#"{{"auths":{{"a":{{"auth":"{padded}"}}}}}}"#);
    assert_eq!(found(&config, "a").await, ("u".into(), "p".into(), String::new()));
    let config = r#"{"auths":{"a":{"registrytoken":"bearer"}}}"#;
    assert_eq!(look_up_in(config, "a").await.unwrap().credential.registry_token, "bearer");
}

#[tokio::test]
async fn nothing_is_known() {
    for config in ["", " \n", "{}", r#"{"auths":{}}"#, r#"{"currentContext":"x"}"#] {
        assert_eq!(found(config, "docker.io").await, Default::default(), "{config:?}");
    }
    let missing = look_up("a".into(), Some("/nonexistent/config.json".into())).await.unwrap();
    assert_eq!(missing.credential, api::Credential { host: "a".into(), ..Default::default() });
}

#[tokio::test]
async fn damaged_configurations_are_named() {
    let rows = [
        ("{", "EOF while parsing"),
        (r#"{"auths":{"a":"secret"}}"#, "not in docker's form at line 1 column"),
        (r#"{"auths":{"a":{"auth":"!"}}}"#, "entry \"a\" in \"auths\" has an \"auth\" that is not base64"),
        (r#"{"auths":{"a":{"auth":"eA=="}}}"#, "without a colon"),
        (r#"{"auths":{"a":{"auth":"/zo="}}}"#, "not UTF-8"),
    ];
    for (config, expected) in rows {
        let error = format!("{:#}", look_up_in(config, "a").await.unwrap_err());
        assert!(
            error.starts_with("parse /") && error.contains(expected) && !error.contains("secret"),
            "{config}: {error}"
        );
    }
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(1 << 20));
    assert!(format!("{:#}", look_up_in(&large, "a").await.unwrap_err()).contains("more than 1048576 bytes"));
    let directory = tempfile::tempdir().unwrap();
    let error = look_up("a".into(), Some(directory.path().to_owned())).await.unwrap_err();
    assert!(format!("{error:#}").starts_with("read /"));
}

#[tokio::test]
async fn damage_elsewhere_does_not_matter() {
    let config = r#"{"auths":{"a":{"auth":"!"},"b":{"username":"u"}}}"#;
    assert_eq!(found(config, "b").await, ("u".into(), String::new(), String::new()));
}

#[tokio::test]
async fn helpers_that_do_not_work_are_a_warning() {
    let config = r#"{"credsStore":"no-such-helper","auths":{"a":{"username":"u"}}}"#;
    let answer = look_up_in(config, "a").await.unwrap();
    assert_eq!(answer.credential.username, "u");
    let warning = answer.warning.unwrap();
    assert!(warning.starts_with("run docker-credential-no-such-helper: "), "{warning}");
    assert!(warning.ends_with("going on without what it knows about a"), "{warning}");
    let config = r#"{"credHelpers":{"a":"../x"}}"#;
    assert!(look_up_in(config, "a").await.unwrap().warning.unwrap().contains("slash in its name"));
    assert_eq!(look_up_in(config, "b").await.unwrap().warning, None);
}

#[test]
fn helpers_are_chosen_by_host() {
    let config: Config =
        serde_json::from_str(r#"{"credsStore":"all","credHelpers":{"a":"one","index.docker.io":"hub"}}"#)
            .unwrap();
    let chosen = |host: &str| config.helper(&names_of(host)).unwrap();
    assert_eq!(chosen("a"), ("one".into(), "a".into()));
    assert_eq!(chosen("docker.io"), ("hub".into(), "index.docker.io".into()));
    assert_eq!(chosen("b"), ("all".into(), "b".into()));
    let config: Config = serde_json::from_str(r#"{"credsStore":"all"}"#).unwrap();
    assert_eq!(
        config.helper(&names_of("docker.io")).unwrap(),
        ("all".into(), "https://index.docker.io/v1/".into())
    );
    assert_eq!(Config::default().helper(&names_of("docker.io")), None);
}
