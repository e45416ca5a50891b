//! `shimctl history`.

use jiff::Timestamp;
use proto::control as api;

use super::images::short_id;
use crate::connect;
use crate::exit::Failure;
use crate::layout::Layout;
use crate::output;
use crate::output::format::{self, Fields, Format, Row};
use crate::output::{size, text, time};

/// The fields of docker's rows. The header of the size is the same in bytes.
const FIELDS: Fields = Fields(&[
    ("Comment", "COMMENT"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("CreatedSince", "CREATED"),
    ("ID", "IMAGE"),
    ("Size", "SIZE"),
]);
/// Characters of a step that are shown unless all are asked for.
const SHORT_STEP: usize = 45;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image: a name, an ID or the beginning of one
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Print sizes and dates for people
    #[arg(short = 'H', long, value_name = "BOOL", default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set)]
    human: bool,
    /// Do not shorten anything
    #[arg(long)]
    no_trunc: bool,
    /// Print IDs only
    #[arg(short, long)]
    quiet: bool,
    #[arg(long, value_name = "FORMAT", default_value = "", hide_default_value = true, help = format::HELP)]
    format: Format,
}

pub(crate) async fn run(args: Args, layout: &Layout) -> Result<(), Failure> {
    FIELDS.check(&args.format)?;
    let mut client = connect::control(layout).await?.images();
    let entries =
        client.history(api::HistoryRequest { name: args.image.clone() }).await?.into_inner().entries;
    output::print(&write(&entries, &args, Timestamp::now())?)
}

fn write(entries: &[api::HistoryEntry], args: &Args, now: Timestamp) -> Result<String, Failure> {
    let rows: Vec<Row> = entries.iter().map(|entry| row(entry, args, now)).collect();
    if args.quiet && args.format == Format::Table {
        return Ok(entries.iter().map(|entry| id(entry, args.no_trunc) + "\n").collect());
    }
    let created = if args.human { "CreatedSince" } else { "CreatedAt" };
    FIELDS.write(&args.format, &["ID", created, "CreatedBy", "Size", "Comment"], &rows)
}

fn row(entry: &api::HistoryEntry, args: &Args, now: Timestamp) -> Row {
    let created = time::from_wire(entry.created_at.as_ref());
    let step = entry.created_by.replace('\t', " ");
    vec![
        entry.comment.clone(),
        time::rfc3339(created),
        if args.no_trunc { step } else { text::ellipsis(&step, SHORT_STEP).into_owned() },
        time::ago(created, now),
        id(entry, args.no_trunc),
        if args.human { size::short(entry.size_bytes) } else { entry.size_bytes.to_string() },
    ]
}

fn id(entry: &api::HistoryEntry, whole: bool) -> String {
    match entry.image_id.as_str() {
        "" => "<missing>".to_owned(),
        id if whole => id.to_owned(),
        id => short_id(id).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    const NOW_S: i64 = 1_800_000_000;

    fn shown(flags: &[&str]) -> String {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        let args = Line::parse_from(["history", "x"].iter().chain(flags)).args;
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let entry = |image_id: &str, created_at, created_by: &str, size_bytes| api::HistoryEntry {
            image_id: image_id.into(),
            created_at,
            created_by: created_by.into(),
            size_bytes,
            comment: "buildkit.dockerfile.v0".into(),
            empty_layer: size_bytes == 0,
        };
        let entries = [
            entry(
                &format!("sha256:{}", "ab".repeat(32)),
                at(NOW_S - 90),
                "CMD [\"/usr/local/bin/hello\"]",
                0,
            ),
            entry(
                "",
                at(NOW_S - 7200),
                "COPY /compose/hello-docker/hello /usr/local/bin/hello # buildkit",
                1_940_000,
            ),
            api::HistoryEntry { comment: String::new(), ..entry("", None, "RUN a\tb\nc", 12) },
        ];
        write(&entries, &args, Timestamp::from_second(NOW_S).unwrap()).unwrap()
    }

    #[test]
    fn tables() {
        let expected = "\
IMAGE          CREATED              CREATED BY                                      SIZE      COMMENT
abababababab   About a minute ago   CMD [\"/usr/local/bin/hello\"]                    0B        buildkit.dockerfile.v0
<missing>      2 hours ago          COPY /compose/hello-docker/hello /usr/local/…   1.94MB    buildkit.dockerfile.v0
<missing>      N/A                  RUN a b c                                       12B       \n";
        assert_eq!(shown(&[]), expected);
        assert_eq!(shown(&["-H"]), expected);
        let expected = "\
IMAGE          CREATED AT             CREATED BY                                      SIZE      COMMENT
abababababab   2027-01-15T07:58:30Z   CMD [\"/usr/local/bin/hello\"]                    0         buildkit.dockerfile.v0
<missing>      2027-01-15T06:00:00Z   COPY /compose/hello-docker/hello /usr/local/…   1940000   buildkit.dockerfile.v0
<missing>                             RUN a b c                                       12        \n";
        assert_eq!(shown(&["-H=false"]), expected);
        assert!(
            shown(&["--no-trunc"])
                .contains("COPY /compose/hello-docker/hello /usr/local/bin/hello # buildkit   1.94MB")
        );
    }

    #[test]
    fn other_forms() {
        assert_eq!(shown(&["-q"]), "abababababab\n<missing>\n<missing>\n");
        assert_eq!(
            shown(&["-q", "--no-trunc"]),
            format!("sha256:{}\n<missing>\n<missing>\n", "ab".repeat(32))
        );
        assert_eq!(
            shown(&["--format", "{{.ID}} {{.Size}}"]),
            "abababababab 0B\n<missing> 1.94MB\n<missing> 12B\n"
        );
        let json = shown(&["--format", "json"]);
        let last = "{\"Comment\":\"\",\"CreatedAt\":\"\",\"CreatedBy\":\"RUN a b\\nc\",\"CreatedSince\":\"N/A\",\"ID\":\"<missing>\",\"Size\":\"12B\"}";
        assert_eq!(json.lines().last().unwrap(), last);
    }
}
