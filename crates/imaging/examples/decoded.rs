//! Writes a decoded image to standard output: a line of width, height and channels, then the bytes.
//! The comparison with pydicom in pipelines/parity runs it.
//!
//!     decoded IMAGE

use std::io::Write as _;
use std::process::ExitCode;

use ossify_imaging::{DecodeError, Pixels, decode, read_file};
use ossify_vocabulary::Limits;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: decoded IMAGE");
        return ExitCode::from(2);
    };
    let limits = Limits::default();
    let decoded = read_file(&path, &limits).and_then(|bytes| decode(&bytes, &limits));
    match decoded
        .map_err(Failure::Image)
        .and_then(|pixels| written(&pixels).map_err(Failure::Output))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Image(e)) => failed(&format!("{}: {e}", path.to_string_lossy())),
        Err(Failure::Output(e)) => failed(&format!("cannot write the pixels: {e}")),
    }
}

enum Failure {
    Image(DecodeError),
    Output(std::io::Error),
}

fn written(pixels: &Pixels) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} {} {}", pixels.width(), pixels.height(), pixels.channels())?;
    out.write_all(pixels.data())?;
    out.flush()
}

fn failed(reason: &str) -> ExitCode {
    eprintln!("{reason}");
    ExitCode::FAILURE
}
