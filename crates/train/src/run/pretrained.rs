use std::env::VarError;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ossify_download::{DownloadError, Fetch, fetch};
use ossify_settings::Reporter;
use ossify_vocabulary::Architecture;

use crate::interrupt::Interrupt;

/// Where torchvision's weights lie.
const TORCHVISION_URL: &str = "https://download.pytorch.org/models";
/// The environment variable that names a mirror of [`TORCHVISION_URL`].
const MIRROR_VARIABLE: &str = "OSSIFY_WEIGHTS_URL";
/// Fetched files are kept here, below the current folder.
const CACHE: &str = "data/weights";

/// One of torchvision's files; its name carries the first eight digits of its SHA-256.
struct WeightFile {
    name: &'static str,
    sha256_digits: &'static str,
    megabytes: u32,
}

/// The file of an architecture, as torchvision 0.24 names it (`DenseNet*_Weights.IMAGENET1K_V1`).
fn weight_file(architecture: Architecture) -> Option<WeightFile> {
    let (name, sha256_digits, megabytes) = match architecture {
        Architecture::DenseNet121 => ("densenet121-a639ec97.pth", "a639ec97", 31),
        Architecture::DenseNet161 => ("densenet161-8d451a50.pth", "8d451a50", 111),
        Architecture::DenseNet169 => ("densenet169-b2777c0a.pth", "b2777c0a", 55),
        Architecture::DenseNet201 => ("densenet201-c1103571.pth", "c1103571", 77),
        Architecture::DenseNetCompact => return None,
    };
    Some(WeightFile { name, sha256_digits, megabytes })
}

/// Torchvision's weights of an architecture: those of the cache, else fetched and checked. Where
/// another process is fetching them, waits until that has ended, whichever way.
///
/// # Errors
/// Offline, the error names the three ways out.
pub fn imagenet_weights(
    architecture: Architecture,
    reporter: &Reporter,
    interrupt: &Interrupt,
) -> Result<PathBuf> {
    let file = weight_file(architecture)
        .with_context(|| format!("there are no pretrained weights of {architecture}"))?;
    fetch_weights(&file, &weights_url()?, Path::new(CACHE), reporter, interrupt)
}

/// The folder of torchvision's weights, or of the mirror that the environment names.
///
/// # Errors
/// Fails where the variable is not UTF-8.
pub fn weights_url() -> Result<String> {
    match std::env::var(MIRROR_VARIABLE) {
        Ok(mirror) => Ok(mirror),
        Err(VarError::NotPresent) => Ok(TORCHVISION_URL.to_owned()),
        Err(VarError::NotUnicode(value)) => bail!(
            "environment variable {MIRROR_VARIABLE}: {value:?} is not UTF-8; it is the URL of a \
             mirror of {TORCHVISION_URL}"
        ),
    }
}

/// Whether weights could not be fetched because their address cannot be one.
pub fn is_wrong_address(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(DownloadError::Address { .. }))
}

fn fetch_weights(
    file: &WeightFile,
    base: &str,
    cache: &Path,
    reporter: &Reporter,
    interrupt: &Interrupt,
) -> Result<PathBuf> {
    let (url, destination) =
        (format!("{}/{}", base.trim_end_matches('/'), file.name), cache.join(file.name));
    std::fs::create_dir_all(cache)
        .with_context(|| format!("cannot create the folder {}", cache.display()))?;
    if !destination.exists() {
        reporter.say(format_args!(
            "fetches the weights pretrained on ImageNet ({} MB) from {url}",
            file.megabytes
        ));
    }
    let request = Fetch::new(&url, &destination)
        .sha256(file.sha256_digits)
        .max_bytes(u64::from(file.megabytes) * 2_000_000)
        .retries(3, Duration::from_millis(500));
    let (mut progress, mut done_before, mut is_waiting) = (None, 0, false);
    let fetched = loop {
        let fetched = fetch(&request, |done, total| {
            let progress =
                progress.get_or_insert_with(|| reporter.progress("weights", "bytes", total));
            progress.inc(done.saturating_sub(done_before));
            done_before = done;
        });
        if !matches!(fetched, Err(DownloadError::Busy { .. })) {
            break fetched;
        }
        if !is_waiting {
            is_waiting = true;
            reporter.say(format_args!(
                "another process fetches {}; waiting for it",
                destination.display()
            ));
        }
        interrupt.wait("the other process goes on with the download")?;
    };
    fetched.map(|fetched| fetched.path).map_err(|error| {
        let ways_out = ways_out(&error, &url, &destination);
        anyhow::Error::from(error).context(ways_out)
    })
}

