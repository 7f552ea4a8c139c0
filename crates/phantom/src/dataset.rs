//! The dataset's folder: files, and the counts of what is in them.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ossify_contract::{ArtefactError, Split, write_atomic};
use rayon::prelude::*;

use crate::anatomy::Anatomy;
use crate::dice::{Dice, Stream};
use crate::encode::{Format, encode};
use crate::item::Item;
use crate::leak::{Leak, leaks};
use crate::parameters::Parameters;
use crate::picture::{Picture, Shot};
use crate::plan::plan;
use crate::plant::{Expected, Fault, LabelShape, label_file, label_lines};
use crate::planted::{
    Conditional, FolderSize, Innocent, Planted, PlantedClass, PlantedSplit, SpecialImage,
};

/// The file that makes a phantom dataset valid; it is written last.
pub const PLANTED_FILE: &str = "planted.json";

/// The file that names the classes.
const DATA_YAML: &str = "data.yaml";

/// Id of the rare class.
const RARE: usize = Anatomy::PlatedHumerus as usize;

/// File systems limit the names that one file may have; so many is within all limits.
const NAMES_PER_FILE: usize = 1000;

/// Why no dataset came about.
#[derive(Debug, thiserror::Error)]
pub enum PhantomError {
    /// Too few images for the classes.
    #[error(
        "{images} images are too few for seven classes in three splits; take at least {}",
        Parameters::MIN_IMAGES
    )]
    TooFewImages {
        /// What was asked for.
        images: u64,
    },
    /// The plan would not fit into memory.
    #[error("{images} images are too many; take at most {}", Parameters::MAX_IMAGES)]
    TooManyImages {
        /// What was asked for.
        images: u64,
    },
    /// The folder holds something else.
    #[error("{} is not empty and holds {name:?}, which no phantom dataset has; nothing was \
        changed: choose another folder with --dataset, or empty it yourself", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// A file or folder in it.
        name: String,
    },
    /// The path has no last part.
    #[error("{} is no folder that can be made: choose another one with --dataset", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// The encoder failed.
    #[error("cannot encode {path}: {source}")]
    Encode {
        /// The image, from the dataset root.
        path: String,
        /// The cause.
        source: image::ImageError,
    },
    /// The disk said no.
    #[error(transparent)]
    Disk(#[from] ArtefactError),
}

/// Results of this crate.
pub type Result<T, E = PhantomError> = std::result::Result<T, E>;

/// What the dataset in `folder` holds, if it is whole and what these parameters give. Counts files
/// and bytes; reads no picture.
pub fn existing(folder: &Path, parameters: &Parameters) -> Option<Planted> {
    let text = fs::read_to_string(folder.join(PLANTED_FILE)).ok()?;
    let planted: Planted =
        serde_json::from_str(&text).ok().filter(|planted: &Planted| planted.is_of(parameters))?;
    planted
        .folders
        .iter()
        .all(|(name, size)| measure(&folder.join(name)).is_ok_and(|found| found == *size))
        .then_some(planted)
}

