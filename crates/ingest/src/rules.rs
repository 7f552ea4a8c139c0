//! The rules that ingest checks, with their documentation.

use ossify_diagnostics::{Action, Finding, Location, Severity};
use ossify_settings::{RuleLevel, RuleLevels, RulePolicy};

/// The documentation of a rule, in parts.
#[derive(Clone, Copy, Debug)]
pub struct RulePage {
    /// Name in kebab case, as in `issues.parquet`.
    pub name: &'static str,
    /// Severity of its findings.
    pub severity: Severity,
    /// What is done with the line or the file.
    pub action: Action,
    /// What is done with the line if `[ingest.rules]` overrides the default action.
    pub otherwise: Action,
    /// When the rule applies, as a clause that follows "when".
    pub when: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// What is done with the input.
    pub then: &'static str,
    /// How to fix the input.
    pub fix: &'static str,
    /// An example line that breaks the rule; empty if the rule is not about a line.
    pub example: &'static str,
}

macro_rules! rules {
    ($($variant:ident = $name:literal, $severity:ident, $action:ident $(or $otherwise:ident)? {
        when: $when:literal, why: $why:literal, then: $then:literal, fix: $fix:literal,
        example: $example:literal,
    })*) => {
        /// A rule of ingest.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule { $(#[doc = $when] $variant,)* }

        impl Rule {
            /// All rules, in the order of their documentation.
            pub const ALL: &'static [Rule] = &[$(Rule::$variant),*];

            /// The rule's documentation.
            pub fn page(self) -> &'static RulePage {
                match self {
                    $(Rule::$variant => &RulePage {
                        name: $name,
                        severity: Severity::$severity,
                        action: Action::$action,
                        otherwise: [$(Action::$otherwise,)? Action::$action][0],
                        when: $when,
                        why: $why,
                        then: $then,
                        fix: $fix,
                        example: $example,
                    },)*
                }
            }
        }
    };
}