fn ways_out(error: &DownloadError, url: &str, destination: &Path) -> String {
    match error {
        DownloadError::Disk { .. } => "the pretrained weights could not be stored".to_owned(),
        _ => format!(
            "the pretrained weights could not be fetched. Three ways out: connect and run again; \
                or fetch {url} by hand, put it at {} or name it with train.model.weights = \
                \"PATH\"; or start at random with train.model.weights = \"none\"",
            destination.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use ossify_settings::Verbosity;

    use super::*;

    fn densenet121() -> WeightFile {
        weight_file(Architecture::DenseNet121).unwrap()
    }

    #[test]
    fn every_file_bears_its_digest() {
        let files: Vec<WeightFile> =
            Architecture::ALL.into_iter().filter_map(weight_file).collect();
        assert_eq!(files.len(), 4);
        assert!(
            files.iter().all(|file| file.name.ends_with(&format!("-{}.pth", file.sha256_digits)))
        );
    }

    #[test]
    fn offline_the_error_names_the_three_ways_out() {
        let cache = tempfile::tempdir().unwrap();
        // A port that was free a moment ago: nobody listens.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = fetch_weights(
            &densenet121(),
            &format!("http://127.0.0.1:{port}/"),
            cache.path(),
            &Reporter::new(Verbosity::Quiet),
            &Interrupt::default(),
        )
        .unwrap_err();
        let text = format!("{error:#}");
        for way in [
            "connect and run again",
            "by hand",
            "train.model.weights = \"none\"",
            &format!("http://127.0.0.1:{port}/densenet121-a639ec97.pth"),
        ] {
            assert!(text.contains(way), "{text}");
        }
    }

    /// The error where a server answers everything with this.
    fn refusal_of(answer: &'static str) -> String {
        let cache = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let _ = write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n{answer}");
            }
        });
        let reporter = Reporter::new(Verbosity::Quiet);
        let interrupt = Interrupt::default();
        let error =
            fetch_weights(&densenet121(), &base, cache.path(), &reporter, &interrupt).unwrap_err();
        assert!(!cache.path().join(densenet121().name).exists());
        format!("{error:#}")
    }

    #[test]
    fn those_who_need_the_same_weights_wait_for_the_first() {
        let content = b"weights";
        let digest = "9a129038";
        let file = WeightFile { name: "w.pth", sha256_digits: digest, megabytes: 1 };
        let (cache, asked) = (tempfile::tempdir().unwrap(), Arc::new(AtomicUsize::new(0)));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked_of_server = asked.clone();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                asked_of_server.fetch_add(1, Ordering::Relaxed);
                let _ = stream.read(&mut [0; 4096]);
                // Long enough that the others find the download going on.
                std::thread::sleep(Duration::from_secs(1));
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 7\r\n\r\n",
                );
                let _ = stream.write_all(content);
            }
        });
        let fetched = || {
            let reporter = Reporter::new(Verbosity::Quiet);
            fetch_weights(&file, &base, cache.path(), &reporter, &Interrupt::default()).unwrap()
        };
        let paths = std::thread::scope(|scope| {
            [(); 3].map(|()| scope.spawn(fetched)).map(|thread| thread.join().unwrap())
        });
        assert!(paths.iter().all(|path| std::fs::read(path).unwrap() == content));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_is_not_the_file_is_refused() {
        for (answer, words) in [
            ("Content-Length: 5\r\n\r\nwrong", "a639ec97 was expected"),
            ("Content-Type: text/html\r\n\r\n<html>Log in</html>", "a page (text/html)"),
            ("Content-Length: 0\r\n\r\n", "an empty file"),
            ("Content-Length: 900000000\r\n\r\n", "longer than 62000000 bytes"),
        ] {
            let error = refusal_of(answer);
            assert!(error.contains(words), "{error}");
            assert!(error.contains("Three ways out"), "{error}");
        }
    }
}
