use std::fmt::Write as _;

use ossify_model::ModelConfig;
use ossify_model::summary::{LayerSummary, Part, layers};

use crate::optimise::phases::{Phase, Trained};

/// The layers of a network as a table for people: shapes, parameters, multiply-adds, and what each
/// phase trains.
pub fn table(config: &ModelConfig, phases: &[Phase]) -> String {
    let layers = layers(config);
    let grouped = |number: usize| ossify_page::count(number as u64);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:<38} {:>16} {:>14} {:>10} {:>10}  trained",
        "layer", "output", "parameters", "statistics", "MMAC"
    );
    let trained = |layer: &LayerSummary| {
        layer.parameters > 0
            && phases.last().is_some_and(|phase| is_trained(phase.trained, layer.part))
    };
    for layer in &layers {
        let output = layer.output.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
        let (parameters, statistics, mark) = (
            grouped(layer.parameters),
            grouped(layer.statistics),
            if trained(layer) { "yes" } else { "" },
        );
        let _ = writeln!(
            text,
            "{:<38} {output:>16} {parameters:>14} {statistics:>10} {:>10.2}  {mark}",
            layer.name,
            layer.multiply_adds as f64 / 1e6
        );
    }
    let sum = |of: &dyn Fn(&LayerSummary) -> usize| layers.iter().map(of).sum::<usize>();
    let total = sum(&|layer| layer.parameters);
    let multiply_adds: u64 = layers.iter().map(|layer| layer.multiply_adds).sum();
    let _ = writeln!(
        text,
        "\n{} parameters, {} statistics, {:.1} million multiply-adds an image",
        grouped(total),
        grouped(sum(&|layer| layer.statistics)),
        multiply_adds as f64 / 1e6
    );
    for phase in phases {
        let learns =
            sum(&|layer| if is_trained(phase.trained, layer.part) { layer.parameters } else { 0 });
        let last = phase.first_epoch + phase.epochs - 1;
        let _ = writeln!(
            text,
            "epochs {} to {last}: {} trainable, {} frozen",
            phase.first_epoch,
            grouped(learns),
            grouped(total - learns)
        );
    }
    text
}

fn is_trained(trained: Trained, part: Part) -> bool {
    match (trained, part) {
        (Trained::Head, Part::Pyramid) => true,
        (Trained::All, _) | (_, Part::Head) => true,
        (Trained::Head, _) | (Trained::FromBlock(_), Part::Stem) => false,
        (Trained::FromBlock(first), Part::Block(block)) => block >= first,
        (Trained::FromBlock(_), Part::Neck | Part::Pyramid) => true,
    }
}

#[cfg(test)]
mod tests {
    use ossify_model::HeadConfig;
    use ossify_vocabulary::{Architecture, Normalization};

    use super::*;

    #[test]
    fn densenet121_has_its_known_numbers_and_each_phase_its_own() {
        let config = ModelConfig {
            architecture: Architecture::DenseNet121,
            classes: 6,
            head: HeadConfig::Classifier { widths: vec![], dropout: 0.5 },
            input_px: 224,
            normalization: Normalization::ImageNet,
        };
        let phase =
            |first_epoch, trained| Phase { first_epoch, epochs: 5, trained, learning_rate: 1e-3 };
        let text = table(
            &config,
            &[phase(1, Trained::Head), phase(6, Trained::FromBlock(4)), phase(11, Trained::All)],
        );
        // 6,953,856 in the backbone, 10 outputs of 1,024 features and their biases.
        assert!(text.contains("6,964,106 parameters"), "{text}");
        assert!(text.contains("epochs 1 to 5: 10,250 trainable, 6,953,856 frozen"), "{text}");
        assert!(text.contains("epochs 11 to 15: 6,964,106 trainable, 0 frozen"), "{text}");
        let blocks: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("features.denseblock4.denselayer16 "))
            .collect();
        assert!(
            blocks.len() == 1 && blocks[0].contains("1024x7x7") && blocks[0].ends_with("yes"),
            "{blocks:?}"
        );
    }
}
