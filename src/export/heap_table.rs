//! Memory by the code that allocates it, as a table and as JSON.

use serde::Serialize;

use super::group_text::utc;
use super::profile::summary::{amount, title, uncertainty_percent};
use super::tables::{function, line, rest, share};
use super::unix_ms;
use crate::analysis::sites::{Amount, SiteGroup};
use crate::model::plural::plural;
use crate::model::profile::{Profile, Unit};

/// The table: at most `rows` sites, or groups with at most as many sites each.
pub(crate) fn text(profile: &Profile, groups: &[SiteGroup], rows: usize) -> String {
    let mut text = String::new();
    let sum = sum(groups);
    let (day, time) = utc(profile.started_at);
    let samples = plural(sum.samples.unsigned_abs(), "sample");
    let (bytes, error) = (amount(sum.bytes, Unit::Bytes), error(sum).trim_start().to_owned());
    let estimate = if error.is_empty() { String::new() } else { format!(" {error}, {samples}") };
    let pid = if profile.pid > 0 { format!(", process {}", profile.pid) } else { String::new() };
    line(&mut text, format_args!("{}: {bytes}{estimate}{pid}, {day} {time} UTC", title(profile)));
    line(&mut text, format_args!("{:>10} {:>9} {:>7} {:>11}  function", "bytes", "", "", "objects"));
    let is_grouped = groups.iter().any(|group| !group.labels.is_empty());
    for group in groups.iter().take(if is_grouped { rows } else { usize::MAX }) {
        let indent = if is_grouped { "  " } else { "" };
        if is_grouped {
            row(&mut text, group.sum, sum.bytes, &function(&caption(group), None));
        }
        for (site, amount) in group.sites.iter().take(rows) {
            let named = function(&site.function, site.place.as_deref());
            row(&mut text, *amount, sum.bytes, &format!("{indent}{named}"));
        }
        rest(&mut text, group.sites.len(), rows);
    }
    if is_grouped && groups.len() > rows {
        line(&mut text, format_args!("… and {} more; -n shows more", plural((groups.len() - rows) as u64, "group")));
    }
    text
}

fn row(text: &mut String, of: Amount, all: i64, name: &str) {
    let objects = if of.objects == 0 { "-".to_owned() } else { of.objects.to_string() };
    let bytes = amount(of.bytes, Unit::Bytes);
    line(text, format_args!("{bytes:>10} {:>9} {:>7} {objects:>11}  {name}", error(of), share(of.bytes, all)));
}

/// `± 4.2 %`; empty where samples are not counted.
fn error(of: Amount) -> String {
    uncertainty_percent(of.samples.unsigned_abs()).map_or_else(String::new, |percent| format!("± {percent:.1} %"))
}

/// `task: GET /news, runtime: api`.
fn caption(group: &SiteGroup) -> String {
    let one = |(group, name): &(_, Option<String>)| format!("{group}: {}", name.as_deref().unwrap_or("none"));
    group.labels.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn sum(groups: &[SiteGroup]) -> Amount {
    let total = |of: fn(&Amount) -> i64| groups.iter().map(|group| of(&group.sum)).fold(0, i64::saturating_add);
    Amount { samples: total(|sum| sum.samples), objects: total(|sum| sum.objects), bytes: total(|sum| sum.bytes) }
}

/// The same as JSON, with all sites.
pub(crate) fn json(profile: &Profile, groups: &[SiteGroup]) -> serde_json::Result<String> {
    let one = |group: &SiteGroup| GroupJson {
        labels: group.labels.iter().map(|(group, name)| (group.as_str(), name.clone())).collect(),
        sum: group.sum.into(),
        sites: group
            .sites
            .iter()
            .map(|(site, amount)| SiteJson {
                function: site.function.clone(),
                place: site.place.clone(),
                amount: (*amount).into(),
            })
            .collect(),
    };
    serde_json::to_string_pretty(&HeapJson {
        schema: 1,
        kind: &profile.kind,
        program: &profile.program,
        pid: profile.pid,
        at_unix_ms: unix_ms(profile.started_at),
        sum: sum(groups).into(),
        lost: profile.quality.lost,
        notes: &profile.quality.notes,
        groups: groups.iter().map(one).collect(),
    })
}

#[derive(Serialize)]
struct HeapJson<'p> {
    /// Increases when the meaning of a field changes.
    schema: u32,
    kind: &'p str,
    program: &'p str,
    pid: u32,
    at_unix_ms: u64,
    sum: AmountJson,
    /// Samples that found no room.
    lost: u64,
    notes: &'p [String],
    groups: Vec<GroupJson>,
}

