//! Memory by the code that allocates it: the innermost function of the user on each stack.

use std::collections::HashMap;

use super::group::Group;
use crate::model::profile::{Labels, Profile, ProfileFrame, Sample, Unit};
use crate::model::stack::Origin;

/// Sums of samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    /// 0 in profiles that do not count them.
    pub(crate) samples: i64,
    /// 0 in profiles that do not count them.
    pub(crate) objects: i64,
    pub(crate) bytes: i64,
}

impl Amount {
    fn add(&mut self, other: Self) {
        self.samples = self.samples.saturating_add(other.samples);
        self.objects = self.objects.saturating_add(other.objects);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Code that allocates.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Site {
    pub(crate) function: String,
    /// `src/api.rs:12`, as far as it is known.
    pub(crate) place: Option<String>,
}

/// Labels with the names that a table shows.
pub(crate) type GroupNames = Vec<(Group, Option<String>)>;

/// The sites of samples with equal labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SiteGroup {
    /// The labels by which was grouped, in their order; none for all samples.
    pub(crate) labels: GroupNames,
    pub(crate) sum: Amount,
    /// Most bytes first.
    pub(crate) sites: Vec<(Site, Amount)>,
}

/// The sites of a profile of memory, in one group or in one for each set of labels. Most bytes come first. `None` if the
/// profile has other values than bytes.
pub(crate) fn of(profile: &Profile, groups: &[Group]) -> Option<Vec<SiteGroup>> {
    let drawn = profile.drawn_value().filter(|value| value.unit == Unit::Bytes)?;
    let objects = profile.value_named(&drawn.name.replace("_space", "_objects"));
    let value = |sample: &Sample, position: Option<usize>| {
        position.and_then(|position| sample.values.get(position)).copied().unwrap_or_default()
    };
    let mut sites: HashMap<u32, Site> = HashMap::new();
    let mut sums: HashMap<GroupNames, HashMap<Site, Amount>> = HashMap::new();
    let none = Labels::default();
    for sample in &profile.samples {
        let site = sites.entry(sample.stack).or_insert_with(|| site(profile.frames_of(sample))).clone();
        let labels = profile.labels_of(sample).unwrap_or(&none);
        let labels = groups.iter().map(|group| (*group, group.name(labels).map(str::to_owned))).collect();
        sums.entry(labels).or_default().entry(site).or_default().add(Amount {
            samples: value(sample, profile.counted()),
            objects: value(sample, objects.filter(|objects| *objects != profile.drawn)),
            bytes: value(sample, Some(profile.drawn)),
        });
    }
    let mut all: Vec<SiteGroup> = sums
        .into_iter()
        .map(|(labels, sites)| {
            let mut sites: Vec<_> = sites.into_iter().collect();
            sites.sort_by(|a, b| b.1.bytes.cmp(&a.1.bytes).then_with(|| a.0.cmp(&b.0)));
            let mut sum = Amount::default();
            sites.iter().for_each(|(_, amount)| sum.add(*amount));
            SiteGroup { labels, sum, sites }
        })
        .collect();
    let names = |group: &SiteGroup| group.labels.iter().map(|(_, name)| name.clone()).collect::<Vec<_>>();
    all.sort_by(|a, b| b.sum.bytes.cmp(&a.sum.bytes).then_with(|| names(a).cmp(&names(b))));
    Some(all)
}

/// The innermost frame of the user's code, or the innermost frame.
fn site<'f>(mut frames: impl Iterator<Item = &'f ProfileFrame> + Clone) -> Site {
    let of_user = frames.clone().find(|frame| frame.frame.origin == Origin::User);
    match of_user.or_else(|| frames.next()) {
        Some(frame) => Site { function: frame.frame.function.to_string(), place: frame.frame.location() },
        None => Site { function: "(no stack)".to_owned(), place: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::{ProfileBuilder, ValueType};
    use crate::model::stack::Frame;

    /// A stack of names, innermost first, with the origin of each; the task's name, objects and bytes.
    type Row<'r> = (&'r [(&'r str, Origin)], Option<&'r str>, i64, i64);

    fn profile(samples: &[Row<'_>]) -> Profile {
        let values = vec![
            ValueType::new("samples", Unit::Count),
            ValueType::new("inuse_objects", Unit::Count),
            ValueType::new("inuse_space", Unit::Bytes),
        ];
        let mut builder = ProfileBuilder::new("heap", values);
        for (stack, task, objects, bytes) in samples {
            let frames: Vec<u32> = stack
                .iter()
                .map(|(name, origin)| builder.frame(ProfileFrame::of(Frame::new(*name, *origin))))
                .collect();
            let stack = builder.stack(&frames);
            let labels = builder.labels(Labels { task_name: task.map(Into::into), ..Labels::default() });
            builder.add(Sample::new(None, stack, labels, [1, *objects, *bytes, 0]));
        }
        builder.build()
    }

    #[test]
    fn memory_belongs_to_the_innermost_function_of_the_user() {
        let (add, main) = (("shop::add", Origin::User), ("shop::main", Origin::User));
        let json = ("serde_json::from_slice", Origin::Dependency);
        let profile = profile(&[
            (&[json, add, main], Some("buyer"), 2, 100),
            (&[add, main], None, 1, 30),
            (&[json], None, 3, 500),
            (&[], Some("buyer"), 1, 7),
        ]);
        let all = of(&profile, &[]).expect("it has bytes");
        let rows = |group: &SiteGroup| {
            let row = |(site, amount): &(Site, Amount)| (site.function.clone(), amount.objects, amount.bytes);
            group.sites.iter().map(row).collect::<Vec<_>>()
        };
        let expected = [("serde_json::from_slice", 3, 500), ("shop::add", 3, 130), ("(no stack)", 1, 7)];
        let expected = expected.map(|(function, objects, bytes)| (function.to_owned(), objects, bytes));
        assert_eq!((all.len(), rows(&all[0]), all[0].sum.samples), (1, expected.to_vec(), 4));
        let by_task = of(&profile, &[Group::Task]).expect("it has bytes");
        let sums: Vec<_> = by_task.iter().map(|group| (group.labels[0].1.as_deref(), group.sum.bytes)).collect();
        assert_eq!(sums, [(None, 530), (Some("buyer"), 107)]);
        assert_eq!(rows(&by_task[1])[0], ("shop::add".to_owned(), 2, 100));
    }

    #[test]
    fn a_profile_of_time_has_no_sites() {
        let values = vec![ValueType::new("cpu", Unit::Nanoseconds)];
        assert_eq!(of(&ProfileBuilder::new("cpu", values).build(), &[]), None);
    }
}
