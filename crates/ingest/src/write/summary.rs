//! Summarises a run: for the manifest, and for people.

use std::path::Path;

use ossify_contract::{
    ClassRow, ClassesSummary, FilteredClass, FindingsSummary, MergedClass, RareClass, Split,
    TablesSummary,
};
use ossify_diagnostics::printable;
use ossify_settings::Reporter;

use super::classes::NumberedClasses;
use super::tally::Tally;
use crate::find::layout::Layout;
use crate::wording::{count, plural};

/// Number of filtered or merged classes that are listed.
const MAX_SHOWN_CLASSES: usize = 20;

/// The dataset's name, which is that of its folder.
pub(crate) fn dataset_name(layout: &Layout) -> String {
    layout
        .canonical_root
        .file_name()
        .map_or_else(|| "dataset".into(), |name| name.to_string_lossy().into_owned())
}

/// The summary for the manifest.
pub(crate) fn of_tables(
    layout: &Layout,
    tally: &Tally,
    numbered: &NumberedClasses,
) -> TablesSummary {
    let [notes, warnings, errors] = tally.severities;
    let by_rule = tally.rules.iter().map(|(name, rule)| (name.clone(), rule.count)).collect();
    TablesSummary {
        dataset: dataset_name(layout),
        splits: tally.splits.clone(),
        ledger: tally.ledger.clone(),
        quarantined_share: tally.quarantined_share(),
        repaired_objects: tally.repaired,
        classes: of_classes(numbered),
        findings: FindingsSummary { errors, warnings, notes, by_rule },
        remarks: layout.remarks.clone(),
    }
}

fn of_classes(numbered: &NumberedClasses) -> ClassesSummary {
    let mut summary =
        ClassesSummary { total: numbered.rows.len() as u64, ..ClassesSummary::default() };
    for class in &numbered.rows {
        let (class_id, class_name) = (class.class_id, class.class_name.clone());
        let reason = class.reason.clone();
        if class.kept {
            summary.kept += 1;
            if let Some(reason) = numbered.rare.get(&class_id) {
                summary.rare_kept.push(RareClass {
                    class_id,
                    class_name,
                    objects: class.train_objects,
                    images: class.train_images,
                    reason: reason.clone(),
                });
            }
        } else if class.class_index.is_some() {
            let class_index = class.class_index;
            summary.merged.push(MergedClass { class_id, class_name, class_index, reason });
        } else {
            summary.filtered.push(FilteredClass { class_id, class_name, reason });
        }
    }
    summary
}

/// Prints the summary for people.
pub(crate) fn say(
    reporter: &Reporter,
    layout: &Layout,
    tally: &Tally,
    classes: &[ClassRow],
    tables: &Path,
) {
    let (total, ledger) = tally.total();
    reporter.say(format_args!(
        "{}: {} in {}",
        printable(&dataset_name(layout)),
        count(total.images, "image"),
        plural(tally.splits.len() as u64, "split", "splits")
    ));
    say_splits(reporter, tally);
    say_classes(reporter, classes);
    if ledger.rare_filtered > 0 {
        reporter.say(format_args!(
            "  {} of filtered classes stay in objects.parquet without a class_index",
            count(ledger.rare_filtered, "object")
        ));
    }
    let [notes, warnings, errors] = tally.severities;
    if notes + warnings + errors > 0 {
        reporter.say(format_args!(
            "findings: {}, {}, {}",
            count(errors, "error"),
            count(warnings, "warning"),
            count(notes, "note")
        ));
        for (name, rule) in &tally.rules {
            reporter.say(format_args!("  {name}: {}", rule.count));
        }
    } else {
        reporter.say("findings: none");
    }
    if tally.repaired > 0 {
        reporter.say(format_args!("{} repaired", count(tally.repaired, "object")));
    }
    if total.ignored_files > 0 {
        reporter.detail(format_args!(
            "{} neither images nor labels were skipped",
            plural(total.ignored_files, "file that is", "files that are")
        ));
    }
    reporter.say(format_args!("tables: {} (look at ingest.html)", tables.display()));
}

fn say_splits(reporter: &Reporter, tally: &Tally) {
    reporter.say(
        "  split    images  labelled  background  unlabelled  unreadable    lines  \
        objects  quarantined",
    );
    for split in Split::ALL {
        let (Some(counts), Some(ledger)) = (tally.splits.get(&split), tally.ledger.get(&split))
        else {
            continue;
        };
        reporter.say(format_args!(
            "  {split:6} {:8}  {:8}  {:10}  {:10}  {:10}  {:7}  {:7}  {:11}",
            counts.images,
            counts.labelled,
            counts.background,
            counts.unlabelled,
            counts.unreadable,
            ledger.lines,
            counts.objects,
            ledger.quarantined
        ));
    }
}

fn say_classes(reporter: &Reporter, classes: &[ClassRow]) {
    let kept = classes.iter().filter(|class| class.kept).count() as u64;
    let fate = match classes.iter().any(|class| !class.kept && class.class_index.is_some()) {
        _ if kept == classes.len() as u64 => "",
        true => ", filtered or merged:",
        false => ", filtered:",
    };
    reporter.say(format_args!("{} kept{fate}", plural(kept, "class", "classes")));
    let others = classes.iter().filter(|class| !class.kept);
    for class in others.clone().take(MAX_SHOWN_CLASSES) {
        let reason = class.reason.as_deref().unwrap_or_default();
        reporter.say(format_args!(
            "  {} {}: {reason}",
            class.class_id,
            printable(&class.class_name)
        ));
    }
    let more = others.count().saturating_sub(MAX_SHOWN_CLASSES);
    if more > 0 {
        reporter.say(format_args!("  and {more} more; classes.parquet has all"));
    }
}