rules! {
    NotUtf8 = "not-utf8", Error, Dropped {
        when: "a label file is not UTF-8",
        why: "Its characters are unknown, and so are its numbers. Usual causes: a file \
            saved as UTF-16 by an editor, a damaged disk, or another kind of file under a .txt \
            name.",
        then: "All its lines are quarantined and its image is unlabelled, because the labels are \
            unknown. The finding points at the first byte that does not fit.",
        fix: "Save the file as UTF-8, for example with `iconv -f UTF-16 -t UTF-8`, or export the \
            labels again.",
        example: "",
    }
    ByteOrderMark = "byte-order-mark", Note, Kept {
        when: "a label file begins with a UTF-8 byte order mark",
        why: "Readers that do not know the mark take it as part of the first class id and lose \
            the first line.",
        then: "The mark is skipped; the file is read as if it were not there. Columns count from \
            behind it.",
        fix: "Nothing need be done here; for other tools, save the file as UTF-8 without BOM.",
        example: "",
    }
    ClassNotInteger = "class-not-integer", Error, Dropped {
        when: "the first value of a line is not a non-negative integer",
        why: "It is the class id. A name, a negative number or a fraction there means that the \
            file was written in another format, or that columns have shifted.",
        then: "The line is dropped. A whole number written as a fraction (`4.0`) is read as the \
            integer, kept, and noted.",
        fix: "Write `class x y w h` or `class x1 y1 x2 y2 ...` with the class as its position in \
            the list of names, counted from 0.",
        example: "wrist 0.5 0.5 0.2 0.1",
    }
    ClassUnknown = "class-unknown", Error, Dropped {
        when: "a class id is not in the dataset's list of classes",
        why: "The class is undefined. Often ids were counted from 1, or the labels come \
            from another project.",
        then: "The line is dropped.",
        fix: "Correct the id, or add the class to `names` in data.yaml (or to \
            `dataset.class_names` in the conf).",
        example: "12 0.5 0.5 0.2 0.1",
    }
    CoordinateNotANumber = "coordinate-not-a-number", Error, Dropped {
        when: "a coordinate is not a finite number",
        why: "Text, NaN and infinities are not coordinates. A single NaN that reaches the \
            loss ends a training run.",
        then: "The line is dropped.",
        fix: "Write decimal fractions with a point: `0.5`, not `0,5`. NaN usually comes from a \
            division by a size of zero in an export script.",
        example: "0 0.5 nan 0.2 0.1",
    }
    CoordinateCount = "coordinate-count", Error, Dropped {
        when: "a line has neither 4 coordinates (a box) nor an even number of at least 6 (a \
            polygon)",
        why: "It is unclear which number is what. Five numbers are typical of a detector's \
            output, where a confidence follows the box: those are predictions, not labels.",
        then: "The line is dropped; nothing is guessed.",
        fix: "Remove the confidence column, or restore the coordinate that is missing.",
        example: "0 0.5 0.5 0.2 0.1 0.87",
    }
    PolygonTooFewVertices = "polygon-too-few-vertices", Error, Dropped or Kept {
        when: "a polygon has fewer vertices than `ingest.min_polygon_vertices`",
        why: "A triangle around an organic shape is mostly a slip of the mouse or an outline cut \
            short.",
        then: "The line is dropped.",
        fix: "Draw the object again, or lower `ingest.min_polygon_vertices` (at least 3).",
        example: "0 0.1 0.1 0.2 0.1 0.2 0.2",
    }
    CoordinateOutOfRange = "coordinate-out-of-range", Error, Dropped or Repaired {
        when: "a coordinate lies outside 0..1 by more than `ingest.tolerance`",
        why: "Coordinates are shares of the image's width and height. A vertex far outside is \
            wrong even where the box around the polygon looks sound, so each vertex is checked.",
        then: "The line is dropped. At a level that keeps it, the coordinate is moved to the edge.",
        fix: "If these are pixels, divide x by the image's width and y by its height. If the \
            object reaches past the edge, clip it in the labelling tool.",
        example: "0 310.5 208.0 64.0 48.0",
    }
    CoordinateClamped = "coordinate-clamped", Warning, Repaired {
        when: "a coordinate lies outside 0..1 by no more than `ingest.tolerance`",
        why: "Exporters overshoot the image's edge by rounding or by a pixel; the object is still \
            valid.",
        then: "The coordinate is moved to the edge and the object is kept, with `repaired` set.",
        fix: "Nothing need be done. `ingest.tolerance = 0` makes it an error.",
        example: "0 1.004 0.5 0.02 0.1",
    }
    BoxClipped = "box-clipped", Warning, Repaired {
        when: "a box's centre is inside the image and an edge is past it",
        why: "The part outside shows nothing. Left as it is, the box would overlap every \
            prediction too little.",
        then: "The box is cut at the image's edge and kept, with `repaired` set.",
        fix: "Nothing need be done; clip boxes in the labelling tool to silence it.",
        example: "0 0.95 0.5 0.2 0.1",
    }
    ZeroArea = "zero-area", Error, Dropped {
        when: "a box has a width or height of zero or less, or a polygon's vertices lie on one \
            line",
        why: "It covers nothing, so no prediction can match it. It is usually a click without a \
            drag.",
        then: "The line is dropped.",
        fix: "Draw the object again, or delete the line.",
        example: "0 0.5 0.5 0 0.1",
    }
    SelfIntersecting = "self-intersecting", Warning, Kept {
        when: "edges of a polygon cross by more than 1/500 of a side",
        why: "Inside and outside are unclear, and the area is not that of the visible shape. The \
            box around it is sound.",
        then: "The object is kept as it is.",
        fix: "Put the vertices in order around the outline.",
        example: "0 0.1 0.1 0.4 0.4 0.4 0.1 0.1 0.4",
    }
    DuplicateLabel = "duplicate-label", Warning, Dropped or Kept {
        when: "a line has the class and the geometry of an earlier line of its file",
        why: "The object would count twice in training and, in scores, as one that was missed. \
            The same box around another polygon is not a duplicate.",
        then: "The later line is dropped.",
        fix: "Delete one of the two lines; check whether an export was run twice.",
        example: "",
    }
    MixedShapes = "mixed-shapes", Note, Kept {
        when: "a label file has boxes and polygons",
        why: "Some tools then read the boxes as polygons of two vertices and get a wrong box \
            without a warning.",
        then: "Each line is read as what it is and kept.",
        fix: "Nothing need be done here; for other tools, export one kind.",
        example: "",
    }
    ImageMissing = "image-missing", Error, Dropped {
        when: "a label file has no image, or a list names an image that is not there",
        why: "Labels without a picture are lost work: an image was renamed, left out of a copy, \
            or has an extension that nobody expects.",
        then: "The label file's lines are quarantined.",
        fix: "Restore the image under the label file's name, or delete the label file.",
        example: "",
    }
    LabelMissing = "label-missing", Warning, Kept {
        when: "an image has no label file",
        why: "It is unclear whether there is nothing to find on it or nobody looked. Taken as \
            background, unlabelled images teach a model to miss.",
        then: "The image's status is `unlabelled`: kept in the table, left out of training and \
            scores. With `dataset.missing_labels = \"background\"` it is background, and nothing \
            is said.",
        fix: "Add an empty label file for an image with nothing to find, or set \
            `dataset.missing_labels`.",
        example: "",
    }
    ImageUnreadable = "image-unreadable", Error, Kept {
        when: "an image's header does not parse, its format is not supported, or its file is cut \
            short",
        why: "It cannot be decoded, or only in part. Half a picture with whole labels trains on \
            grey.",
        then: "The image's status is `unreadable`. Its objects stay in the table and are left out \
            of training. The file is never touched.",
        fix: "Copy or export the image again; convert unsupported formats to PNG or JPEG.",
        example: "",
    }
    ImageTooSmall = "image-too-small", Error, Kept {
        when: "a side of an image is shorter than `ingest.min_side_px`",
        why: "A picture of a few pixels is a placeholder or a thumbnail.",
        then: "As with `image-unreadable`: kept in the tables with status `unreadable`, left out \
            of training. At a level that keeps it, it is used like any other image.",
        fix: "Restore the original, or lower `ingest.min_side_px`.",
        example: "",
    }
    StemCollision = "stem-collision", Error, Dropped {
        when: "two images of one split have the same path up to the extension",
        why: "They share one label file, and it is unclear whose it is.",
        then: "Both images are unlabelled, and the lines of the label file that they share are \
            quarantined.",
        fix: "Rename one image and give each its own label file.",
        example: "",
    }
    PathEscapesDataset = "path-escapes-dataset", Error, Dropped {
        when: "a path in data.yaml or a symbolic link leads outside the dataset's folder",
        why: "A dataset from elsewhere could pull any file of this machine into tables and \
            reports, and a copy of the dataset would not be complete.",
        then: "A path in data.yaml ends the run. A linked file or folder is not read; a linked \
            image is listed as unreadable.",
        fix: "Copy the files into the dataset, or allow it with `dataset.follow_links = true`.",
        example: "",
    }
    ClassRare = "class-rare", Warning, Kept {
        when: "a class has fewer objects in train than `ingest.min_objects_per_class`, or is in \
            fewer images than `ingest.min_images_per_class`",
        why: "A class with a handful of examples cannot be learned, and its score is noise.",
        then: "The class is filtered from all splits: its objects stay in the table with a null \
            `class_index`; the remaining classes are renumbered from 0 in order of their ids. \
            Where `[ingest.merge_rare_into]` names another class for it, its objects get that \
            class's index. With `ingest.rare_classes = \"keep\"` it is trained, with \"fail\" the \
            run also ends with exit code 3.",
        fix: "Label more examples, lower the limit, or merge the class into one that it resembles.",
        example: "",
    }
}

