//! Times the steps from JPEG files to tensors on one thread: jpeg_stages FOLDER [ROUNDS]

use std::time::Instant;

use ossify_imaging::{decode, decode_picture, to_tensor, to_tensor_into};
use ossify_vocabulary::{Channels, Filter, Geometry, Limits, TensorSpec};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: jpeg_stages FOLDER [ROUNDS]")?;
    let rounds: usize = std::env::args().nth(2).map_or(Ok(3), |rounds| rounds.parse())?;
    let files: Vec<Vec<u8>> = std::fs::read_dir(folder)?
        .map(|entry| std::fs::read(entry?.path()))
        .collect::<Result<_, _>>()?;
    let spec = TensorSpec {
        side_px: 224,
        channels: Channels::Rgb,
        geometry: Geometry::Stretch,
        filter: Filter::Bilinear,
        antialias: true,
    };
    let limits = Limits::default();
    let micros = |start: Instant| start.elapsed().as_secs_f64() * 1e6 / files.len() as f64;
    let mut out = vec![0; spec.bytes()];
    for _ in 0..rounds {
        let start = Instant::now();
        let pictures = files
            .iter()
            .map(|file| decode_picture(file, &limits, &spec))
            .collect::<Result<Vec<_>, _>>()?;
        let decoding = micros(start);
        let start = Instant::now();
        for picture in &pictures {
            to_tensor_into(picture, &spec, &mut out)?;
        }
        let resizing = micros(start);
        let start = Instant::now();
        let pixels =
            files.iter().map(|file| decode(file, &limits)).collect::<Result<Vec<_>, _>>()?;
        let whole_decoding = micros(start);
        let mut difference = 0.0;
        for (picture, pixels) in pictures.iter().zip(&pixels) {
            to_tensor_into(picture, &spec, &mut out)?;
            let (whole, _) = to_tensor(pixels, &spec)?;
            difference +=
                out.iter().zip(&whole).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>()
                    / whole.len() as f64;
        }
        println!(
            "decode {decoding:.0} us, resize {resizing:.0} us, whole decode {whole_decoding:.0} \
            us, mean difference {:.3}",
            difference / files.len() as f64
        );
    }
    Ok(())
}
