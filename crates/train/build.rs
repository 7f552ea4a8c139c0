//! Passes the linker arguments for libtorch, which `ossify-model` hands on, to this crate's
//! binaries and tests, and notes the commit that is being built.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Ok(arguments) = std::env::var("DEP_OSSIFY_MODEL_LINK_ARGS") {
        for argument in arguments.split('\t').filter(|argument| !argument.is_empty()) {
            println!("cargo::rustc-link-arg={argument}");
        }
    }
    let log = "../../.git/logs/HEAD";
    if std::path::Path::new(log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    let commit = Command::new("git")
        .args(["rev-parse", "HEAD"])
        .output()
        .ok()
        .filter(|output| output.status.success());
    if let Some(commit) = commit.and_then(|output| String::from_utf8(output.stdout).ok()) {
        println!("cargo::rustc-env=OSSIFY_GIT_COMMIT={}", commit.trim());
    }
}
