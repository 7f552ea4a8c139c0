/// Paths that keys had in version 0.1, and those that they have now.
const RENAMED: [(&str, &str); 47] = [
    ("train.architecture", "train.model.architecture"),
    ("train.weights", "train.model.weights"),
    ("train.head_widths", "train.model.head_widths"),
    ("train.dropout", "train.model.dropout"),
    ("train.input_px", "train.model.input_px"),
    ("train.normalization", "train.model.normalization"),
    ("train.finetune_from", "train.finetune.from_block"),
    ("train.frozen_epochs", "train.finetune.frozen_epochs"),
    ("train.finetune_learning_rate", "train.finetune.learning_rate"),
    ("train.sampler", "train.sampler.kind"),
    ("train.samples", "train.sampler.unit"),
    ("train.flip", "train.augment.flip"),
    ("train.rotation", "train.augment.rotation"),
    ("train.scale", "train.augment.scale"),
    ("train.shift", "train.augment.shift"),
    ("train.brightness", "train.augment.brightness"),
    ("train.contrast", "train.augment.contrast"),
    ("train.noise", "train.augment.noise"),
    ("train.cutout", "train.augment.cutout"),
    ("train.classification_weight", "train.loss.classification_weight"),
    ("train.class_weights", "train.loss.class_weights"),
    ("train.label_smoothing", "train.loss.label_smoothing"),
    ("train.box_loss", "train.loss.box_distance"),
    ("train.smooth_l1_beta", "train.loss.smooth_l1_beta"),
    ("train.box_weight", "train.loss.box_weight"),
    ("train.giou_weight", "train.loss.giou_weight"),
    ("train.place_weight", "train.loss.cell_weight"),
    ("train.l2", "train.loss.l2"),
    ("train.optimizer", "train.optimizer.kind"),
    ("train.learning_rate", "train.optimizer.learning_rate"),
    ("train.epsilon", "train.optimizer.epsilon"),
    ("train.weight_decay", "train.optimizer.weight_decay"),
    ("train.momentum", "train.optimizer.momentum"),
    ("train.clip_norm", "train.optimizer.clip_norm"),
    ("train.clip_scope", "train.optimizer.clip_scope"),
    ("train.ema_decay", "train.optimizer.ema_decay"),
    ("train.schedule", "train.schedule.kind"),
    ("train.warmup_epochs", "train.schedule.warmup_epochs"),
    ("train.final_rate_share", "train.schedule.final_share"),
    ("train.plateau_patience", "train.schedule.plateau_patience"),
    ("train.plateau_factor", "train.schedule.plateau_factor"),
    ("train.stop_at_train_accuracy", "train.stopping.train_accuracy"),
    ("train.patience", "train.stopping.patience"),
    ("train.min_delta", "train.stopping.min_delta"),
    ("train.max_minutes", "train.stopping.max_minutes"),
    ("train.best_by", "train.checkpoint.best_by"),
    ("train.checkpoint_steps", "train.checkpoint.every_steps"),
];

/// The path that a key of version 0.1 has now, if it has another one.
pub(crate) fn new_path(old: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(known, _)| *known == old).map(|(_, new)| *new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sections::tables;

    /// The keys of `[train]` in version 0.1, as its `--print-config` listed them.
    const TRAIN_IN_0_1: &str = "
        architecture weights mode finetune_from frozen_epochs finetune_learning_rate samples sampler
        epochs batch_size optimizer epsilon weight_decay momentum learning_rate schedule
        warmup_epochs final_rate_share plateau_patience plateau_factor ema_decay clip_norm
        clip_scope l2 head_widths dropout classification_weight box_loss smooth_l1_beta box_weight
        giou_weight place_weight label_smoothing class_weights flip rotation scale shift brightness
        contrast noise cutout best_by stop_at_train_accuracy patience min_delta max_minutes
        checkpoint_steps keep_activations precision deterministic input_px normalization device";

    /// The keys of the other sections in version 0.1.
    const OTHERS_IN_0_1: &str = "
        general.seed general.threads dataset.path dataset.class_names dataset.missing_labels
        dataset.follow_links dataset.remarks storage.requests storage.retries storage.timeout_s
        storage.cache storage.cache_gb phantom.images phantom.seed phantom.leaks ingest.tolerance
        ingest.min_polygon_vertices ingest.min_side_px ingest.min_objects_per_class
        ingest.min_images_per_class ingest.rare_classes ingest.max_quarantined_share ingest.rules
        ingest.max_findings ingest.merge_rare_into resize.side_px resize.channels resize.geometry
        resize.filter resize.antialias resize.images_per_shard resize.max_pixels
        resize.max_memory_bytes resize.leak_candidates_per_image resize.compression predict.run
        predict.splits predict.batch_size predict.flip predict.images predict.device
        evaluate.predictions evaluate.splits evaluate.bootstrap_samples evaluate.sensitivities
        evaluate.allow_gaps evaluate.overlays evaluate.min_accuracy evaluate.min_balanced_accuracy
        evaluate.min_macro_f1 evaluate.min_mean_iou evaluate.min_ap50 evaluate.drop_test
        evaluate.max_drop";

    #[test]
    fn every_key_of_the_last_release_is_still_there_or_has_a_new_path() {
        let now: Vec<String> = tables()
            .iter()
            .flat_map(|table| {
                let keys = table.keys.iter().map(|key| key.name);
                let names = keys.chain(table.named.iter().map(|named| named.name));
                names.map(|name| format!("{}.{name}", table.path)).collect::<Vec<_>>()
            })
            .collect();
        let train = TRAIN_IN_0_1.split_whitespace().map(|name| format!("train.{name}"));
        let before: Vec<String> =
            train.chain(OTHERS_IN_0_1.split_whitespace().map(str::to_owned)).collect();
        assert_eq!((TRAIN_IN_0_1.split_whitespace().count(), before.len()), (54, 108));
        for old in &before {
            assert_ne!(now.contains(old), new_path(old).is_some(), "{old}");
        }
        for (old, new) in RENAMED {
            assert!(before.contains(&old.to_owned()), "{old} was no key");
            assert!(now.contains(&new.to_owned()), "{new} is no key");
        }
    }
}
