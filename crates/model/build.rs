//! Passes the linker arguments for libtorch, which `ossify-torch-kernels` worked out, to this
//! crate's tests and examples, and on to its dependents.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Ok(arguments) = std::env::var("DEP_OSSIFY_TORCH_KERNELS_LINK_ARGS") {
        for argument in arguments.split('\t').filter(|argument| !argument.is_empty()) {
            println!("cargo::rustc-link-arg={argument}");
        }
        println!("cargo::metadata=link_args={arguments}");
    }
}
