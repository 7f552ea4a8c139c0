//! Borders between crates that the compiler does not keep.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use ossify_tests::workspace_root;
use serde_json::Value;

/// The crates that may link Burn or libtorch.
const NETWORK_CRATES: [&str; 4] =
    ["ossify-model", "ossify-torch-kernels", "ossify-train", "ossify-predict"];
/// The stages; none may import another.
const STAGES: [&str; 7] = [
    "ossify-ingest",
    "ossify-resize",
    "ossify-train",
    "ossify-predict",
    "ossify-evaluate",
    "ossify-query",
    "ossify-phantom",
];

/// Normal dependencies of each package of the workspace's resolved graph, by name.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let compiler = Command::new("rustc").arg("-vV").output().unwrap();
    let compiler = String::from_utf8(compiler.stdout).unwrap();
    let host = compiler.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--offline",
            "--all-features",
            "--filter-platform",
            host,
        ])
        .current_dir(workspace_root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeMap<&str, &str> =
        packages.iter().map(|p| (p["id"].as_str().unwrap(), p["name"].as_str().unwrap())).collect();
    let mut graph = BTreeMap::<String, BTreeSet<String>>::new();
    for node in metadata["resolve"]["nodes"].as_array().unwrap() {
        let direct = graph.entry(names[node["id"].as_str().unwrap()].to_owned()).or_default();
        for dependency in node["deps"].as_array().unwrap() {
            let is_normal = dependency["dep_kinds"]
                .as_array()
                .unwrap()
                .iter()
                .any(|kind| kind["kind"].is_null());
            if is_normal {
                direct.insert(names[dependency["pkg"].as_str().unwrap()].to_owned());
            }
        }
    }
    graph
}

fn reachable(graph: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let (mut found, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(name) = open.pop() {
        for dependency in graph.get(&name).into_iter().flatten() {
            if found.insert(dependency.clone()) {
                open.push(dependency.clone());
            }
        }
    }
    found
}

#[test]
fn only_the_network_crates_link_burn_or_libtorch() {
    let graph = dependencies();
    let ours: Vec<_> = graph.keys().filter(|name| name.starts_with("ossify-")).collect();
    assert!(ours.len() >= 12, "{ours:?}");
    for name in ours {
        let network: Vec<_> = reachable(&graph, name)
            .into_iter()
            .filter(|d| d == "burn" || d.starts_with("burn-") || d == "tch" || d == "torch-sys")
            .collect();
        assert_eq!(
            !network.is_empty(),
            NETWORK_CRATES.contains(&name.as_str()),
            "{name} reaches {network:?}"
        );
    }
}

#[test]
fn no_stage_imports_another() {
    let graph = dependencies();
    for stage in STAGES {
        let others: Vec<_> =
            reachable(&graph, stage).into_iter().filter(|d| STAGES.contains(&d.as_str())).collect();
        assert!(others.is_empty(), "{stage} imports {others:?}");
    }
}

#[test]
fn polars_serves_query_alone() {
    let graph = dependencies();
    for name in graph.keys().filter(|name| name.starts_with("ossify-")) {
        assert_eq!(reachable(&graph, name).contains("polars"), name == "ossify-query", "{name}");
    }
}
