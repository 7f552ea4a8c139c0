//! Gates, checked at every call against the summary, whether or not the output already existed.

use ossify_contract::{Gate, RareClass, TablesSummary};
use ossify_diagnostics::printable;
use ossify_settings::{Context, RareClasses};

use crate::wording::{count, plural};

/// Number of rare classes that are reported as separate gates.
const MAX_NAMED_CLASSES: usize = 20;

/// The gates that were not met.
pub(crate) fn unmet(context: &Context, summary: &TablesSummary) -> Vec<Gate> {
    let mut gates = Vec::new();
    let settings = &context.settings.ingest;
    let figure = summary.quarantined_share;
    let limit = settings.max_quarantined_share;
    if figure > limit {
        let splits = || summary.ledger.values();
        let lines: u64 = splits().map(|split| split.lines).sum();
        let quarantined: u64 = splits().map(|split| split.quarantined).sum();
        gates.push(Gate {
            name: "ingest.max_quarantined_share".into(),
            figure,
            limit,
            message: format!(
                "{quarantined} of {lines} label lines were quarantined, a share of {figure:.4}; \
                 the limit is {limit}"
            ),
        });
    }
    for (rule, &limit) in &settings.max_findings {
        let found = summary.findings.by_rule.get(rule.as_str()).copied().unwrap_or(0);
        if found > limit {
            gates.push(Gate {
                name: format!("ingest.max_findings.{rule}"),
                figure: found as f64,
                limit: limit as f64,
                message: format!("{} of this rule; the limit is {limit}", count(found, "finding")),
            });
        }
    }
    if settings.rare_classes == RareClasses::Fail {
        gates.extend(rare_classes(context, &summary.classes.rare_kept));
    }
    let errors = summary.findings.errors;
    if context.strict && errors > 0 {
        gates.push(Gate {
            name: "--strict".into(),
            figure: errors as f64,
            limit: 0.0,
            message: format!(
                "{} in the labels and images; --strict allows 0",
                count(errors, "error")
            ),
        });
    }
    gates
}

fn rare_classes(context: &Context, rare: &[RareClass]) -> Vec<Gate> {
    let settings = &context.settings.ingest;
    let gate = |class: &RareClass| {
        let objects = u64::try_from(class.objects).unwrap_or(0);
        let images = u64::try_from(class.images).unwrap_or(0);
        let (key, figure, limit) = if objects < settings.min_objects_per_class {
            ("ingest.min_objects_per_class", objects, settings.min_objects_per_class)
        } else {
            ("ingest.min_images_per_class", images, settings.min_images_per_class)
        };
        Gate {
            name: key.into(),
            figure: figure as f64,
            limit: limit as f64,
            message: format!(
                "class {} `{}`: {}",
                class.class_id,
                printable(&class.class_name),
                printable(&class.reason)
            ),
        }
    };
    let mut gates: Vec<Gate> = rare.iter().take(MAX_NAMED_CLASSES).map(gate).collect();
    let more = rare.len().saturating_sub(MAX_NAMED_CLASSES) as u64;
    if more > 0 {
        gates.push(Gate {
            name: "ingest.rare_classes".into(),
            figure: rare.len() as f64,
            limit: 0.0,
            message: format!("{} more rare", plural(more, "class is", "classes are")),
        });
    }
    gates
}
