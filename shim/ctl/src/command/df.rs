//! `shimctl df`.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proto::control as api;
use serde_json::{Value, json};

use super::images::{self, short_id, shown_names};
use crate::connect;
use crate::exit::Failure;
use crate::layout::Layout;
use crate::output;
use crate::output::format::{self, Fields, Format, Row};
use crate::output::{size, time};

/// The fields of docker's summary.
const SUMMARY: Fields = Fields(&[
    ("Active", "ACTIVE"),
    ("Reclaimable", "RECLAIMABLE"),
    ("Size", "SIZE"),
    ("TotalCount", "TOTAL"),
    ("Type", "TYPE"),
]);
/// The fields of an entry of the build cache.
const CACHE: Fields = Fields(&[
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("Description", "DESCRIPTION"),
    ("ID", "CACHE ID"),
    ("InUse", "IN USE"),
    ("LastUsedAt", "LAST USED AT"),
    ("LastUsedSince", "LAST USED"),
    ("Size", "SIZE"),
]);
/// Where rows of images have these fields.
const SHARED: usize = 6;
const CONTAINERS: usize = 0;
const UNIQUE: usize = 9;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show every image and every entry of the build cache
    #[arg(short, long)]
    verbose: bool,
    #[arg(long, value_name = "FORMAT", default_value = "", hide_default_value = true, help = format::HELP)]
    format: Format,
}

pub(crate) async fn run(args: Args, layout: &Layout) -> Result<(), Failure> {
    if !args.verbose {
        SUMMARY.check(&args.format)?;
    } else if !matches!(args.format, Format::Table | Format::Json) {
        return Err(Failure::Usage(
            "--verbose prints several tables, so its format is 'table' or 'json'".into(),
        ));
    }
    let mut client = connect::control(layout).await?.storage();
    let mut usage = client.disk_usage(api::DiskUsageRequest { verbose: args.verbose }).await?.into_inner();
    if !args.verbose {
        return output::print(&summary(&usage, &args.format)?);
    }
    usage.image_usages.sort_by_key(|usage| std::cmp::Reverse(seconds(usage)));
    let (now, zone) = (Timestamp::now(), time::zone());
    let json = args.format == Format::Json;
    output::print(&if json { verbose_json(&usage, now, &zone) } else { verbose(&usage, now, &zone)? })
}

fn seconds(usage: &api::ImageUsage) -> Option<i64> {
    usage.image.as_ref()?.created_at.as_ref().map(|time| time.seconds)
}

fn summary(usage: &api::DiskUsageResponse, format: &Format) -> Result<String, Failure> {
    let classes = [
        ("Images", usage.images, true),
        ("Containers", usage.containers, true),
        ("Build Cache", usage.build_cache, false),
    ];
    let rows: Vec<Row> = classes
        .into_iter()
        .map(|(name, class, percent)| {
            let class = class.unwrap_or_default();
            vec![
                class.active_count.to_string(),
                reclaimable(class, percent),
                size::long(class.size_bytes),
                class.count.to_string(),
                name.to_owned(),
            ]
        })
        .collect();
    SUMMARY.write(format, &["Type", "TotalCount", "Active", "Size", "Reclaimable"], &rows)
}

fn reclaimable(class: api::UsageClass, percent: bool) -> String {
    let bytes = size::long(class.reclaimable_bytes);
    let share = u128::from(class.reclaimable_bytes) * 100;
    match share.checked_div(u128::from(class.size_bytes)) {
        Some(share) if percent => format!("{bytes} ({share}%)"),
        _ => bytes,
    }
}

fn verbose(usage: &api::DiskUsageResponse, now: Timestamp, zone: &TimeZone) -> Result<String, Failure> {
    let image_columns =
        ["Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers"];
    let image_rows = image_rows(usage, false, now, zone);
    let cache_columns = ["ID", "Size", "CreatedSince", "LastUsedSince", "InUse", "Description"];
    let cache_rows: Vec<Row> =
        usage.cache_usages.iter().map(|entry| cache_row(entry, false, now, zone)).collect();
    Ok(format!(
        "Images space usage:\n\n{}\nBuild cache usage: {}\n\n{}",
        images::FIELDS.write(&Format::Table, &image_columns, &image_rows)?,
        size::long(usage.build_cache.unwrap_or_default().size_bytes),
        CACHE.write(&Format::Table, &cache_columns, &cache_rows)?
    ))
}

