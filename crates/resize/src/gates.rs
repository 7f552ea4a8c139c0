//! Gates, checked at every call against the summary, whether or not the output already existed.

use ossify_contract::{Gate, ShardsSummary};
use ossify_settings::Context;

/// The gates that were not met.
pub(crate) fn unmet(context: &Context, summary: &ShardsSummary) -> Vec<Gate> {
    let settings = &context.settings.resize;
    let failed = summary.failed_images;
    let images = summary.images + failed;
    let groups = summary.leaks.groups as u64;
    let failed_share = failed as f64 / images.max(1) as f64;
    let mut gates = Vec::new();
    if context.strict && failed > 0 {
        gates.push(Gate {
            name: "--strict".into(),
            figure: failed as f64,
            limit: 0.0,
            message: format!(
                "{failed} images that the tables call readable did not become tensors"
            ),
        });
    }
    if failed_share > settings.max_failed_share {
        let limit = settings.max_failed_share;
        gates.push(Gate {
            name: "resize.max_failed_share".into(),
            figure: failed_share,
            limit,
            message: format!(
                "{failed} of {images} images did not become tensors, a share of \
                 {failed_share:.4}; the limit is {limit}"
            ),
        });
    }
    if groups > settings.max_leaks {
        let limit = settings.max_leaks;
        gates.push(Gate {
            name: "resize.max_leaks".into(),
            figure: groups as f64,
            limit: limit as f64,
            message: format!(
                "pictures in more than one split: {groups}; the limit is {limit}, and \
                 leaks.parquet names them"
            ),
        });
    }
    gates
}
