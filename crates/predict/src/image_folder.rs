use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::SyncSender;

use anyhow::{Context as _, Result, bail};
use ossify_contract::{Fingerprint, ShardShape, UnreadableImage};
use ossify_imaging::{HeaderError, ImageFormat, decode_picture, read_file, to_tensor_into};
use ossify_storage::{ReadAhead, is_outage, is_url};
use ossify_vocabulary::{Limits, TensorSpec};
use rayon::prelude::*;
use walkdir::WalkDir;

use crate::network::Batch;
use crate::rows::Origin;

/// What a walk through a folder has found.
#[derive(Default)]
struct Found {
    ids: Vec<String>,
    /// Images whose names no table can hold, or no request.
    unnamed: Vec<UnreadableImage>,
    loops: Vec<String>,
}

impl Found {
    /// Adds a file. A link that leads nowhere is an image that cannot be read; a link to a folder
    /// around it is passed over.
    fn add(
        &mut self,
        root: &Path,
        entry: Result<walkdir::DirEntry, walkdir::Error>,
    ) -> Result<(), walkdir::Error> {
        let path = match entry {
            Ok(entry) if entry.file_type().is_file() => entry.into_path(),
            Ok(_) => return Ok(()),
            Err(error) => match (error.path(), error.loop_ancestor()) {
                (Some(path), Some(_)) => {
                    self.loops.push(escaped(path.strip_prefix(root).unwrap_or(path)));
                    return Ok(());
                }
                (Some(path), None)
                    if path != root
                        && path.symlink_metadata().is_ok_and(|found| found.is_symlink()) =>
                {
                    path.to_path_buf()
                }
                _ => return Err(error),
            },
        };
        if !is_image(&path) {
            return Ok(());
        }
        self.add_image(path.strip_prefix(root).unwrap_or(&path));
        Ok(())
    }

    /// Adds the image with this path from the folder.
    fn add_image(&mut self, inner: &Path) {
        match inner.to_str() {
            Some(id) => self.ids.push(id.to_owned()),
            None => self.unnamed.push(UnreadableImage {
                image_id: escaped(inner),
                reason: "its name is not UTF-8; rename the file".to_owned(),
            }),
        }
    }
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| ImageFormat::EXTENSIONS.contains(&extension.as_str()))
}

/// The path with bytes that are not UTF-8 as `\xFF`.
fn escaped(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}")));
    }
    text
}

/// The images below a folder, or one of them.
pub struct ImageFolder {
    root: PathBuf,
    /// Paths from the root with `/` separators, in order.
    ids: Vec<String>,
    loops: Vec<String>,
    spec: TensorSpec,
    limits: Limits,
    unreadable: Mutex<Vec<UnreadableImage>>,
}

impl ImageFolder {
    /// Lists the images below `root`, or takes `root` itself if it is a file, whatever its ending.
    /// Tensors are made as `spec` says, of images within `limits`.
    ///
    /// # Errors
    /// Fails where the folder cannot be read or has no image.
    pub fn list(root: &Path, spec: TensorSpec, limits: Limits) -> Result<Self> {
        let failed = || format!("cannot list the images of {}", root.display());
        let mut found = Found::default();
        let mut folder = root.to_path_buf();
        let is_folder = ossify_storage::stat(root).with_context(failed)?.is_dir();
        if !is_folder {
            folder = root.parent().map(Path::to_path_buf).unwrap_or_default();
            found.add_image(root.strip_prefix(&folder).unwrap_or(root));
        } else if is_url(root) {
            for object in ossify_storage::list(root).with_context(failed)? {
                let (id, _) = object.with_context(failed)?;
                if is_image(Path::new(&id)) {
                    found.ids.push(id);
                }
            }
            let refused = ossify_storage::refused_below(root).with_context(failed)?;
            let images = refused.into_iter().filter(|id| is_image(Path::new(id)));
            found.unnamed.extend(images.map(|image_id| {
                UnreadableImage {
                    image_id,
                    reason: "a part of its name is empty, \".\" or \"..\", or has a control \
                         character, so that it cannot be read; rename the object"
                        .to_owned(),
                }
            }));
        } else {
            for entry in WalkDir::new(root).follow_links(true).sort_by_file_name() {
                found.add(root, entry).with_context(failed)?;
            }
        }
        let Found { mut ids, unnamed, loops } = found;
        if ids.is_empty() && unnamed.is_empty() {
            bail!(
                "{} has no image; known are {}",
                root.display(),
                ImageFormat::EXTENSIONS.join(", ")
            );
        }
        ids.sort();
        Ok(ImageFolder { root: folder, ids, loops, spec, limits, unreadable: Mutex::new(unnamed) })
    }

