//! Passes the linker arguments for libtorch, which `ossify-model` hands on, to this crate's
//! binaries and tests.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Ok(arguments) = std::env::var("DEP_OSSIFY_MODEL_LINK_ARGS") {
        for argument in arguments.split('\t').filter(|argument| !argument.is_empty()) {
            println!("cargo::rustc-link-arg={argument}");
        }
    }
}