/// Makes the dataset in `folder`, in the pool of the caller's threads, and says what it planted.
///
/// It is made beside `folder` and moved into place when it is whole, so `folder` is never half a
/// dataset. A phantom dataset of other parameters is replaced. `advance` is called with the number
/// of images done.
///
/// # Errors
/// Fails for too few images, where `folder` holds anything else, and where the disk does.
pub fn generate(
    folder: &Path,
    parameters: &Parameters,
    advance: &(dyn Fn(u64) + Sync),
) -> Result<Planted> {
    if parameters.images < Parameters::MIN_IMAGES {
        return Err(PhantomError::TooFewImages { images: parameters.images });
    }
    if parameters.images > Parameters::MAX_IMAGES {
        return Err(PhantomError::TooManyImages { images: parameters.images });
    }
    // A link stays what it is: the folder that it leads to is written.
    let folder = &match fs::canonicalize(folder) {
        Ok(target) => target,
        Err(e) if e.kind() == io::ErrorKind::NotFound && !folder.is_symlink() => {
            folder.to_path_buf()
        }
        Err(e) => return Err(ArtefactError::io("cannot use the folder", folder)(e).into()),
    };
    check_replaceable(folder)?;
    let parent =
        folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = folder
        .file_name()
        .ok_or_else(|| PhantomError::NoName { path: folder.to_path_buf() })?
        .to_string_lossy();
    fs::create_dir_all(parent).map_err(ArtefactError::io("cannot create the folder", parent))?;
    let _lock = lock(&parent.join(format!(".{name}.lock")), folder)?;
    let partial = parent.join(format!(".{name}.partial"));
    let previous = parent.join(format!(".{name}.previous"));
    remove(&partial)?;
    let made = write(&partial, parameters, advance).and_then(|planted| {
        remove(&previous)?;
        if folder.exists() {
            rename(folder, &previous)?;
        }
        rename(&partial, folder)?;
        Ok(planted)
    });
    if made.is_err() {
        // Half a dataset is of no use, least of all on a full disk.
        let _ = remove(&partial);
    }
    let planted = made?;
    remove(&previous)?;
    Ok(planted)
}

fn write(root: &Path, parameters: &Parameters, advance: &(dyn Fn(u64) + Sync)) -> Result<Planted> {
    for split in Split::ALL {
        for kind in ["images", "labels"] {
            let folder = root.join(split.as_str()).join(kind);
            fs::create_dir_all(&folder)
                .map_err(ArtefactError::io("cannot create the folder", &folder))?;
        }
    }
    let images =
        if parameters.labels_only { Images::Tiny(TinyImages::new(root)?) } else { Images::Drawn };
    let items = plan(parameters);
    let mut reports = items
        .par_iter()
        .map(|item| {
            let report = write_item(root, item, parameters.seed, &images);
            advance(1);
            report
        })
        .collect::<Result<Vec<Report>>>()?;
    let leaks = leaks(&items, parameters);
    reports.extend(
        leaks
            .par_iter()
            .map(|leak| write_leak(root, leak, parameters.seed))
            .collect::<Result<Vec<Report>>>()?,
    );
    write_file(&root.join(DATA_YAML), data_yaml().as_bytes())?;
    let planted = summarise(root, parameters, reports, &leaks)?;
    // This file makes the dataset valid. It holds the sizes of all others, so that files which a
    // loss of power left empty are noticed; drawing again is cheaper than to wait for the disk
    // after each file.
    let text = serde_json::to_string_pretty(&planted)
        .map_err(|e| ArtefactError::corrupt(root.join(PLANTED_FILE), e.to_string()))?;
    write_atomic(&root.join(PLANTED_FILE), format!("{text}\n").as_bytes())?;
    Ok(planted)
}

fn data_yaml() -> String {
    let names: Vec<String> =
        Anatomy::ALL.iter().map(|anatomy| format!("'{}'", anatomy.class_name())).collect();
    format!(
        "# Synthetic radiographs; planted.json says what is wrong with them on purpose.\n\
         train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: {}\nnames: \
         [{}]\n",
        names.len(),
        names.join(", ")
    )
}

/// Where images come from.
enum Images {
    Drawn,
    Tiny(TinyImages),
}

/// One tiny picture under many names: as many image files as labels, at the cost of their names
/// alone.
struct TinyImages {
    bytes: Vec<u8>,
    /// Per split, a file to link to and how many names it may still get.
    source: [Mutex<(PathBuf, usize)>; 3],
}

impl TinyImages {
    fn new(root: &Path) -> Result<Self> {
        let pixels =
            (0..64 * 48).map(|i| ((i % 64) as f32 / 64.0 + (i / 64) as f32 / 48.0) / 2.0).collect();
        let picture = Picture { width: 64, height: 48, pixels, objects: Vec::new() };
        let bytes = encode(&picture, Format::JpegGray, 90)
            .map_err(|source| PhantomError::Encode { path: root.display().to_string(), source })?;
        Ok(TinyImages { bytes, source: [0, 1, 2].map(|_| Mutex::new((PathBuf::new(), 0))) })
    }

