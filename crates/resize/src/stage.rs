//! What all modes of the stage have in common.

use std::time::Instant;

use anyhow::anyhow;
use ossify_contract::{
    Inputs, LeakCounts, Manifest, PinnedFile, Publication, ShardsSummary, Summary as _,
};
use ossify_settings::{Context, Outcome, StageError};

use crate::clock::Clock;
use crate::gates;
use crate::names::{IMAGES, STAGE};
use crate::plan::Plan;
use crate::shard_record::Store;
use crate::summary::show;
use crate::tables::write_tables;
use crate::tensor::Recipe;
use crate::write::{ImageSource, write_shards};

/// The plan and the recipe, with everything needed to make and publish shards.
pub(crate) struct Stage<'a> {
    pub(crate) context: &'a Context,
    /// What is read of the tables.
    tables: Inputs,
    pub(crate) plan: Plan,
    pub(crate) recipe: Recipe,
    /// Hash of the configuration and of the table of images.
    pub(crate) configuration: String,
    pub(crate) clock: Clock<'a>,
}

/// The output as a way to run the stage finds it.
pub(crate) enum Begun {
    /// There already.
    Current(Outcome),
    /// Locked, to be made.
    Publication(Publication),
}

impl<'a> Stage<'a> {
    pub(crate) fn plan(context: &'a Context) -> Result<Self, StageError> {
        let settings = &context.settings.resize;
        let tables = context.out.tables();
        let tables_manifest = Manifest::require(&tables, "run ossify-ingest first")?;
        let tables = Inputs::declare(tables, &tables_manifest, [IMAGES])?;
        let images = &tables.files()[0];
        let table = PinnedFile::open(tables.folder(), images)?;
        // Of the tables, only the images' ids, splits, sizes and readability count, so that changed
        // labels do not cause a resize.
        let mut clock = Clock::new(context);
        let recipe = Recipe::new(settings);
        let configuration = context.fingerprint(STAGE, &[STAGE]);
        let plan = Plan::read(
            table,
            settings.images_per_shard,
            &recipe.fingerprint(),
            configuration.clone(),
        )?;
        if plan.images() == 0 {
            return Err(anyhow!(
                "{} has no readable image; see the issues that ossify-ingest found",
                tables.folder().join(IMAGES).display()
            )
            .into());
        }
        clock.lap("planned");
        let configuration = configuration.clone().add(&images.xxh3).finish();
        Ok(Stage { context, tables, plan, recipe, configuration, clock })
    }

    /// What decides the output, beside the images.
    pub(crate) fn inputs(&self) -> &[Inputs] {
        std::slice::from_ref(&self.tables)
    }

    /// Makes the shards for which `is_missing` is true.
    pub(crate) fn make_shards(
        &mut self,
        is_missing: impl Fn(usize) -> bool,
        store: Store,
    ) -> Result<(), StageError> {
        let (context, started) = (self.context, Instant::now());
        let images: usize = self
            .plan
            .shards
            .iter()
            .enumerate()
            .filter(|(shard, _)| is_missing(*shard))
            .map(|(_, shard)| shard.images)
            .sum();
        let progress = context.reporter.progress("resize", "images", Some(images as u64));
        let images_of = ImageSource {
            dataset: &context.dataset,
            ahead: context.settings.storage.requests.div_ceil(context.threads()),
        };
        write_shards(
            &self.plan,
            is_missing,
            store,
            images_of,
            &self.recipe,
            context.threads(),
            &progress,
        )?;
        drop(progress);
        let seconds = started.elapsed().as_secs_f64();
        self.clock.lap("made tensors");
        if images > 0 {
            context.reporter.say(format_args!(
                "resize: {images} images decoded in {seconds:.1} s, {:.0} images/s",
                images as f64 / seconds.max(1e-9)
            ));
        }
        Ok(())
    }

    /// Writes the tables beside the staged shards and publishes everything.
    pub(crate) fn publish(&mut self, publication: Publication) -> Result<Outcome, StageError> {
        let (context, plan) = (self.context, &self.plan);
        let settings = &context.settings.resize;
        let (files, counts) =
            write_tables(plan, settings.leak_candidates_per_image, &publication, &mut self.clock)?;
        self.clock.lap("wrote tables");
        show(&counts, &context.dataset, &context.reporter);
        if counts.rows == 0 {
            return Err(anyhow!(
                "none of the {} images became a tensor, for the reasons above; is {} the dataset \
                 of these tables, and do resize.max_pixels and resize.max_memory_bytes allow its \
                 images?",
                plan.images(),
                context.dataset.display()
            )
            .into());
        }
        let summary = counts.summary(plan, &self.recipe, settings);
        let json = summary.to_json(publication.folder())?;
        let manifest = publication.commit(STAGE, &plan.fingerprint(), files, json)?;
        self.clock.lap("published");
        context.reporter.say(format_args!(
            "resize: {} images in {} shards; {} failed, {} unreadable by the tables",
            summary.images, summary.shards, summary.failed_images, summary.unreadable
        ));
        warn_of_leaks(context, summary.leaks);
        Ok(Outcome::done(manifest.summary).with_gates(gates::unmet(context, &summary)))
    }

    /// The output, where it is there already.
    pub(crate) fn current(&self) -> Option<Outcome> {
        let (manifest, summary) = Publication::current_summary::<ShardsSummary>(
            &self.context.out.shards(),
            &self.plan.fingerprint(),
        )?;
        let gates = gates::unmet(self.context, &summary);
        Some(Outcome::current(manifest.summary).with_gates(gates))
    }
}

fn warn_of_leaks(context: &Context, leaks: LeakCounts) {
    if leaks.groups > 0 {
        context.reporter.warn(format_args!(
            "the same picture is in more than one split: {} images in {} (pairs: {} with \
            the same bytes, {} with the same pixels, {} near); \
             scores on them are not reliable; leaks.parquet lists them",
            leaks.images,
            if leaks.groups == 1 {
                "1 group".to_owned()
            } else {
                format!("{} groups", leaks.groups)
            },
            leaks.same_bytes,
            leaks.same_pixels,
            leaks.near
        ));
    }
}