/// Writes one object with docker's keys.
fn verbose_json(usage: &api::DiskUsageResponse, now: Timestamp, zone: &TimeZone) -> String {
    let rows = image_rows(usage, true, now, zone);
    let images: Vec<Value> = rows.iter().map(|row| images::FIELDS.object(row).into()).collect();
    let cache: Vec<Value> = usage
        .cache_usages
        .iter()
        .map(|entry| CACHE.object(&cache_row(entry, true, now, zone)).into())
        .collect();
    format!("{}\n", json!({ "Images": images, "BuildCache": cache }))
}

fn image_rows(usage: &api::DiskUsageResponse, whole_id: bool, now: Timestamp, zone: &TimeZone) -> Vec<Row> {
    let mut rows = Vec::new();
    for usage in &usage.image_usages {
        let Some(image) = &usage.image else { continue };
        for name in shown_names(image) {
            let mut row = images::row(image, &name, whole_id, now, zone);
            row[SHARED] = size::long(usage.shared_bytes);
            row[UNIQUE] = size::long(usage.unique_bytes);
            row[CONTAINERS] = usage.containers.to_string();
            rows.push(row);
        }
    }
    rows
}

fn cache_row(entry: &api::CacheUsage, whole_id: bool, now: Timestamp, zone: &TimeZone) -> Row {
    let created = time::from_wire(entry.created_at.as_ref());
    let used = time::from_wire(entry.used_at.as_ref());
    vec![
        time::absolute(created, zone),
        time::ago(created, now),
        entry.description.clone(),
        if whole_id { entry.id.clone() } else { short_id(&entry.id).to_owned() },
        entry.in_use.to_string(),
        time::absolute(used, zone),
        time::ago(used, now),
        size::short(entry.size_bytes),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: i64 = 1_800_000_000;

    fn usage() -> api::DiskUsageResponse {
        let at = |age: i64| Some(prost_types::Timestamp { seconds: NOW_S - age, nanos: 0 });
        let image = api::Image {
            id: format!("sha256:{}", "a".repeat(64)),
            names: vec!["docker.io/library/hellodocker:latest".into()],
            created_at: at(7200),
            size_bytes: 12_345_678,
            ..Default::default()
        };
        api::DiskUsageResponse {
            images: Some(api::UsageClass {
                count: 2,
                active_count: 1,
                size_bytes: 12_345_678,
                reclaimable_bytes: 6_172_839,
            }),
            containers: None,
            build_cache: Some(api::UsageClass {
                count: 1,
                active_count: 0,
                size_bytes: 2_345_678,
                reclaimable_bytes: 2_345_678,
            }),
            image_usages: vec![api::ImageUsage {
                image: Some(image),
                shared_bytes: 100,
                unique_bytes: 12_345_578,
                containers: 1,
            }],
            cache_usages: vec![api::CacheUsage {
                id: "abcdef0123456789".into(),
                description: "RUN make".into(),
                size_bytes: 2_345_678,
                created_at: at(86_400 * 3),
                used_at: at(60),
                in_use: false,
            }],
        }
    }

    #[test]
    fn summaries() {
        let expected = "\
TYPE          TOTAL     ACTIVE    SIZE      RECLAIMABLE
Images        2         1         12.35MB   6.173MB (50%)
Containers    0         0         0B        0B
Build Cache   1         0         2.346MB   2.346MB
";
        assert_eq!(summary(&usage(), &Format::Table).unwrap(), expected);
        let json = summary(&usage(), &Format::Json).unwrap();
        let first = "{\"Active\":\"1\",\"Reclaimable\":\"6.173MB (50%)\",\"Size\":\"12.35MB\",\"TotalCount\":\"2\",\"Type\":\"Images\"}";
        assert_eq!(json.lines().next().unwrap(), first);
    }

    #[test]
    fn everything() {
        let now = Timestamp::from_second(NOW_S).unwrap();
        let expected = "\
Images space usage:

REPOSITORY    TAG       IMAGE ID       CREATED       SIZE      SHARED SIZE   UNIQUE SIZE   CONTAINERS
hellodocker   latest    aaaaaaaaaaaa   2 hours ago   12.3MB    100B          12.35MB       1

Build cache usage: 2.346MB

CACHE ID       SIZE      CREATED      LAST USED            IN USE    DESCRIPTION
abcdef012345   2.35MB    3 days ago   About a minute ago   false     RUN make
";
        assert_eq!(verbose(&usage(), now, &TimeZone::UTC).unwrap(), expected);
        let json: Value = serde_json::from_str(&verbose_json(&usage(), now, &TimeZone::UTC)).unwrap();
        assert_eq!(json["Images"][0]["UniqueSize"], "12.35MB");
        assert_eq!(json["Images"][0]["ID"], format!("sha256:{}", "a".repeat(64)));
        assert_eq!(json["BuildCache"][0]["LastUsedAt"], "2027-01-15 07:59:00 +0000 UTC");
    }
}