/// Severity and action of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Severity.
    pub severity: Severity,
    /// What is done with the line.
    pub action: Action,
}

/// The verdict of each rule according to `[ingest.rules]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleBook {
    verdicts: Vec<Option<Verdict>>,
}

impl Default for RuleBook {
    fn default() -> Self {
        RuleBook::new(&RuleLevels::default())
    }
}

impl RuleBook {
    /// The verdicts for these levels.
    pub fn new(levels: &RuleLevels) -> Self {
        let verdict = |rule: &Rule| {
            let severity = match levels.level(rule.name()) {
                RuleLevel::Off => return None,
                RuleLevel::Note | RuleLevel::NoteAndDrop => Severity::Note,
                RuleLevel::Warn | RuleLevel::WarnAndDrop => Severity::Warning,
                RuleLevel::Error | RuleLevel::ErrorAndKeep => Severity::Error,
            };
            let page = rule.page();
            let drops = matches!(
                levels.level(rule.name()),
                RuleLevel::Error | RuleLevel::NoteAndDrop | RuleLevel::WarnAndDrop
            );
            let action = match (rule.policy(), drops) {
                (RulePolicy::FullyConfigurable, true) => Action::Dropped,
                (RulePolicy::FullyConfigurable, false) => page.otherwise,
                _ => page.action,
            };
            Some(Verdict { severity, action })
        };
        RuleBook { verdicts: Rule::ALL.iter().map(verdict).collect() }
    }

