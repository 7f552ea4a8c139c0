//! Downloads that survive: resumable, checked, and put in place only when whole; and the dataset of
//! the reference recipe, fetched with the user's own key.
//!
//! ```no_run
//! use ossify_download::{Fetch, fetch};
//!
//! let name = "densenet121-a639ec97.pth";
//! let request = Fetch::new(format!("https://example.org/{name}"), format!("weights/{name}"))
//!     .sha256("a639ec97");
//! let fetched = fetch(&request, |done, total| println!("{done} of {total:?} bytes"))?;
//! # Ok::<(), ossify_download::DownloadError>(())
//! ```

mod archive;
mod dataset;
mod error;
mod fetch;
mod hex;
mod kaggle;
mod part;

pub use archive::{ArchiveError, ArchiveLimits, extract};
pub use dataset::{
    BONE_FRACTURE, DatasetError, ExpectedSplit, KnownDataset, find_root, install_archive,
    is_installed,
};
pub use error::DownloadError;
pub use fetch::{Fetch, Fetched, fetch, sha256_of};
pub use kaggle::{Credentials, CredentialsError, find_credentials};