    /// The folder that the paths of the images begin at.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Which images are refused.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many images will be read.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Links to folders around them, which were not entered.
    pub fn loops(&self) -> &[String] {
        &self.loops
    }

    /// Shape of the tensors.
    pub fn shape(&self) -> ShardShape {
        ShardShape::from(&self.spec)
    }

    /// Adds names, sizes and times of the files, and how tensors are made of them.
    ///
    /// # Errors
    /// Fails where an object store does not answer.
    pub fn add_to(&self, fingerprint: &mut Fingerprint) -> Result<()> {
        fingerprint.add(format!("{:?}", self.spec));
        for image in self.unreadable.lock().iter().flat_map(|unnamed| unnamed.iter()) {
            fingerprint.add("unnamed").add(&image.image_id);
        }
        for id in &self.ids {
            fingerprint.add(id);
            if let Some(stat) = ossify_storage::find(&self.root.join(id))
                .with_context(|| format!("cannot look up {id}"))?
            {
                fingerprint.add(stat.size_and_time());
            }
        }
        Ok(())
    }

    /// Decodes all images on all threads and sends them in order, in batches.
    pub fn send(&self, batch_size: usize, sender: &SyncSender<Result<Batch>>) {
        let paths = self.ids.iter().map(|id| self.root.join(id));
        let mut images = ReadAhead::new(paths, self.limits.max_memory_bytes, batch_size);
        for ids in self.ids.chunks(batch_size) {
            let read: Vec<_> = ids.iter().zip(images.by_ref()).collect();
            let tensors: Result<Vec<_>> = read
                .into_par_iter()
                .map(|(id, (path, object))| self.tensor(id, &path, object))
                .collect();
            let tensors = match tensors {
                Ok(tensors) => tensors,
                Err(e) => {
                    let _ = sender.send(Err(e));
                    return;
                }
            };
            let mut batch = Batch {
                pixels: Vec::with_capacity(ids.len() * self.spec.bytes()),
                origins: Vec::with_capacity(ids.len()),
            };
            for tensor in tensors {
                match tensor {
                    Ok((pixels, origin)) => {
                        batch.pixels.extend(pixels);
                        batch.origins.push(origin);
                    }
                    Err(unreadable) => self
                        .unreadable
                        .lock()
                        .unwrap_or_else(|poisoned| poisoned.into_inner())
                        .push(unreadable),
                }
            }
            if !batch.origins.is_empty() && sender.send(Ok(batch)).is_err() {
                return;
            }
        }
    }

    /// The images that could not be read, once all were sent.
    pub fn unreadable(self) -> Vec<UnreadableImage> {
        self.unreadable.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The tensor of an image, whose bytes are given if it is an object of a store. The outer error
    /// ends the run: the store did not answer, which says nothing of the image.
    fn tensor(
        &self,
        id: &str,
        path: &Path,
        object: Option<std::io::Result<Vec<u8>>>,
    ) -> Result<Result<(Vec<u8>, Origin), UnreadableImage>> {
        let bytes = match object {
            None => read_file(path, &self.limits),
            Some(Err(e)) if is_outage(&e) => return Err(e).context("cannot read an image"),
            Some(object) => object.map_err(|e| HeaderError::Io(e).into()),
        };
        let mut pixels = vec![0; self.spec.bytes()];
        let made = bytes
            .and_then(|bytes| decode_picture(&bytes, &self.limits, &self.spec))
            .and_then(|picture| Ok((to_tensor_into(&picture, &self.spec, &mut pixels)?, picture)));
        let (transform, picture) = match made {
            Ok(made) => made,
            Err(e) => {
                return Ok(Err(UnreadableImage { image_id: id.to_owned(), reason: e.to_string() }));
            }
        };
        let tensor = (self.spec.side_px, self.spec.side_px);
        Ok(Ok((
            pixels,
            Origin { image_id: id.to_owned(), source: picture.size(), tensor, transform },
        )))
    }
}
