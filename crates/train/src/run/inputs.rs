use anyhow::{Result, bail};
use ossify_contract::{ArtefactError, Inputs, Manifest, Split, shards_of};
use ossify_settings::Context;

use crate::data::samples::ISSUES;

/// Tables that are read.
const TABLES: [&str; 3] = ["images.parquet", "objects.parquet", "classes.parquet"];
const RUN_INGEST: &str = "there are no label tables; run ossify-ingest first";
const RUN_RESIZE: &str = "there are no shards; run ossify-resize first";

/// What is read of the tables and of the shards, and of the latter the list of images that became
/// no tensor: it decides whether images may be missing, and nothing of the run.
///
/// # Errors
/// Fails where there are none.
pub fn inputs(context: &Context) -> Result<[Inputs; 3], ArtefactError> {
    let (tables, shards) = (context.out.tables(), context.out.shards());
    let tables_manifest = Manifest::require(&tables, RUN_INGEST)?;
    let shards_manifest = Manifest::require(&shards, RUN_RESIZE)?;
    let read_shards = [Split::Train, Split::Valid]
        .into_iter()
        .flat_map(|split| shards_of(&shards_manifest, split))
        .map(|file| &file.path);
    Ok([
        Inputs::declare(&tables, &tables_manifest, TABLES)?,
        Inputs::declare(&shards, &shards_manifest, read_shards)?,
        Inputs::declare(&shards, &shards_manifest, [ISSUES])?,
    ])
}

/// Training reads all shards in any order: those of an object store must all have room here.
///
/// # Errors
/// Fails with what to raise.
pub fn check_room(shards: &Inputs) -> Result<()> {
    let wanted: u64 = shards.files().iter().map(|file| file.bytes).sum();
    match ossify_storage::room_for(shards.folder()) {
        Some(room) if wanted > room => bail!(
            "the shards have {:.1} GB and training needs all of them here; storage.cache_gb \
                allows {:.1}: raise it, or make gray shards, which take a third",
            wanted as f64 / 1e9,
            room as f64 / 1e9
        ),
        _ => Ok(()),
    }
}
