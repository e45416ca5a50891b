//! Credential helpers: programs named `docker-credential-X` that keep passwords elsewhere.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use proto::control as api;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

/// How long a helper may take: it may ask its user. The daemon waits a little longer.
const TIMEOUT: Duration = Duration::from_secs(90);
/// The most that is read of a helper's answer, and of what it has to say.
const MAX_OUTPUT_BYTES: u64 = 64 << 10;
/// The user name with which a helper says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";
/// What all helpers say when they have nothing for a server.
const NOT_FOUND: &str = "credentials not found in native keychain";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// Asks a helper for what it has for a server, if it has anything.
pub(super) async fn get(helper: &str, server: &str) -> anyhow::Result<Option<api::Credential>> {
    ensure!(!helper.contains('/'), "the credential helper {helper:?} has a slash in its name");
    let program = format!("docker-credential-{helper}");
    let child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("run {program}"))?;
    let talk = tokio::time::timeout(TIMEOUT, talk(child, server)).await;
    let (done, output, complaint) = talk
        .with_context(|| format!("{program} did not answer within {TIMEOUT:?}"))?
        .with_context(|| format!("talk to {program}"))?;
    if !done {
        let said = [output, complaint].map(|text| String::from_utf8_lossy(&text).trim().to_owned());
        if said[0] == NOT_FOUND {
            return Ok(None);
        }
        bail!("{program}: {}", said.join(" ").trim());
    }
    // The text of the answer stays out of the message: it has the password.
    let found: Found = serde_json::from_slice(&output)
        .ok()
        .with_context(|| format!("{program} answered in no known form"))?;
    Ok(Some(if found.username == TOKEN_USER {
        api::Credential { identity_token: found.secret, ..Default::default() }
    } else {
        api::Credential { username: found.username, password: found.secret, ..Default::default() }
    }))
}

/// Names the server to the helper; returns whether it succeeded, its answer and its complaints.
async fn talk(mut child: Child, server: &str) -> anyhow::Result<(bool, Vec<u8>, Vec<u8>)> {
    let mut input = child.stdin.take().context("no standard input")?;
    let output = child.stdout.take().context("no standard output")?;
    let complaint = child.stderr.take().context("no standard error")?;
    // A helper may answer without reading.
    input.write_all(server.as_bytes()).await.ok();
    drop(input);
    let (output, complaint) = tokio::join!(read(output), read(complaint));
    Ok((child.wait().await?.success(), output?, complaint?))
}

/// Reads all, and refuses more than there may be.
async fn read(from: impl AsyncRead + Unpin) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let size = from.take(MAX_OUTPUT_BYTES + 1).read_to_end(&mut bytes).await?;
    ensure!(size as u64 <= MAX_OUTPUT_BYTES, "it wrote more than {MAX_OUTPUT_BYTES} bytes");
    Ok(bytes)
}
