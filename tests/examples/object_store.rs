//! The object store of the tests, to try a stage by hand: `object_store FOLDER` copies a folder
//! into it as `dataset`, prints the environment variables to reach it, and runs until it is
//! stopped. With a second argument N, one request in N fails.

use std::path::Path;
use std::process::Command;

use ossify_tests::{ObjectStore, copy_folder};

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let store = ObjectStore::start();
    if let Some(folder) = arguments.next() {
        copy_folder(Path::new(&folder), &store.folder("dataset"))?;
    }
    store.fail_one_in(arguments.next().and_then(|number| number.parse().ok()).unwrap_or(0));
    let mut program = Command::new("true");
    store.configure(&mut program);
    for (name, value) in
        program.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?)))
    {
        println!("export {name}={value}");
    }
    println!("# {} and {}", store.url("dataset").display(), store.url("work").display());
    loop {
        std::thread::park();
    }
}
