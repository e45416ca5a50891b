//! Files of clients: what they hold of one cluster, put into a file that holds others too, and taken out of it.

mod file;
mod yaml;

#[cfg(test)]
mod tests;

use std::fmt;

use k8s_openapi::ByteString;

use crate::cluster::NAME;
pub(crate) use file::Place;
pub(crate) use yaml::Problem;
use yaml::{Content, Node};

/// The lists that have an element of ours, and what is in it beside its name.
const LISTS: [(&str, &str); 3] = [("clusters", "cluster"), ("contexts", "context"), ("users", "user")];
const CURRENT: &str = "current-context";

type Result<T> = std::result::Result<T, Problem>;

/// A cluster and one of its clients. Certificates and key are PEM.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Such as `https://kubernetes.docker.internal:6443`.
    pub(crate) server: String,
    /// The name that the server's certificate is checked for, where it is not the one in `server`.
    pub(crate) tls_server_name: Option<String>,
    pub(crate) authority: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("server", &self.server).finish_non_exhaustive()
    }
}

/// What is left of a file without its elements of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rest {
    /// There were none: the file stays as it is.
    Unchanged,
    /// Nothing that means anything to anybody.
    Nothing,
    /// This.
    Text(String),
}

/// Adds a cluster, its user and its context to a file, or replaces those that are there, and makes the context the current one.
/// What else is in the file is kept, in its order, and so are further fields of the context, such as its namespace;
/// comments are lost.
///
/// # Errors
/// The text is no file of this kind; with the line.
pub(crate) fn merge(text: Option<&str>, entry: &Entry) -> Result<String> {
    let mut file = match text.map(yaml::parse).transpose()?.flatten() {
        Some(file) => readable(checked(file)?)?,
        None => empty(),
    };
    let mut cluster =
        vec![("certificate-authority-data", base64(&entry.authority)), ("server", Node::text(&entry.server))];
    if let Some(name) = &entry.tls_server_name {
        cluster.push(("tls-server-name", Node::text(name)));
    }
    let user =
        [("client-certificate-data", base64(&entry.certificate)), ("client-key-data", base64(&entry.key))];
    let context = element(&file, "contexts").and_then(|found| found.get("context")).cloned();
    let context = match context.filter(|found| matches!(found.content, Content::Map(_))) {
        Some(mut found) => {
            found.set("cluster", Node::text(NAME));
            found.set("user", Node::text(NAME));
            found
        }
        None => Node::map([("cluster", Node::text(NAME)), ("user", Node::text(NAME))]),
    };
    put(&mut file, LISTS[0], Node::map(cluster));
    put(&mut file, LISTS[1], context);
    file.set(CURRENT, Node::text(NAME));
    put(&mut file, LISTS[2], Node::map(user));
    yaml::write(&file)
}

/// Checks that a cluster could be added to a file.
///
/// # Errors
/// As for [`merge`].
pub(crate) fn check(text: Option<&str>) -> Result<()> {
    let [server, authority, certificate, key] = [const { String::new() }; 4];
    merge(text, &Entry { server, tls_server_name: None, authority, certificate, key }).map(drop)
}

/// Takes our cluster, user and context out of a file, and the choice of the current context if it is ours.
///
/// # Errors
/// The text is no file of this kind; with the line.
pub(crate) fn remove(text: &str) -> Result<Rest> {
    let Some(mut file) = yaml::parse(text)?.map(checked).transpose()? else { return Ok(Rest::Unchanged) };
    let before = file.clone();
    for (list, _) in LISTS {
        if let Some(items) = items(&file, list).filter(|items| items.iter().any(is_ours)) {
            let kept = items.iter().filter(|item| !is_ours(item)).cloned().collect();
            file.set(list, Node::list(kept));
        }
    }
    if file.get(CURRENT).and_then(Node::as_text) == Some(NAME) {
        file.set(CURRENT, Node::text(""));
    }
    if file == before {
        return Ok(Rest::Unchanged);
    }
    if file.entries().iter().all(|(key, value)| means_nothing(key, value)) {
        return Ok(Rest::Nothing);
    }
    yaml::write(&file).map(Rest::Text)
}

