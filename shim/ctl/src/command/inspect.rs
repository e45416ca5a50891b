//! `shimctl inspect`.

use anyhow::Context as _;
use proto::control as api;
use serde::Serialize as _;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

use crate::connect;
use crate::exit::{self, Failure};
use crate::layout::Layout;
use crate::output;
use crate::output::template::Template;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  shimctl inspect hellodocker\n  shimctl inspect --format '{{.Id}} {{json .Config.Env}}' hellodocker"
)]
pub(crate) struct Args {
    /// The images: names, IDs or beginnings of these
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Format the output: 'json' for one line, or a template with {{.Field}} and {{json .Field}}
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<Format>,
}

#[derive(Debug, Clone)]
enum Format {
    Json,
    Template(Template),
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(format: &str) -> Result<Self, String> {
        if format == "json" { Ok(Self::Json) } else { Template::parse(format).map(Self::Template) }
    }
}

/// Prints all that there are, and then an error for each that there is not.
pub(crate) async fn run(args: Args, layout: &Layout) -> Result<(), Failure> {
    let mut client = connect::control(layout).await?.images();
    let mut found: Vec<Value> = Vec::new();
    let mut errors = Vec::new();
    for name in args.images {
        match client.inspect(api::InspectRequest { names: vec![name] }).await {
            Ok(answer) => {
                for json in answer.into_inner().json {
                    found.push(serde_json::from_str(&json).context("read the daemon's answer")?);
                }
            }
            Err(status) => match Failure::from(status.clone()) {
                Failure::Failed(_) => errors.push(exit::message(&status)),
                broken => return Err(broken),
            },
        }
    }
    output::print(&write(&found, args.format.as_ref())?)?;
    errors.iter().for_each(|message| output::error(message));
    if errors.is_empty() { Ok(()) } else { Err(Failure::reported()) }
}

fn write(images: &[Value], format: Option<&Format>) -> Result<String, Failure> {
    match format {
        None => pretty(images),
        Some(Format::Json) => Ok(serde_json::to_string(images).context("write JSON")? + "\n"),
        Some(Format::Template(template)) => {
            images.iter().map(|image| Ok(template.fill(image).map_err(Failure::failed)? + "\n")).collect()
        }
    }
}

/// Writes JSON with docker's indentation.
fn pretty(images: &[Value]) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let formatter = PrettyFormatter::with_indent(b"    ");
    images.serialize(&mut Serializer::with_formatter(&mut bytes, formatter)).context("write JSON")?;
    bytes.push(b'\n');
    Ok(String::from_utf8(bytes).context("write JSON")?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn forms() {
        let images = [json!({"Id": "sha256:1", "RepoTags": ["a:1"], "Config": {}})];
        let text = write(&images, None).unwrap();
        assert_eq!(
            text,
            "[\n    {\n        \"Id\": \"sha256:1\",\n        \"RepoTags\": [\n            \"a:1\"\n        ],\n        \"Config\": {}\n    }\n]\n"
        );
        assert_eq!(write(&[], None).unwrap(), "[]\n");
        let json = "json".parse().unwrap();
        assert_eq!(
            write(&images, Some(&json)).unwrap(),
            "[{\"Id\":\"sha256:1\",\"RepoTags\":[\"a:1\"],\"Config\":{}}]\n"
        );
        let template = "{{.Id}} {{.RepoTags}}".parse().unwrap();
        assert_eq!(write(&images, Some(&template)).unwrap(), "sha256:1 [a:1]\n");
        let missing = "{{.Nope}}".parse().unwrap();
        assert!(matches!(write(&images, Some(&missing)), Err(Failure::Failed(_))));
        assert!("{{range .Id}}".parse::<Format>().is_err());
    }
}