    /// The verdict of a rule; `None` if it is off.
    pub fn verdict(&self, rule: Rule) -> Option<Verdict> {
        self.verdicts.get(rule as usize).copied().flatten()
    }

    /// Whether the rule is on.
    pub fn is_on(&self, rule: Rule) -> bool {
        self.verdict(rule).is_some()
    }

    /// Whether the rule drops what it finds.
    pub fn drops(&self, rule: Rule) -> bool {
        self.verdict(rule).is_some_and(|verdict| verdict.action == Action::Dropped)
    }

    /// A finding of the rule; `None` if it is off.
    pub fn finding(
        &self,
        rule: Rule,
        location: Location,
        message: impl Into<String>,
    ) -> Option<Finding> {
        self.verdict(rule).map(|verdict| {
            Finding::new(rule.name(), verdict.severity, verdict.action, location, message)
        })
    }
}

impl Rule {
    /// Which levels `[ingest.rules]` may set.
    pub fn policy(self) -> RulePolicy {
        RuleLevels::policy(self.name()).unwrap_or(RulePolicy::AlwaysReported)
    }

    /// Name in kebab case.
    pub fn name(self) -> &'static str {
        self.page().name
    }

    /// The rule with this name.
    pub fn named(name: &str) -> Option<Rule> {
        Rule::ALL.iter().copied().find(|rule| rule.name() == name)
    }

    /// The rule whose name is most similar to `name`, if any is similar enough.
    pub fn nearest(name: &str) -> Option<Rule> {
        ossify_settings::nearest(name, Rule::ALL.iter().map(|rule| rule.name()))
            .and_then(Rule::named)
    }
}

/// The list of all rules, for `explain` without a rule.
pub fn list() -> String {
    let width = Rule::ALL.iter().map(|rule| rule.name().len()).max().unwrap_or(0);
    let mut text =
        String::from("Rules of ossify-ingest; `ossify-ingest explain RULE` explains one.\n\n");
    for rule in Rule::ALL {
        let page = rule.page();
        text.push_str(&format!(
            "  {:width$}  {:7}  {:8}  {}\n",
            page.name,
            page.severity.as_str(),
            page.action.as_str(),
            page.when
        ));
    }
    text
}

