use anyhow::{Context as _, Result};
use ossify_contract::{ClassMap, Split};
use ossify_model::{ModelConfig, device, on_device};
use ossify_settings::{Context, Outcome, StageError};
use ossify_vocabulary::Precision;
use serde_json::json;

use crate::data::augment::Augmentation;
use crate::data::batches::Source;
use crate::data::input::InputMaker;
use crate::data::samples::{SampleUnit, SplitSamples};
use crate::optimise::phases::phases;
use crate::run::inputs::inputs;
use crate::run::setup::check_input_size;
use crate::watch::layer_table;
use crate::watch::preview::write_contact_sheet;

/// `--summary`: the layers, with as many classes as the tables have.
///
/// # Errors
/// Fails where the tables cannot be read.
pub fn print_layers(context: &Context, config: &ModelConfig) -> Result<Outcome> {
    let classes = ClassMap::read(context.out.tables().join("classes.parquet"))?.kept_names().len();
    let config = ModelConfig { classes, ..config.clone() };
    let table = layer_table::table(&config, &phases(&context.settings.train));
    context.reporter.say(table.trim_end());
    let layers = ossify_model::summary::layers(&config);
    let parameters: usize = layers.iter().map(|layer| layer.parameters).sum();
    let multiply_adds: u64 = layers.iter().map(|layer| layer.multiply_adds).sum();
    Ok(Outcome::done(
        json!({ "layers": layers.len(), "parameters": parameters, "multiply_adds": multiply_adds }),
    ))
}

/// `--preview`: what training would see.
///
/// # Errors
/// Fails where tables or shards cannot be read or are too small, and where the device or the disk
/// fails.
pub fn draw_preview(context: &Context, config: &ModelConfig) -> Result<Outcome, StageError> {
    let settings = &context.settings.train;
    let [tables, shards, issues] = inputs(context)?;
    tables.verify()?;
    issues.verify()?;
    let unit = SampleUnit::of(settings);
    let train = SplitSamples::read(tables.folder(), &shards, Split::Train, unit)?;
    let shape = train.shards.shape().context("the train split has no image")?;
    check_input_size(settings, shape)?;
    let device = device::choose(settings.device).map_err(anyhow::Error::from)?;
    device.prepare(context.threads(), Precision::Float32, false).map_err(anyhow::Error::from)?;
    let augmentation = Augmentation::new(settings, context.seed());
    let source = Source {
        samples: &train,
        features: None,
        augmentation: augmentation.is_on().then_some(augmentation),
        workers: 1,
    };
    let path = context.out.root().join("preview.png");
    on_device("train.model.input_px", || {
        let input = InputMaker::new(
            shape,
            config.input_px,
            config.normalization,
            augmentation,
            device.inference(),
        );
        write_contact_sheet(&path, &source, &input)
    })?;
    context.reporter.say(format_args!(
        "samples as they are (left) and as each of the first epochs sees them: {}",
        path.display()
    ));
    Ok(Outcome::done(json!({ "preview": path })))
}
