//! Finds the libtorch that `torch-sys` links and works out what every binary has to tell the linker about it:
//! an rpath, so that nobody exports a library path, and the CUDA library, which the linker would drop
//! because no symbol of it is named directly.
//!
//! The arguments are applied to this crate's own tests and handed on, tab-separated, as `DEP_OSSIFY_TORCH_KERNELS_LINK_ARGS`.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LIBTORCH_INCLUDE");
    let library_folder = env::var_os("DEP_TCH_LIBTORCH_LIB").filter(|_| env::var_os("CARGO_FEATURE_LIBTORCH").is_some()).map(PathBuf::from);
    let Some(library_folder) = library_folder else { return };
    let library_folder = fs::canonicalize(&library_folder).unwrap_or(library_folder);

    let arguments = link_arguments(&library_folder);
    for argument in &arguments {
        println!("cargo::rustc-link-arg={argument}");
    }
    println!("cargo::metadata=link_args={}", arguments.join("\t"));
    println!("cargo::rustc-env=OSSIFY_LIBTORCH_VERSION={}", version(&library_folder).unwrap_or_else(|| "unknown".to_owned()));
}

fn link_arguments(library_folder: &Path) -> Vec<String> {
    if env::var("CARGO_CFG_TARGET_FAMILY").as_deref() != Ok("unix") {
        return Vec::new();
    }
    let mut arguments = vec![format!("-Wl,-rpath,{}", library_folder.display())];
    if library_folder.join("libtorch_cuda.so").exists() {
        arguments.push(format!("-L{}", library_folder.display()));
        arguments.push("-Wl,--no-as-needed".to_owned());
        arguments.push("-ltorch_cuda".to_owned());
        arguments.push("-Wl,--as-needed".to_owned());
    }
    arguments
}

/// The version from the file that a libtorch archive carries, else from the headers.
fn version(library_folder: &Path) -> Option<String> {
    let root = library_folder.parent()?;
    if let Ok(text) = fs::read_to_string(root.join("build-version")) {
        return Some(text.trim().to_owned());
    }
    let include = env::var_os("LIBTORCH_INCLUDE").map_or_else(|| root.to_path_buf(), PathBuf::from).join("include");
    let headers = ["torch/headeronly/version.h", "torch/csrc/api/include/torch/version.h"];
    headers.iter().find_map(|header| {
        let text = fs::read_to_string(include.join(header)).ok()?;
        text.split("#define TORCH_VERSION ").nth(1)?.split('"').nth(1).map(str::to_owned)
    })
}
