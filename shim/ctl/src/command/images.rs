//! `shimctl images`.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proto::control as api;

use crate::connect;
use crate::exit::Failure;
use crate::layout::Layout;
use crate::output;
use crate::output::format::{self, Fields, Format, Row};
use crate::output::{size, time};
use crate::reference::{Parts, familiar, is_meant, split};

/// The fields of docker's rows.
pub(super) const FIELDS: Fields = Fields(&[
    ("Containers", "CONTAINERS"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("SharedSize", "SHARED SIZE"),
    ("Size", "SIZE"),
    ("Tag", "TAG"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("VirtualSize", "SIZE"),
]);
/// What stands where there is nothing.
const NONE: &str = "<none>";
/// What stands where nobody has counted.
const UNKNOWN: &str = "N/A";
/// Hexadecimal digits of a short ID.
const SHORT_ID: usize = 12;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  shimctl images 'team/*'\n  shimctl images -q --filter dangling=true\n  shimctl images --format 'table {{.ID}}\\t{{.Size}}'"
)]
pub(crate) struct Args {
    /// Only images with this name; * and ? stand for other characters
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
    /// Accepted as docker has it; there are no intermediate images to show
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Only some images: dangling=true, dangling=false or reference=PATTERN
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<Filter>,
    #[arg(long, value_name = "FORMAT", default_value = "", hide_default_value = true, help = format::HELP)]
    format: Format,
    /// Do not shorten IDs
    #[arg(long)]
    no_trunc: bool,
    /// Print IDs only
    #[arg(short, long)]
    quiet: bool,
}

/// What `--filter` can ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Filter {
    Dangling(bool),
    Reference(String),
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(filter: &str) -> Result<Self, String> {
        match filter.split_once('=') {
            Some(("dangling", "true" | "1")) => Ok(Self::Dangling(true)),
            Some(("dangling", "false" | "0")) => Ok(Self::Dangling(false)),
            Some(("dangling", _)) => Err("the filter dangling is true or false".into()),
            Some(("reference", pattern)) => Ok(Self::Reference(pattern.to_owned())),
            Some((name, _)) => Err(format!("there is no filter {name:?}, but dangling and reference")),
            None => Err("a filter is written as NAME=VALUE".into()),
        }
    }
}

pub(crate) async fn run(args: Args, layout: &Layout) -> Result<(), Failure> {
    FIELDS.check(&args.format)?;
    let mut client = connect::control(layout).await?.images();
    // Names are matched here: docker shows the names that match, not all names of images that do.
    let images = client.list(api::ListRequest::default()).await?.into_inner().images;
    output::print(&write(images, &args, Timestamp::now(), &time::zone())?)
}

fn write(
    mut images: Vec<api::Image>,
    args: &Args,
    now: Timestamp,
    zone: &TimeZone,
) -> Result<String, Failure> {
    sort_newest_first(&mut images);
    let mut rows = Vec::new();
    for image in &images {
        for name in shown_names(image).into_iter().filter(|name| name.passes(args)) {
            rows.push(row(image, &name, args.no_trunc, now, zone));
        }
    }
    if args.quiet && args.format == Format::Table {
        return FIELDS.write(&"{{.ID}}".parse().map_err(Failure::Usage)?, &[], &rows);
    }
    let usual: &[&str] = if args.digests {
        &["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"]
    } else {
        &["Repository", "Tag", "ID", "CreatedSince", "Size"]
    };
    FIELDS.write(&args.format, usual, &rows)
}

/// Sorts as docker does; images of the same time by their IDs, so that the order is always the same.
fn sort_newest_first(images: &mut [api::Image]) {
    let key = |image: &api::Image| image.created_at.map(|time| (time.seconds, time.nanos));
    images.sort_by(|a, b| key(b).cmp(&key(a)).then_with(|| a.id.cmp(&b.id)));
}

/// One name under which an image is shown.
#[derive(Debug)]
pub(super) struct Name<'a> {
    /// Normalised; empty for an image without any.
    full: &'a str,
    repository: &'a str,
    tag: &'a str,
    digest: &'a str,
}

impl Name<'_> {
    fn passes(&self, args: &Args) -> bool {
        let dangling = self.full.is_empty();
        let mut patterns = Vec::from_iter(&args.name);
        for filter in &args.filter {
            match filter {
                Filter::Dangling(wanted) if *wanted != dangling => return false,
                Filter::Dangling(_) => {}
                Filter::Reference(pattern) => patterns.push(pattern),
            }
        }
        patterns.is_empty() || !dangling && patterns.into_iter().any(|pattern| is_meant(pattern, self.full))
    }
}

/// Returns a line for each name of an image; one that has none is dangling.
pub(super) fn shown_names(image: &api::Image) -> Vec<Name<'_>> {
    if image.names.is_empty() {
        return vec![Name { full: "", repository: NONE, tag: NONE, digest: NONE }];
    }
    let names = image.names.iter().map(|name| {
        let Parts { repository, tag, digest } = split(name);
        let known = image.digests.iter().map(|name| split(name)).find(|parts| parts.repository == repository);
        Name {
            full: name,
            repository: familiar(repository),
            tag: tag.unwrap_or(NONE),
            digest: digest.or(known.and_then(|parts| parts.digest)).unwrap_or(NONE),
        }
    });
    names.collect()
}

pub(super) fn row(
    image: &api::Image,
    name: &Name<'_>,
    whole_id: bool,
    now: Timestamp,
    zone: &TimeZone,
) -> Row {
    let created = time::from_wire(image.created_at.as_ref());
    let row = [
        UNKNOWN,
        &time::absolute(created, zone),
        &time::ago(created, now),
        name.digest,
        if whole_id { &image.id } else { short_id(&image.id) },
        name.repository,
        UNKNOWN,
        &size::short(image.size_bytes),
        name.tag,
        UNKNOWN,
        &size::long(image.size_bytes),
    ];
    row.map(str::to_owned).to_vec()
}

/// Returns the ID as people read it: the first digits, without the algorithm.
pub(super) fn short_id(id: &str) -> &str {
    let digits = id.split_once(':').map_or(id, |(_, digits)| digits);
    digits.get(..SHORT_ID).unwrap_or(digits)
}

#[cfg(test)]
#[path = "images/tests.rs"]
mod tests;