/// A rule's page as text of lines of at most 88 characters.
pub fn explain(rule: Rule) -> String {
    let page = rule.page();
    let mut text =
        format!("{} ({}; {})\n", page.name, page.severity.as_str(), page.action.as_str());
    let when = format!("Found when {}.", page.when);
    for (title, body) in
        [("What", when.as_str()), ("Why", page.why), ("Then", page.then), ("Fix", page.fix)]
    {
        text.push_str(&format!("\n{title}\n{}", wrapped(body)));
    }
    let words: Vec<&str> = rule.policy().levels().iter().map(|level| level.as_str()).collect();
    let level = RuleLevels::default().level(page.name).as_str();
    text.push_str(&format!(
        "\nLevel\n{}",
        wrapped(&format!(
            "[ingest.rules] {} = \"{level}\" by default; it may be {}.",
            page.name,
            words.join(", ")
        ))
    ));
    if !page.example.is_empty() {
        text.push_str(&format!("\nExample\n    {}\n", page.example));
    }
    text
}

fn wrapped(body: &str) -> String {
    let mut text = String::new();
    let mut column = 0;
    for word in body.split(' ') {
        let width = word.chars().count();
        if column == 0 || column + 1 + width > 88 {
            text.push_str(if column == 0 { "    " } else { "\n    " });
            column = 4 + width;
        } else {
            text.push(' ');
            column += 1 + width;
        }
        text.push_str(word);
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_in_kebab_case() {
        let mut names: Vec<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        assert!(names.iter().all(|name| {
            name.chars().all(|c| c.is_ascii_lowercase() || c == '-' || c.is_ascii_digit())
        }));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Rule::ALL.len());
    }

    #[test]
    fn a_misspelt_rule_finds_its_neighbour() {
        assert_eq!(Rule::nearest("coordinate-out-of-rang"), Some(Rule::CoordinateOutOfRange));
        assert_eq!(Rule::nearest("zzz"), None);
    }

    #[test]
    fn the_settings_know_the_same_rules_and_their_levels_say_what_the_pages_say() {
        assert_eq!(
            RuleLevels::names(),
            Rule::ALL.iter().map(|rule| rule.name()).collect::<Vec<_>>()
        );
        let book = RuleBook::default();
        for rule in Rule::ALL {
            let page = rule.page();
            let expected = Verdict { severity: page.severity, action: page.action };
            // Images that are left out of training stay in the tables.
            let left_out = Verdict { action: Action::Dropped, ..expected };
            assert_eq!(
                book.verdict(*rule),
                Some(if *rule == Rule::ImageTooSmall { left_out } else { expected }),
                "{}",
                page.name
            );
        }
    }

    #[test]
    fn a_level_settles_severity_and_action() {
        let levels = |text: &str| -> RuleLevels {
            let entries: std::collections::BTreeMap<String, String> = text
                .split(' ')
                .filter_map(|entry| entry.split_once('='))
                .map(|(a, b)| (a.into(), b.into()))
                .collect();
            toml::Value::try_from(entries).unwrap().try_into().unwrap()
        };
        let verdict = |level: &str, rule: Rule| {
            RuleBook::new(&levels(&format!("{}={level}", rule.name())))
                .verdict(rule)
                .map(|v| (v.severity, v.action))
        };
        assert_eq!(verdict("off", Rule::BoxClipped), None);
        assert_eq!(verdict("error", Rule::BoxClipped), Some((Severity::Error, Action::Dropped)));
        assert_eq!(
            verdict("error+keep", Rule::BoxClipped),
            Some((Severity::Error, Action::Repaired))
        );
        assert_eq!(verdict("note", Rule::DuplicateLabel), Some((Severity::Note, Action::Kept)));
        assert_eq!(
            verdict("warn", Rule::CoordinateOutOfRange),
            Some((Severity::Warning, Action::Repaired))
        );
        assert_eq!(verdict("note", Rule::ClassUnknown), Some((Severity::Note, Action::Dropped)));
        assert_eq!(verdict("error", Rule::LabelMissing), Some((Severity::Error, Action::Kept)));
    }

    #[test]
    fn pages_keep_to_their_width() {
        for rule in Rule::ALL {
            assert!(
                explain(*rule).lines().all(|line| line.chars().count() <= 88),
                "{}",
                explain(*rule)
            );
        }
    }
}
