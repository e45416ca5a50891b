//! Which endpoints serve a registry host: `certs.d` directories in containerd's format, or the defaults.

mod endpoint;
mod file;
mod tls;

#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub(crate) use endpoint::{Capabilities, Endpoint, authority, is_loopback, origin};
pub(crate) use tls::Tls;

use crate::error::{Error, Result};

/// The largest `hosts.toml`, certificate or key that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Returns the endpoints of a registry host in the order in which they are tried; the registry itself is the last.
///
/// The files are read anew each time, so that an edit counts from the next pull on.
///
/// # Errors
/// [`Error::Hosts`] for a file that cannot be read or is wrong; it is never passed over, because what it says may be
/// that the registry itself must not be asked.
pub(crate) fn endpoints(directories: &[PathBuf], host: &str) -> Result<Vec<Endpoint>> {
    let default = || Endpoint::default_for(host);
    let Some(directory) = find_directory(directories, host)? else {
        return Ok(vec![default()?]);
    };
    let path = directory.join("hosts.toml");
    let text = match read(&path) {
        Ok(bytes) if !bytes.is_empty() => {
            String::from_utf8(bytes).map_err(|_| hosts_error(&path, "it is not UTF-8"))
        }
        Ok(_) => return with_docker_certificates(default()?, &directory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return with_docker_certificates(default()?, &directory);
        }
        Err(error) => Err(hosts_error(&path, error)),
    }?;
    let entries = file::parse(&text, &directory).map_err(|problem| hosts_error(&path, problem))?;
    entries.into_iter().map(|entry| endpoint_of(entry, host)).collect()
}

fn endpoint_of(entry: file::Entry, host: &str) -> Result<Endpoint> {
    let default = Endpoint::default_for(host)?;
    // What the default overlooks, it overlooks for its own address only, and not beside an authority to check against.
    let lenient = default.tls.skip_verify && entry.root.is_none() && entry.ca.is_empty();
    let tls = Tls {
        roots: entry.ca.iter().map(|path| tls::read_roots(path)).collect::<Result<Vec<_>>>()?,
        identity: entry.client.as_ref().map(tls::read_identity).transpose()?,
        skip_verify: entry.skip_verify.unwrap_or(lenient),
    };
    Ok(Endpoint {
        root: entry.root.unwrap_or(default.root),
        capabilities: entry.capabilities,
        tls,
        headers: entry.headers,
        connect_timeout: entry.connect_timeout,
    })
}

/// Returns the first directory of the host: `HOST_PORT_`, `HOST:PORT` or `HOST`, then `_default`, in each of the given
/// directories in turn.
fn find_directory(directories: &[PathBuf], host: &str) -> Result<Option<PathBuf>> {
    let with_underscores = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
        .map(|(name, port)| format!("{name}_{port}_"));
    for directory in directories {
        for name in with_underscores.as_deref().into_iter().chain([host, "_default"]) {
            let candidate = directory.join(name);
            match fs::metadata(&candidate) {
                Ok(_) => return Ok(Some(candidate)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(hosts_error(&candidate, error)),
            }
        }
    }
    Ok(None)
}

/// Adds docker's older layout, for a directory without `hosts.toml`: `*.crt` are authorities, `*.cert` with `*.key` is
/// the client's certificate.
fn with_docker_certificates(mut endpoint: Endpoint, directory: &Path) -> Result<Vec<Endpoint>> {
    let entries = fs::read_dir(directory).map_err(|error| hosts_error(directory, error))?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(|error| hosts_error(directory, error))?;
    paths.sort();
    for path in paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => endpoint.tls.roots.push(tls::read_roots(&path)?),
            Some("cert") if endpoint.tls.identity.is_some() => {
                return Err(hosts_error(&path, tls::ONE_IDENTITY));
            }
            Some("cert") => {
                let key = path.with_extension("key");
                let key = key.exists().then_some(key);
                endpoint.tls.identity =
                    Some(tls::read_identity(&file::ClientPair { certificate: path, key })?);
            }
            _ => {}
        }
    }
    if !endpoint.tls.roots.is_empty() {
        endpoint.tls.skip_verify = false;
    }
    Ok(vec![endpoint])
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {MAX_FILE_BYTES} bytes"),
        ));
    }
    Ok(bytes)
}

fn hosts_error(path: &Path, problem: impl ToString) -> Error {
    Error::Hosts { path: path.to_owned(), problem: problem.to_string() }
}