/// Reads our cluster and its user from a file in which they are the current ones.
///
/// # Errors
/// The text is no file of this kind, or something is missing; no key is ever part of the message.
pub(crate) fn read(text: &str) -> Result<Entry> {
    let missing = |what: &str| Problem::new(0, format!("has no {what} for {NAME}"));
    let file = yaml::parse(text)?.map(checked).transpose()?.ok_or_else(|| missing("entries"))?;
    let part = |list: &str, inner: &str| element(&file, list).and_then(|found| found.get(inner)).cloned();
    let cluster = part("clusters", "cluster").ok_or_else(|| missing("cluster"))?;
    let context = part("contexts", "context").ok_or_else(|| missing("context"))?;
    let user = part("users", "user").ok_or_else(|| missing("user"))?;
    let names = [context.get("cluster"), context.get("user"), file.get(CURRENT)];
    if names.iter().any(|name| name.and_then(Node::as_text) != Some(NAME)) {
        return Err(missing("current context"));
    }
    let text = |node: &Node, key: &str| node.get(key).and_then(Node::as_text).map(ToOwned::to_owned);
    let pem = |node: &Node, key: &'static str| {
        let bytes = text(node, key)
            .and_then(|base64| serde_json::from_value::<ByteString>(serde_json::Value::String(base64)).ok());
        bytes.and_then(|bytes| String::from_utf8(bytes.0).ok()).ok_or_else(|| missing(key))
    };
    Ok(Entry {
        server: text(&cluster, "server").ok_or_else(|| missing("server"))?,
        tls_server_name: text(&cluster, "tls-server-name"),
        authority: pem(&cluster, "certificate-authority-data")?,
        certificate: pem(&user, "client-certificate-data")?,
        key: pem(&user, "client-key-data")?,
    })
}

fn empty() -> Node {
    let lists = LISTS.map(|(list, _)| (list, Node::list(Vec::new())));
    let [clusters, contexts, users] = lists;
    let current = (CURRENT, Node::text(""));
    let (version, kind) = (("apiVersion", Node::text("v1")), ("kind", Node::text("Config")));
    Node::map([version, clusters, contexts, current, kind, users])
}

/// Checks the shape of what is looked at here.
fn checked(file: Node) -> Result<Node> {
    if !matches!(file.content, Content::Map(_)) {
        return Err(Problem::new(file.line, "is not a map of fields"));
    }
    for (list, _) in LISTS {
        if let Some(found) = file.get(list)
            && !found.is_null()
            && !matches!(found.content, Content::List(_))
        {
            return Err(Problem::new(found.line, format!("`{list}` is not a list")));
        }
    }
    Ok(file)
}

/// Checks what kubectl would not read with our elements in it either.
fn readable(file: Node) -> Result<Node> {
    for (list, _) in LISTS {
        let is_wrong = |item: &&Node| !item.is_null() && !matches!(item.content, Content::Map(_));
        if let Some(item) = items(&file, list).unwrap_or_default().iter().find(is_wrong) {
            return Err(Problem::new(item.line, format!("what `{list}` lists is not a map of fields")));
        }
    }
    match file.get(CURRENT) {
        Some(current) if current.as_text().is_none() => {
            Err(Problem::new(current.line, format!("`{CURRENT}` is not a name")))
        }
        _ => Ok(file),
    }
}

fn items<'a>(file: &'a Node, list: &str) -> Option<&'a [Node]> {
    match file.get(list).map(|node| &node.content) {
        Some(Content::List(items)) => Some(items),
        _ => None,
    }
}

fn is_ours(item: &Node) -> bool {
    item.get("name").and_then(Node::as_text) == Some(NAME)
}

fn element<'a>(file: &'a Node, list: &str) -> Option<&'a Node> {
    items(file, list)?.iter().find(|item| is_ours(item))
}

/// Puts our element where the first one of its name is, or at the end; readers take the first, so others of its name go.
fn put(file: &mut Node, (list, inner): (&str, &str), value: Node) {
    let mut fields = [(inner, value), ("name", Node::text(NAME))];
    // In order of the alphabet, as kubectl writes them.
    fields.sort_by_key(|(key, _)| *key);
    let mut ours = Some(Node::map(fields));
    let mut kept: Vec<Node> = Vec::new();
    for item in items(file, list).unwrap_or_default() {
        if !is_ours(item) {
            kept.push(item.clone());
        } else if let Some(ours) = ours.take() {
            kept.push(ours);
        }
    }
    kept.extend(ours);
    file.set(list, Node::list(kept));
}

/// Tells whether a field of a file is one that is there in a file without any cluster.
fn means_nothing(key: &Node, value: &Node) -> bool {
    let is_empty = match &value.content {
        Content::Scalar { text, .. } => text.is_empty() || value.is_null(),
        Content::List(items) => items.is_empty(),
        Content::Map(entries) => entries.is_empty(),
    };
    match key.as_text() {
        Some("apiVersion" | "kind") => true,
        Some("clusters" | "contexts" | "users" | "preferences" | CURRENT) => is_empty,
        _ => false,
    }
}

fn base64(pem: &str) -> Node {
    let value = serde_json::to_value(ByteString(pem.as_bytes().to_vec()));
    // Bytes are always written as a string.
    Node::text(value.ok().and_then(|value| value.as_str().map(ToOwned::to_owned)).unwrap_or_default())
}
