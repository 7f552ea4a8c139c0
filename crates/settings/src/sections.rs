use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::margins::{DropTest, MaxDrop};
use crate::rules::RuleLevels;

/// A key of the configuration.
#[derive(Clone, Debug)]
pub struct Key {
    /// The table of the conf file.
    pub section: &'static str,
    /// The key in it.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// Its built-in value.
    pub default: toml::Value,
    /// Says why a value does not fit the key.
    pub check: fn(&toml::Value) -> Result<(), String>,
}

/// A table below a section, whose keys are names such as those of rules or classes.
#[derive(Clone, Debug)]
pub struct NamedTable {
    /// The table of the conf file that it lies in.
    pub section: &'static str,
    /// Its name in it.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// Its built-in entries.
    pub default: toml::Table,
    /// The names that it may have; empty where any will do.
    pub known: Vec<&'static str>,
    /// Says why an entry does not fit.
    pub check: fn(&str, &toml::Value) -> Result<(), String>,
}

/// Declares the sections: typed keys, each with its documentation, its default and the check of its range,
/// and after them tables of named entries.
macro_rules! sections {
    ($($(#[doc = $section_doc:literal])* $section:ident: $name:ident {
        $($(#[doc = $doc:literal])* $key:ident: $type:ty = $default:expr $(=> $check:expr)?;)*
        $([tables] {
            $($(#[doc = $table_doc:literal])* $table:ident: $table_type:ty = $known:expr, $entry_check:expr;)*
        })?
    })*) => {
        $(
            $(#[doc = $section_doc])*
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $name {
                $($(#[doc = $doc])* pub $key: $type,)*
                $($($(#[doc = $table_doc])* pub $table: $table_type,)*)?
            }

            impl Default for $name {
                fn default() -> Self {
                    $name { $($key: $default,)* $($($table: Default::default(),)*)? }
                }
            }
        )*

        /// The resolved configuration.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Settings { $($(#[doc = $section_doc])* pub $section: $name,)* }

        /// Every key there is, in the order of the documentation.
        pub fn keys() -> Vec<Key> {
            let defaults = Settings::default();
            vec![$($(Key {
                section: stringify!($section),
                name: stringify!($key),
                doc: concat!($($doc),*).trim_ascii(),
                default: toml::Value::try_from(&defaults.$section.$key).unwrap_or(toml::Value::String(String::new())),
                check: |value| {
                    let _typed: $type = value.clone().try_into().map_err(|e: toml::de::Error| e.message().trim().to_owned())?;
                    $(let check: fn(&$type) -> Result<(), String> = $check; check(&_typed)?;)?
                    Ok(())
                },
            },)*)*]
        }

        /// Every table of named entries, in the order of the documentation.
        pub fn tables() -> Vec<NamedTable> {
            let defaults = Settings::default();
            vec![$($($(NamedTable {
                section: stringify!($section),
                name: stringify!($table),
                doc: concat!($($table_doc),*).trim_ascii(),
                default: toml::Table::try_from(&defaults.$section.$table).unwrap_or_default(),
                known: $known,
                check: $entry_check,
            },)*)?)*]
        }
    };
}

/// A word that stands for a choice in the conf file.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$variant_meta])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// The word in the conf file.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }
    };
}
pub(crate) use choice;

choice! {
    /// What an image without a label file is.
    MissingLabels {
        /// Nobody said what is on it: kept out of training and scores.
        Unlabelled = "unlabelled",
        /// There is nothing to find on it.
        Background = "background",
    }
}

choice! {
    /// What becomes of a class that is rare in train and is not merged into another.
    RareClasses {
        /// It is not trained; its objects stay in the tables without a class index.
        Filter = "filter",
        /// It is trained like any other.
        Keep = "keep",
        /// It is trained like any other, and the run ends with exit code 3.
        Fail = "fail",
    }
}

choice! {
    /// Channels of a tensor.
    Channels {
        /// Three, red, green, blue.
        Rgb = "rgb",
        /// One.
        Gray = "gray",
    }
}

choice! {
    /// How a picture of any proportions fills a square tensor.
    Geometry {
        /// Stretched to fill it.
        Stretch = "stretch",
        /// Whole, between black bars.
        Letterbox = "letterbox",
        /// Its centre square.
        CenterCrop = "center-crop",
    }
}

choice! {
    /// How pixels are interpolated.
    Filter {
        /// The nearest pixel.
        Nearest = "nearest",
        /// Triangle.
        Bilinear = "bilinear",
        /// Hamming window.
        Hamming = "hamming",
        /// Catmull-Rom cubic.
        CatmullRom = "catmull-rom",
        /// Mitchell-Netravali cubic.
        Mitchell = "mitchell",
        /// Lanczos with three lobes.
        Lanczos3 = "lanczos3",
    }
}

choice! {
    /// How shards lie on the disk.
    Compression {
        /// As they are.
        None = "none",
        /// Packed, batch by batch.
        Zstd = "zstd",
    }
}

choice! {
    /// Which weights are trained.
    TrainMode {
        /// The head alone; the backbone's pooled features are computed once and kept.
        Frozen = "frozen",
        /// The head and the backbone's later blocks, or all of them, from pretrained weights.
        Finetune = "finetune",
        /// The whole network, from random weights.
        Scratch = "scratch",
    }
}

choice! {
    /// Which samples an epoch draws.
    Sampler {
        /// Each once, in random order.
        Shuffle = "shuffle",
        /// As many of each class, in random order; samples of rare classes come several times.
        Balanced = "balanced",
    }
}

choice! {
    /// How much the samples of a class weigh in the loss.
    ClassWeights {
        /// All the same.
        None = "none",
        /// By the inverse of how frequent the class is.
        Balanced = "balanced",
        /// By the inverse of the square root of how frequent the class is.
        Sqrt = "sqrt",
    }
}

choice! {
    /// The distance between box edges that is minimised.
    BoxLoss {
        /// Mean squared error.
        Mse = "mse",
        /// Squared near zero, absolute beyond.
        SmoothL1 = "smooth-l1",
    }
}

choice! {
    /// How weights follow their gradients.
    OptimizerKind {
        /// Adam.
        Adam = "adam",
        /// Adam with decoupled weight decay.
        AdamW = "adamw",
        /// Stochastic gradient descent with momentum.
        Sgd = "sgd",
    }
}

choice! {
    /// Whose epsilon Adam takes: its size, and where it is added.
    Epsilon {
        /// 1e-7, added to the root of the second moment before its bias is corrected.
        Keras = "keras",
        /// 1e-8, added after.
        Torch = "torch",
    }
}

choice! {
    /// Whose norm is limited.
    ClipScope {
        /// Of each parameter's gradient on its own, as Keras' clipnorm.
        Parameter = "parameter",
        /// Of all gradients together, as PyTorch's clip_grad_norm_.
        Global = "global",
    }
}

choice! {
    /// What makes an epoch the best.
    BestBy {
        /// Accuracy plus mean IoU, so that class and box both count.
        Score = "score",
        /// The largest accuracy.
        Accuracy = "accuracy",
        /// The largest mean IoU.
        MeanIou = "mean-iou",
        /// The smallest loss.
        Loss = "loss",
    }
}

choice! {
    /// What one training sample is.
    Samples {
        /// An object: an image with two objects is two samples.
        Object = "object",
        /// An image with its largest object.
        Image = "image",
    }
}

choice! {
    /// How the learning rate changes.
    Schedule {
        /// Not at all.
        Constant = "constant",
        /// Half a cosine down to its least value.
        Cosine = "cosine",
        /// Multiplied by a factor whenever epochs stop getting better.
        Plateau = "plateau",
    }
}

choice! {
    /// In what numbers the convolutional part is computed.
    TrainPrecision {
        /// float32 throughout.
        Float32 = "float32",
        /// float32 whose products take 10 bits.
        Tf32 = "tf32",
        /// bfloat16 maps, float32 weights and sums.
        Bfloat16 = "bf16",
    }
}

choice! {
    /// How bytes become the network's input.
    Normalization {
        /// To 0..1, minus ImageNet's mean, by its deviation, a channel each.
        ImageNet = "imagenet",
        /// To 0..1.
        None = "none",
    }
}

sections! {
    /// What every stage shares.
    general: GeneralSettings {
        /// Seed of everything random.
        seed: u64 = 42;
        /// Threads; 0 takes one a processor. Never changes a result.
        threads: usize = 0 => |v| at_most(v, &1024);
    }

    /// The dataset.
    dataset: DatasetSettings {
        /// Folder of the dataset.
        path: String = "data/datasets/phantom".into();
        /// Class names in order of their ids; replaces those of data.yaml. Empty: data.yaml's.
        class_names: Vec<String> = Vec::new();
        /// What an image without a label file is: "unlabelled" or "background".
        missing_labels: MissingLabels = MissingLabels::Unlabelled;
        /// Whether paths and links may lead out of the dataset's folder.
        follow_links: bool = false;
        /// Doubts about the dataset that its readers should know; shown with the tables.
        remarks: Vec<String> = Vec::new();
    }

    /// Datasets and work folders in object stores.
    storage: StorageSettings {
        /// Requests in flight to one bucket.
        requests: usize = 64 => |v| between(v, &1, &4096);
        /// How often a request that failed is sent again, each time after a longer wait.
        retries: usize = 10 => |v| at_most(v, &100);
        /// Seconds that a request may take.
        timeout_s: u64 = 60 => |v| between(v, &1, &3600);
        /// Folder of the mirrors of work folders.
        cache: String = "data/cache".into();
        /// Gigabytes of fetched files that a mirror keeps.
        cache_gb: f64 = 100.0 => |v| within(v, 0.001, 1e6);
    }

    /// The synthetic dataset.
    phantom: PhantomSettings {
        /// Images over all splits.
        images: u64 = 600 => |v| at_least(v, &1);
        /// Seed of the pictures.
        seed: u64 = 7;
        /// Images of train that are planted again in valid and test: copied, repacked, encoded again, brightened, turned, mirrored.
        leaks: u64 = 0;
    }

    /// Labels to tables.
    ingest: IngestSettings {
        /// How far a coordinate may lie outside 0..1 and still be moved to the edge.
        tolerance: f64 = 0.01 => |v| within(v, 0.0, 1.0);
        /// A polygon with fewer vertices is dropped.
        min_polygon_vertices: usize = 3 => |v| at_least(v, &3);
        /// An image with a shorter side is flagged, pixels.
        min_side_px: u32 = 10;
        /// A class with fewer objects in train is rare.
        min_objects_per_class: u64 = 1;
        /// A class in fewer images of train is rare.
        min_images_per_class: u64 = 0;
        /// What becomes of rare classes: "filter", "keep", or "fail", a gate: exit code 3.
        rare_classes: RareClasses = RareClasses::Filter;
        /// Gate: the largest share of label lines that may be quarantined; exit code 3 above it.
        max_quarantined_share: f64 = 1.0 => |v| within(v, 0.0, 1.0);
        [tables] {
            /// How each rule is treated: "off", "note", "warn" (the line is kept or repaired), "error" (it is dropped), and "note+drop", "warn+drop", "error+keep".
            rules: RuleLevels = RuleLevels::names(), RuleLevels::check;
            /// Gates: the most findings of a rule; exit code 3 above it.
            max_findings: BTreeMap<String, u64> = RuleLevels::names(), |_, value| typed::<u64>(value);
            /// Classes that are merged into another where they are rare, as in "rare class" = "other class".
            merge_rare_into: BTreeMap<String, String> = Vec::new(), |_, value| typed::<String>(value);
        }
    }

    /// Images to tensor shards.
    resize: ResizeSettings {
        /// Side of the square tensor, pixels.
        side_px: u32 = 224 => |v| between(v, &8, &4096);
        /// "rgb" or "gray".
        channels: Channels = Channels::Rgb;
        /// "stretch", "letterbox" or "center-crop".
        geometry: Geometry = Geometry::Stretch;
        /// "nearest", "bilinear", "hamming", "catmull-rom", "mitchell" or "lanczos3".
        filter: Filter = Filter::Bilinear;
        /// Whether each tensor pixel averages all source pixels that it covers.
        antialias: bool = true;
        /// Most images of a shard; it has half as many at least, and ends where few others change when images are added.
        images_per_shard: usize = 1024 => |v| between(v, &1, &1_000_000);
        /// An image with more pixels is refused, not decoded.
        max_pixels: u64 = 100_000_000 => |v| at_least(v, &1);
        /// An image whose file or decoding takes more memory is refused, bytes.
        max_memory_bytes: u64 = 1_200_000_000 => |v| at_least(v, &1);
        /// How many pictures with alike hashes each image of another split is compared with, about, in search of near copies: more finds more, and takes longer. 0 looks for the same bytes and pixels alone.
        leak_candidates_per_image: f64 = 1.0 => |v| within(v, 0.0, 1e6);
        /// "none" (memory-mapped as it lies) or "zstd" (about a third of the space; for cold storage).
        compression: Compression = Compression::None;
    }

    /// Shards to a model.
    train: TrainSettings {
        /// "densenet121", "densenet161", "densenet169", "densenet201" or "densenet-compact".
        architecture: String = "densenet121".into() => |v| one_of(v, &["densenet121", "densenet161", "densenet169", "densenet201", "densenet-compact"]);
        /// The backbone's first weights: "imagenet" (torchvision's, fetched), "none" (random), or a file.
        weights: String = "imagenet".into();
        /// "frozen" trains the head on features that are computed once; "finetune" the head and the backbone; "scratch" all from random weights.
        mode: TrainMode = TrainMode::Frozen;
        /// First dense block that "finetune" trains, from 1; those before it stay as they are, statistics included. 0 trains all.
        finetune_from: usize = 0 => |v| at_most(v, &16);
        /// Epochs of "finetune" at whose end the backbone is unfrozen; before, the head learns from features that are computed once.
        frozen_epochs: u32 = 0;
        /// Learning rate of "finetune" after frozen_epochs; 0 takes learning_rate.
        finetune_learning_rate: f64 = 0.0 => |v| within(v, 0.0, 10.0);
        /// "object" (one sample an object) or "image" (one an image, with its largest object).
        samples: Samples = Samples::Object;
        /// "shuffle" (each sample once an epoch) or "balanced" (as many of each class).
        sampler: Sampler = Sampler::Shuffle;
        /// Most passes over the samples.
        epochs: u32 = 50 => |v| at_least(v, &1);
        /// Samples of a step.
        batch_size: usize = 16 => |v| between(v, &2, &65536);
        /// "adam", "adamw" or "sgd".
        optimizer: OptimizerKind = OptimizerKind::Adam;
        /// Adam's epsilon and its place: "keras" (1e-7, before the correction of the bias) or "torch" (1e-8, after).
        epsilon: Epsilon = Epsilon::Keras;
        /// Decay of kernels by AdamW, a step and unit of learning rate; biases and norms do not decay.
        weight_decay: f64 = 0.01 => |v| within(v, 0.0, 10.0);
        /// Share of the last step that SGD takes along.
        momentum: f64 = 0.9 => |v| within(v, 0.0, 0.9999);
        /// Learning rate.
        learning_rate: f64 = 1e-4 => |v| within(v, 0.0, 10.0);
        /// "constant", "cosine" or "plateau".
        schedule: Schedule = Schedule::Constant;
        /// Epochs in which the learning rate rises from zero.
        warmup_epochs: f64 = 0.0 => |v| within(v, 0.0, 1e6);
        /// Where cosine ends and plateau stops, a share of the learning rate.
        final_rate_share: f64 = 0.0 => |v| within(v, 0.0, 1.0);
        /// Epochs without a better one after which plateau lowers the learning rate.
        plateau_patience: u32 = 5 => |v| at_least(v, &1);
        /// What plateau multiplies the learning rate by.
        plateau_factor: f64 = 0.3 => |v| within(v, 0.001, 0.999);
        /// Score and keep an exponential moving average of the weights, of which each step leaves this share; 0 is off.
        ema_decay: f64 = 0.0 => |v| within(v, 0.0, 1.0);
        /// Largest norm of gradients; 0 is off.
        clip_norm: f64 = 1.0 => |v| within(v, 0.0, 1e12);
        /// Whose norm: "parameter" (of each gradient on its own, as Keras' clipnorm) or "global" (of all together).
        clip_scope: ClipScope = ClipScope::Parameter;
        /// Penalty on the squared kernels of the head's dense layers, as Keras' L2: part of the loss, so before clipping.
        l2: f64 = 0.01 => |v| within(v, 0.0, 1e6);
        /// Widths of the head's dense layers.
        head_widths: Vec<usize> = vec![1024, 1024, 512];
        /// Share of the head's activations that are dropped in training.
        dropout: f64 = 0.5 => |v| within(v, 0.0, 0.99);
        /// Weight of the classification loss.
        classification_weight: f64 = 1.0 => |v| within(v, 0.0, 1e6);
        /// Distance between box edges: "mse" or "smooth-l1".
        box_loss: BoxLoss = BoxLoss::Mse;
        /// Where "smooth-l1" turns from squared to absolute, share of a side.
        smooth_l1_beta: f64 = 0.1 => |v| within(v, 1e-6, 10.0);
        /// Weight of that distance.
        box_weight: f64 = 1.0 => |v| within(v, 0.0, 1e6);
        /// Weight of 1 - GIoU of the boxes, beside or instead of the distance.
        giou_weight: f64 = 0.0 => |v| within(v, 0.0, 1e6);
        /// Weight of the cross-entropy of the place where the object is; for networks with a map of places, of which densenet-compact is one.
        place_weight: f64 = 1.0 => |v| within(v, 0.0, 1e6);
        /// Share of a target that is spread over all classes.
        label_smoothing: f64 = 0.0 => |v| within(v, 0.0, 0.99);
        /// Weights of classes in the classification loss: "none", "balanced" (inverse frequency) or "sqrt" (its root).
        class_weights: ClassWeights = ClassWeights::None;
        /// Augmentation: mirror half of the samples.
        flip: bool = false;
        /// Augmentation: largest rotation to either side, degrees.
        rotation: f64 = 0.0 => |v| within(v, 0.0, 180.0);
        /// Augmentation: size is multiplied by 1 - this to 1 + this.
        scale: f64 = 0.0 => |v| within(v, 0.0, 0.9);
        /// Augmentation: largest shift along each axis, share of the side.
        shift: f64 = 0.0 => |v| within(v, 0.0, 0.9);
        /// Augmentation: brightness is multiplied by 1 - this to 1 + this.
        brightness: f64 = 0.0 => |v| within(v, 0.0, 1.0);
        /// Augmentation: contrast is multiplied by 1 - this to 1 + this.
        contrast: f64 = 0.0 => |v| within(v, 0.0, 1.0);
        /// Augmentation: largest standard deviation of noise, share of white.
        noise: f64 = 0.0 => |v| within(v, 0.0, 1.0);
        /// Augmentation: side of a black square that hides part of each sample, share of the side.
        cutout: f64 = 0.0 => |v| within(v, 0.0, 0.9);
        /// What makes an epoch the best: "score" (accuracy plus mean IoU), "accuracy", "mean-iou" or "loss", on valid; on train where valid is empty.
        best_by: BestBy = BestBy::Score;
        /// Stop when an epoch's train accuracy reaches this; 0 is off.
        stop_at_train_accuracy: f64 = 0.90 => |v| within(v, 0.0, 1.0);
        /// Stop after so many epochs without a better one; 0 is off.
        patience: u32 = 0;
        /// How much better an epoch must be to count for patience and plateau.
        min_delta: f64 = 0.0 => |v| within(v, 0.0, 1e6);
        /// Stop before the epoch that would end after so many minutes; 0 is off.
        max_minutes: f64 = 0.0 => |v| within(v, 0.0, 1e6);
        /// Steps between checkpoints within an epoch; 0 writes them at its end alone. There is one at each epoch's end and on a signal.
        checkpoint_steps: u64 = 500;
        /// Keep the inputs of convolutions for the backward pass instead of making them anew: more than twice the memory, and hardly faster on processors.
        keep_activations: bool = false;
        /// "float32"; on a CUDA device also "tf32", float32 whose products take 10 bits, or "bf16", bfloat16 maps with float32 weights and sums.
        precision: TrainPrecision = TrainPrecision::Float32;
        /// On a CUDA device, take only algorithms that give the same bits each time, where there are any. On processors runs are the same anyway.
        deterministic: bool = false;
        /// Side that tensors are averaged down to before the network, pixels.
        input_px: u32 = 224 => |v| between(v, &8, &4096);
        /// "imagenet" or "none".
        normalization: Normalization = Normalization::ImageNet;
        /// "auto", "cpu", "cuda:N" or "flex".
        device: String = "auto".into() => |v| device(v);
    }

    /// A model to predictions.
    predict: PredictSettings {
        /// Id of the run, or "latest".
        run: String = "latest".into();
        /// Splits to predict.
        splits: Vec<String> = vec!["valid".into(), "test".into()] => |v| splits(v);
        /// Images of a batch.
        batch_size: usize = 32 => |v| between(v, &1, &65536);
        /// Predict each image mirrored, too, and take the mean of both; twice the time.
        flip: bool = false;
        /// A folder of images to predict instead of the shards.
        images: String = String::new();
        /// "auto", "cpu", "cuda:N" or "flex".
        device: String = "auto".into() => |v| device(v);
    }

    /// Predictions to a report.
    evaluate: EvaluateSettings {
        /// Id of the predictions, "latest", or the path of a predictions table.
        predictions: String = "latest".into();
        /// Splits to report on, where there are predictions for them.
        splits: Vec<String> = vec!["valid".into(), "test".into()] => |v| splits(v);
        /// Resamples of the bootstrap.
        bootstrap_samples: u32 = 1000 => |v| between(v, &0, &1_000_000);
        /// Sensitivities (recalls) that a threshold is looked for with, for each class, on the valid split.
        sensitivities: Vec<f64> = vec![0.9, 0.95] => |v| sensitivities(v);
        /// Score predictions although some images have none, or other shards were predicted than those that are there; the report tells.
        allow_gaps: bool = false;
        /// Images drawn with their boxes, in the report of a split and in a comparison.
        overlays: usize = 24 => |v| at_most(v, &10_000);
        /// Gate: least image accuracy on the first split; exit code 3 below it. 0 is off.
        min_accuracy: f64 = 0.0 => |v| within(v, 0.0, 1.0);
        /// Gate: least balanced accuracy over objects. 0 is off.
        min_balanced_accuracy: f64 = 0.0 => |v| within(v, 0.0, 1.0);
        /// Gate: least macro F1 over images. 0 is off.
        min_macro_f1: f64 = 0.0 => |v| within(v, 0.0, 1.0);
        /// Gate: least mean IoU over objects. 0 is off.
        min_mean_iou: f64 = 0.0 => |v| within(v, 0.0, 1.0);
        /// Gate: least AP at IoU 0.5. 0 is off.
        min_ap50: f64 = 0.0 => |v| within(v, 0.0, 1.0);
        /// What counts as a drop beyond its margin in a comparison: "clear" (the whole 95 % interval of the drop lies above the margin), "measured" (the drop itself does), "possible" (the interval reaches above it).
        drop_test: DropTest = DropTest::Clear;
        [tables] {
            /// Gates of a comparison: the most by which a score may drop below that of the baseline on the first split; exit code 3 beyond it. 0 allows no drop, "off" any.
            max_drop: MaxDrop = MaxDrop::names(), MaxDrop::check;
        }
    }
}

fn typed<'de, T: Deserialize<'de>>(value: &toml::Value) -> Result<(), String> {
    let typed: Result<T, toml::de::Error> = value.clone().try_into();
    typed.map(|_| ()).map_err(|e| e.message().trim().to_owned())
}

fn within(value: &f64, low: f64, high: f64) -> Result<(), String> {
    if (low..=high).contains(value) {
        Ok(())
    } else {
        Err(format!("{value} is not within {low} to {high}"))
    }
}

fn sensitivities(values: &[f64]) -> Result<(), String> {
    match values.iter().find(|value| !(**value > 0.0 && **value < 1.0)) {
        Some(value) => {
            Err(format!("{value} is no sensitivity that can be wanted; it is above 0 and below 1"))
        }
        None if values.len() > 10 => Err(format!("{} are too many; 10 at most", values.len())),
        None => Ok(()),
    }
}

fn at_least<T: PartialOrd + std::fmt::Display>(value: &T, low: &T) -> Result<(), String> {
    if value >= low { Ok(()) } else { Err(format!("{value} is less than {low}")) }
}

fn at_most<T: PartialOrd + std::fmt::Display>(value: &T, high: &T) -> Result<(), String> {
    if value <= high { Ok(()) } else { Err(format!("{value} is more than {high}")) }
}

fn between<T: PartialOrd + std::fmt::Display>(value: &T, low: &T, high: &T) -> Result<(), String> {
    at_least(value, low)?;
    at_most(value, high)
}

fn one_of(value: &str, known: &[&str]) -> Result<(), String> {
    if known.contains(&value) {
        Ok(())
    } else {
        Err(format!("\"{value}\" is none of {}", known.join(", ")))
    }
}

fn splits(values: &[String]) -> Result<(), String> {
    if values.is_empty() {
        return Err("no split at all".into());
    }
    values.iter().try_for_each(|value| one_of(value, &["train", "valid", "test"]))
}

fn device(value: &str) -> Result<(), String> {
    let is_cuda = value.strip_prefix("cuda:").is_some_and(|number| number.parse::<usize>().is_ok());
    if is_cuda || ["auto", "cpu", "flex"].contains(&value) {
        Ok(())
    } else {
        Err(format!("\"{value}\" is none of auto, cpu, cuda:N, flex"))
    }
}