    fn put(&self, path: &Path, split: Split) -> Result<()> {
        let mut source =
            self.source[split as usize].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if source.1 > 0 && fs::hard_link(&source.0, path).is_ok() {
            source.1 -= 1;
            return Ok(());
        }
        write_file(path, &self.bytes)?;
        *source = (path.to_path_buf(), NAMES_PER_FILE);
        Ok(())
    }
}

/// What became of one planned image.
struct Report {
    split: Split,
    images: u64,
    labels: u64,
    status: Status,
    boxes: u64,
    polygons: u64,
    quarantined: u64,
    objects_per_class: [u64; Anatomy::ALL.len()],
    expected: Vec<Expected>,
    conditional: Option<Conditional>,
    innocent: Option<Innocent>,
    special: Option<SpecialImage>,
}

#[derive(Clone, Copy, PartialEq)]
enum Status {
    Labelled,
    Background,
    Unlabelled,
    Unreadable,
}

fn write_item(root: &Path, item: &Item, seed: u64, images: &Images) -> Result<Report> {
    let is_drawn = matches!(images, Images::Drawn);
    let fault = item.fault.filter(|fault| is_drawn || !fault.needs_pictures());
    let format = item.format;
    let shot = shot(item, seed);
    let mut dice = Dice::new(seed, Stream::Fault(item.number));
    let (image_path, label_path) = (item.image_path(), item.label_path());
    let lines = label_lines(&shot.objects, item.shape, &mut dice);
    let labels = label_file(&label_path, lines, fault, &mut dice);
    let mut expected = labels.expected;

    let twin_path = image_path
        .rsplit_once('.')
        .map_or_else(|| image_path.clone(), |(stem, _)| format!("{stem}.jpeg"));
    match fault {
        Some(Fault::LabelMissing) => expected.push(Expected::of_file("label-missing", &image_path)),
        Some(Fault::ImageMissing) => expected.push(Expected::of_file("image-missing", &label_path)),
        Some(Fault::ImageCutShort) => {
            expected.push(Expected::of_file("image-unreadable", &image_path))
        }
        Some(Fault::ImageTooSmall) => {
            expected.push(Expected::of_file("image-too-small", &image_path))
        }
        Some(Fault::StemCollision) => expected.extend(
            [&twin_path, &image_path].map(|path| Expected::of_file("stem-collision", path)),
        ),
        _ => {}
    }
    let has_labels = fault != Some(Fault::LabelMissing);
    if has_labels {
        write_file(&root.join(&label_path), &labels.bytes)?;
    }
    let mut image_paths = Vec::new();
    if fault != Some(Fault::ImageMissing) {
        image_paths.push(&image_path);
    }
    if fault == Some(Fault::StemCollision) {
        image_paths.push(&twin_path);
    }
    match images {
        Images::Tiny(tiny) => {
            image_paths.iter().try_for_each(|path| tiny.put(&root.join(path), item.split))?
        }
        Images::Drawn if image_paths.is_empty() => {}
        Images::Drawn => {
            let encoded = encode(&shot.take(), format, item.quality)
                .map_err(|source| PhantomError::Encode { path: image_path.clone(), source })?;
            image_paths.iter().try_for_each(|path| write_file(&root.join(path), &encoded))?;
        }
    }

    let lines = if has_labels { labels.lines.as_slice() } else { &[] };
    let accepted: Vec<_> = lines.iter().filter(|line| !line.dropped).collect();
    let mut objects_per_class = [0; Anatomy::ALL.len()];
    for line in &accepted {
        // A class may be written with a fraction.
        let class = line
            .tokens
            .first()
            .and_then(|token| token.parse::<f64>().ok())
            .map_or(0, |class| class as usize);
        if let Some(count) = objects_per_class.get_mut(class) {
            *count += 1;
        }
    }
    let count_of =
        |shape: LabelShape| accepted.iter().filter(|line| line.shape == shape).count() as u64;
    let status = match fault {
        Some(Fault::ImageCutShort | Fault::ImageTooSmall) => Status::Unreadable,
        Some(Fault::LabelMissing | Fault::NotUtf8 | Fault::StemCollision) => Status::Unlabelled,
        _ if lines.is_empty() => Status::Background,
        _ if accepted.is_empty() => Status::Unlabelled,
        _ => Status::Labelled,
    };
    let conditional = (fault == Some(Fault::Triangle)).then(|| Conditional {
        setting: "ingest.min_polygon_vertices".into(),
        from: 4,
        rule: "polygon-too-few-vertices".into(),
        path: label_path.clone(),
        line: lines.len() as u32,
    });
    let innocent = fault
        .filter(|fault| fault.is_innocent())
        .map(|fault| Innocent { path: label_path, what: fault.name() });
    let special = special_image(item, format, &image_path).filter(|_| is_drawn);
    Ok(Report {
        split: item.split,
        images: image_paths.len() as u64,
        labels: u64::from(has_labels),
        status,
        boxes: count_of(LabelShape::Box),
        polygons: count_of(LabelShape::Polygon),
        quarantined: (lines.len() - accepted.len()) as u64,
        objects_per_class,
        expected,
        conditional,
        innocent,
        special,
    })
}

