//! Finds the libtorch that `torch-sys` links, compiles the kernels of `src/shim` against it, and
//! works out what every binary has to tell the linker about it: an rpath, so that nobody exports a
//! library path, the CUDA library, which the linker would drop because no symbol of it is named
//! directly, and libtorch's own OpenMP, whose threads the kernels share.
//!
//! The arguments are applied to this crate's own tests and handed on, tab-separated, as
//! `DEP_OSSIFY_TORCH_KERNELS_LINK_ARGS`.

use std::path::{Path, PathBuf};
use std::{env, fs};

const SOURCES: [&str; 5] = [
    "src/shim/norm_relu.cpp",
    "src/shim/dense_block.cpp",
    "src/shim/optimiser.cpp",
    "src/shim/memory.cpp",
    "src/shim/ffi.cpp",
];
const HEADERS: [&str; 4] =
    ["src/shim/norm_relu.h", "src/shim/dense_block.h", "src/shim/optimiser.h", "src/shim/memory.h"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LIBTORCH_INCLUDE");
    let library_folder = env::var_os("DEP_TCH_LIBTORCH_LIB")
        .filter(|_| env::var_os("CARGO_FEATURE_LIBTORCH").is_some())
        .map(PathBuf::from);
    let Some(library_folder) = library_folder else { return };
    let library_folder = fs::canonicalize(&library_folder).unwrap_or(library_folder);

    compile_kernels(&library_folder);
    let arguments = link_arguments(&library_folder);
    if is_sanitized() {
        println!("cargo::rustc-link-arg=-lasan");
        println!("cargo::rustc-link-arg=-lubsan");
    }
    for argument in &arguments {
        println!("cargo::rustc-link-arg={argument}");
    }
    println!("cargo::metadata=link_args={}", arguments.join("\t"));
    println!(
        "cargo::rustc-env=OSSIFY_LIBTORCH_VERSION={}",
        version(&library_folder).unwrap_or_else(|| "unknown".to_owned())
    );
}

/// Whether the kernels are compiled with sanitizers, for this crate's own tests.
fn is_sanitized() -> bool {
    env::var_os("CARGO_FEATURE_SANITIZERS").is_some()
}

fn compile_kernels(library_folder: &Path) {
    println!("cargo::rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .opt_level(3)
        .pic(true)
        .warnings(false)
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str());
    if is_sanitized() {
        // The first report ends the process: a test must not pass with one.
        build.opt_level(1).flag("-fno-omit-frame-pointer");
        build.flag("-fsanitize=address,undefined").flag("-fno-sanitize-recover=all");
    }
    // Without OpenMP at::parallel_for runs on one thread and says nothing.
    build.flag_if_supported("-fopenmp");
    for folder in include_folder(library_folder)
        .into_iter()
        .flat_map(|folder| [folder.join("torch/csrc/api/include"), folder])
    {
        // Not ours to warn about.
        build.flag("-isystem").flag(folder.as_os_str());
    }
    for file in SOURCES.iter().chain(&HEADERS) {
        println!("cargo::rerun-if-changed={file}");
    }
    build.files(SOURCES);
    build.compile("ossify_torch_kernels_shim");
}

fn include_folder(library_folder: &Path) -> Option<PathBuf> {
    let root = env::var_os("LIBTORCH_INCLUDE").map_or_else(
        || library_folder.parent().map(Path::to_path_buf),
        |folder| Some(PathBuf::from(folder)),
    )?;
    Some(root.join("include"))
}

/// libtorch's own copy of OpenMP, by its file name.
fn openmp(library_folder: &Path) -> Option<String> {
    let names = fs::read_dir(library_folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with("libgomp") && name.contains(".so")).min()
}

fn link_arguments(library_folder: &Path) -> Vec<String> {
    if env::var("CARGO_CFG_TARGET_FAMILY").as_deref() != Ok("unix") {
        return Vec::new();
    }
    let mut arguments = vec![
        format!("-Wl,-rpath,{}", library_folder.display()),
        format!("-L{}", library_folder.display()),
    ];
    if let Some(openmp) = openmp(library_folder) {
        arguments.push(format!("-l:{openmp}"));
    }
    if library_folder.join("libtorch_cuda.so").exists() {
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
    let include = include_folder(library_folder)?;
    let headers = ["torch/headeronly/version.h", "torch/csrc/api/include/torch/version.h"];
    headers.iter().find_map(|header| {
        let text = fs::read_to_string(include.join(header)).ok()?;
        text.split("#define TORCH_VERSION ").nth(1)?.split('"').nth(1).map(str::to_owned)
    })
}