#[derive(Serialize)]
struct GroupJson {
    labels: std::collections::BTreeMap<&'static str, Option<String>>,
    sum: AmountJson,
    sites: Vec<SiteJson>,
}

#[derive(Serialize)]
struct SiteJson {
    function: String,
    place: Option<String>,
    #[serde(flatten)]
    amount: AmountJson,
}

#[derive(Serialize)]
struct AmountJson {
    bytes: i64,
    objects: i64,
    samples: i64,
    /// Half the width of the 95 % interval; null without samples.
    plus_minus_percent: Option<f64>,
}

impl From<Amount> for AmountJson {
    fn from(of: Amount) -> Self {
        let Amount { samples, objects, bytes } = of;
        Self { bytes, objects, samples, plus_minus_percent: uncertainty_percent(samples.unsigned_abs()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::group::Group;
    use crate::analysis::sites::Site;
    use crate::model::profile::{ProfileBuilder, ValueType};

    fn group(task: Option<&str>, sites: &[(&str, i64, i64)]) -> SiteGroup {
        let site = |(function, samples, bytes): &(&str, i64, i64)| {
            let site = Site { function: (*function).to_owned(), place: Some("src/cart.rs:8".to_owned()) };
            (site, Amount { samples: *samples, objects: 3, bytes: *bytes })
        };
        let sites: Vec<_> = sites.iter().map(site).collect();
        let total = |of: fn(&Amount) -> i64| sites.iter().map(|(_, amount)| of(amount)).sum();
        let sum = Amount { samples: total(|a| a.samples), objects: total(|a| a.objects), bytes: total(|a| a.bytes) };
        SiteGroup { labels: task.map(|task| (Group::Task, Some(task.to_owned()))).into_iter().collect(), sum, sites }
    }

    fn profile() -> Profile {
        let mut builder = ProfileBuilder::new("heap", vec![ValueType::new("inuse_space", Unit::Bytes)]);
        builder.program("shop").pid(7);
        builder.build()
    }

    #[test]
    fn each_row_has_its_uncertainty() {
        let all = [group(None, &[("shop::add", 100, 3 << 20), ("shop::\x1b[2Jlist", 1, 1 << 20), ("shop::b", 1, 5)])];
        let text = text(&profile(), &all, 2);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "shop: live memory: 4.0 MiB ± 19.4 %, 102 samples, process 7, 1970-01-01 00:00:00 UTC");
        assert_eq!(lines[2], "   3.0 MiB  ± 19.6 %  75.0 %           3  shop::add  src/cart.rs:8");
        assert!(lines[3].contains("± 196.0 %") && !text.contains('\x1b'), "{text}");
        assert_eq!(lines[4], "… and 1 more; -n shows more rows");
    }

    #[test]
    fn groups_have_their_sums_and_their_sites() {
        let all = [group(Some("buyer"), &[("shop::add", 100, 3 << 20)]), group(Some("seller"), &[("shop::add", 1, 8)])];
        let text = text(&profile(), &all, 1);
        assert!(text.contains("  task: buyer\n") && text.contains("    shop::add  src/cart.rs:8\n"), "{text}");
        assert!(text.ends_with("… and 1 group more; -n shows more\n"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&json(&profile(), &all).expect("it is JSON")).expect("read");
        assert_eq!((&json["groups"][1]["labels"]["task"], &json["sum"]["samples"]), (&"seller".into(), &101.into()));
        assert_eq!(json["groups"][0]["sites"][0]["bytes"], 3 << 20);
    }
}