fn shot(item: &Item, seed: u64) -> Shot {
    Shot::new(
        &item.order,
        Dice::new(seed, Stream::Scene(item.source)),
        Dice::new(seed, Stream::View(item.number)),
    )
}

fn special_image(item: &Item, format: Format, path: &str) -> Option<SpecialImage> {
    let (width, height) = (item.order.width, item.order.height);
    (format != Format::JpegRgb).then(|| SpecialImage {
        path: path.into(),
        what: format.name().into(),
        width,
        height,
    })
}

/// Writes an image that shows what its original does, with an empty label file as that has.
fn write_leak(root: &Path, leak: &Leak, seed: u64) -> Result<Report> {
    let original = leak.original;
    let path = leak.image_path();
    let bytes = encode(&shot(original, seed).take(), original.format, original.quality)
        .and_then(|bytes| leak.bytes(bytes));
    let bytes = bytes.map_err(|source| PhantomError::Encode { path: path.clone(), source })?;
    write_file(&root.join(&path), &bytes)?;
    write_file(&root.join(leak.label_path()), b"")?;
    Ok(Report {
        split: leak.split,
        images: 1,
        labels: 1,
        status: Status::Background,
        boxes: 0,
        polygons: 0,
        quarantined: 0,
        objects_per_class: [0; Anatomy::ALL.len()],
        expected: Vec::new(),
        conditional: None,
        innocent: None,
        special: special_image(original, leak.format(), &path),
    })
}

