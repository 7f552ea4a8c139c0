use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::SyncSender;

use anyhow::{Context as _, Result, bail};
use ossify_contract::{Fingerprint, ShardShape};
use ossify_imaging::{Channels, Filter, Geometry, Limits, TensorSpec, decode_picture, read_file, to_tensor_into};
use ossify_settings::ResizeSettings;
use rayon::prelude::*;
use serde::Serialize;
use walkdir::WalkDir;

use crate::network::Batch;
use crate::rows::Origin;

const EXTENSIONS: [&str; 9] = ["jpg", "jpeg", "png", "bmp", "tif", "tiff", "webp", "dcm", "dicom"];

/// An image that could not be predicted.
#[derive(Clone, Debug, Serialize)]
pub struct Unreadable {
    /// Path from the folder.
    pub image_id: String,
    /// Why.
    pub reason: String,
}

/// The images below a folder.
pub struct ImageFolder {
    root: PathBuf,
    /// Paths from the root with `/` separators, in order.
    ids: Vec<String>,
    spec: TensorSpec,
    limits: Limits,
    unreadable: Mutex<Vec<Unreadable>>,
}

impl ImageFolder {
    /// Lists the images below `root`. Tensors are made as `resize` says.
    ///
    /// # Errors
    /// Fails where the folder cannot be read or has no image.
    pub fn list(root: &Path, resize: &ResizeSettings) -> Result<Self> {
        let mut ids = Vec::new();
        for entry in WalkDir::new(root).follow_links(true).sort_by_file_name() {
            let entry = entry.with_context(|| format!("cannot list the images of {}", root.display()))?;
            let extension = entry.path().extension().map(|extension| extension.to_string_lossy().to_lowercase());
            if entry.file_type().is_file() && extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str())) {
                let parts = entry.path().strip_prefix(root).unwrap_or(entry.path()).components();
                ids.push(parts.map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/"));
            }
        }
        if ids.is_empty() {
            bail!("{} has no image; known are {}", root.display(), EXTENSIONS.join(", "));
        }
        ids.sort();
        let limits = Limits { max_pixels: resize.max_pixels, max_memory_bytes: resize.max_memory_bytes };
        Ok(ImageFolder { root: root.to_path_buf(), ids, spec: tensor_spec(resize), limits, unreadable: Mutex::new(Vec::new()) })
    }

    /// How many images.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Shape of the tensors.
    pub fn shape(&self) -> ShardShape {
        ShardShape { height: self.spec.side_px, width: self.spec.side_px, channels: self.spec.channels.count() as u32 }
    }

    /// Adds names, sizes and times of the files, and how tensors are made of them.
    pub fn add_to(&self, fingerprint: &mut Fingerprint) {
        fingerprint.add(format!("{:?}", self.spec));
        for id in &self.ids {
            fingerprint.add(id);
            if let Ok(metadata) = std::fs::metadata(self.root.join(id)) {
                let modified = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
                fingerprint.add(format!("{} {}", metadata.len(), modified.map_or(0, |time| time.as_nanos())));
            }
        }
    }

    /// Decodes all images on all threads and sends them in order, in batches.
    pub fn send(&self, batch_size: usize, sender: &SyncSender<Result<Batch>>) {
        for ids in self.ids.chunks(batch_size) {
            let tensors: Vec<_> = ids.par_iter().map(|id| self.tensor(id)).collect();
            let mut batch = Batch { pixels: Vec::with_capacity(ids.len() * self.spec.bytes()), origins: Vec::with_capacity(ids.len()) };
            for tensor in tensors {
                match tensor {
                    Ok((pixels, origin)) => {
                        batch.pixels.extend(pixels);
                        batch.origins.push(origin);
                    }
                    Err(unreadable) => self.unreadable.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(unreadable),
                }
            }
            if !batch.origins.is_empty() && sender.send(Ok(batch)).is_err() {
                return;
            }
        }
    }

    /// The images that could not be read, once all were sent.
    pub fn unreadable(self) -> Vec<Unreadable> {
        self.unreadable.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn tensor(&self, id: &str) -> Result<(Vec<u8>, Origin), Unreadable> {
        let read = || {
            let bytes = read_file(self.root.join(id), &self.limits)?;
            decode_picture(&bytes, &self.limits, &self.spec)
        };
        let picture = read().map_err(|e| Unreadable { image_id: id.to_owned(), reason: e.to_string() })?;
        let mut pixels = vec![0; self.spec.bytes()];
        let transform = to_tensor_into(&picture, &self.spec, &mut pixels);
        let tensor = (self.spec.side_px, self.spec.side_px);
        Ok((pixels, Origin { image_id: id.to_owned(), source: picture.size(), tensor, transform }))
    }
}

/// The words of the configuration in the words of the imaging crate.
fn tensor_spec(settings: &ResizeSettings) -> TensorSpec {
    use ossify_settings as words;
    TensorSpec {
        side_px: settings.side_px,
        channels: match settings.channels {
            words::Channels::Rgb => Channels::Rgb,
            words::Channels::Gray => Channels::Gray,
        },
        geometry: match settings.geometry {
            words::Geometry::Stretch => Geometry::Stretch,
            words::Geometry::Letterbox => Geometry::Letterbox,
            words::Geometry::CenterCrop => Geometry::CenterCrop,
        },
        filter: match settings.filter {
            words::Filter::Nearest => Filter::Nearest,
            words::Filter::Bilinear => Filter::Bilinear,
            words::Filter::Hamming => Filter::Hamming,
            words::Filter::CatmullRom => Filter::CatmullRom,
            words::Filter::Mitchell => Filter::Mitchell,
            words::Filter::Lanczos3 => Filter::Lanczos3,
        },
        antialias: settings.antialias,
    }
}