fn summarise(
    root: &Path,
    parameters: &Parameters,
    reports: Vec<Report>,
    leaks: &[Leak],
) -> Result<Planted> {
    let mut planted = Planted {
        ossify_version: env!("CARGO_PKG_VERSION").into(),
        revision: Planted::REVISION,
        images: parameters.images,
        seed: parameters.seed,
        labels_only: parameters.labels_only,
        classes: Anatomy::ALL
            .iter()
            .map(|anatomy| PlantedClass {
                id: anatomy.class_id(),
                name: anatomy.class_name().into(),
            })
            .collect(),
        rare_threshold: (0, 0),
        ledger: BTreeMap::new(),
        splits: BTreeMap::new(),
        faults: Vec::new(),
        conditional: Vec::new(),
        innocent: Vec::new(),
        special_images: Vec::new(),
        leaks_wanted: parameters.planted_leaks(),
        leaks: leaks.iter().map(Leak::planted).collect(),
        folders: BTreeMap::new(),
    };
    for report in reports {
        let split: &mut PlantedSplit = planted.splits.entry(report.split).or_default();
        split.images += report.images;
        split.labels += report.labels;
        match report.status {
            Status::Labelled => split.labelled += report.images,
            Status::Background => split.background += report.images,
            Status::Unlabelled => split.unlabelled += report.images,
            Status::Unreadable => split.unreadable += report.images,
        }
        let ledger = planted.ledger.entry(report.split).or_default();
        ledger.lines += report.boxes + report.polygons + report.quarantined;
        ledger.boxes += report.boxes;
        ledger.polygons += report.polygons;
        ledger.quarantined += report.quarantined;
        ledger.rare_filtered += report.objects_per_class[RARE];
        for (class, objects) in report.objects_per_class.iter().enumerate() {
            split.objects_per_class[class] += objects;
            split.images_per_class[class] += report.images * u64::from(*objects > 0);
        }
        planted.faults.extend(report.expected);
        planted.conditional.extend(report.conditional);
        planted.innocent.extend(report.innocent);
        planted.special_images.extend(report.special);
    }
    planted.faults.push(Expected::of_file("class-rare", DATA_YAML));
    let train_objects = planted
        .splits
        .get(&Split::Train)
        .map_or([0; Anatomy::ALL.len()], |split| split.objects_per_class);
    let fewest_common = train_objects
        .iter()
        .enumerate()
        .filter(|(class, _)| *class != RARE)
        .map(|(_, objects)| *objects)
        .min();
    planted.rare_threshold = (train_objects[RARE] + 1, fewest_common.unwrap_or(0));
    planted.faults.sort_by(|a, b| {
        split_of(&a.path)
            .cmp(&split_of(&b.path))
            .then_with(|| (&a.path, a.line).cmp(&(&b.path, b.line)))
    });
    for split in Split::ALL {
        for kind in ["images", "labels"] {
            let name = format!("{split}/{kind}");
            let size = measure(&root.join(&name))
                .map_err(ArtefactError::io("cannot read the folder", root.join(&name)))?;
            planted.folders.insert(name, size);
        }
    }
    Ok(planted)
}

fn split_of(path: &str) -> Option<Split> {
    Split::ALL.into_iter().find(|split| path.split('/').next() == Some(split.as_str()))
}

/// Whether a phantom dataset may take this folder's place: there is none, it is empty, or it is one
/// itself.
fn check_replaceable(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(ArtefactError::io("cannot read the folder", folder)(e).into()),
    };
    let is_phantom = folder.join(PLANTED_FILE).is_file();
    for entry in entries {
        let name = entry
            .map_err(ArtefactError::io("cannot read the folder", folder))?
            .file_name()
            .to_string_lossy()
            .into_owned();
        let is_ours = is_phantom
            && [PLANTED_FILE, DATA_YAML, "train", "valid", "test"].contains(&name.as_str());
        if !is_ours {
            return Err(PhantomError::Occupied { path: folder.to_path_buf(), name });
        }
    }
    Ok(())
}

fn lock(path: &Path, folder: &Path) -> Result<File> {
    // What a link leads to belongs to somebody else.
    let file = File::options()
        .write(true)
        .create(true)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(path)
        .map_err(ArtefactError::io("cannot create", path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(ArtefactError::Busy { path: folder.to_path_buf() }.into())
        }
        Err(TryLockError::Error(e)) => Err(ArtefactError::io("cannot lock", path)(e).into()),
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    Ok(fs::write(path, bytes).map_err(ArtefactError::io("cannot write", path))?)
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    Ok(fs::rename(from, to).map_err(ArtefactError::io("cannot move", from))?)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(ArtefactError::io("cannot remove", folder)(e).into())
        }
        _ => Ok(()),
    }
}

fn measure(folder: &Path) -> io::Result<FolderSize> {
    let names = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let sizes = names
        .par_iter()
        .map(|entry| entry.metadata().map(|data| data.len()))
        .collect::<io::Result<Vec<u64>>>()?;
    Ok(FolderSize { files: sizes.len() as u64, bytes: sizes.iter().sum() })
}
