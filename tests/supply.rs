//! Supply chain: tool versions agree in all files, and the page's packages are pinned and
//! permissively licensed. cargo-deny checks the crates (`make lint`).

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

/// Licences of the page's packages. Packages that only build the page may also have a
/// [`BUILDING_LICENCES`].
const LICENCES: [&str; 6] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
];
const BUILDING_LICENCES: [&str; 5] = [
    "(MIT OR CC0-1.0)",
    "BlueOak-1.0.0",
    "MPL-2.0",
    "OFL-1.1",
    "Python-2.0",
];

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Returns the part of `text` between `before` and `after`.
fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let (_, rest) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("{before} is missing"));
    rest.split_once(after).unwrap().0
}

#[test]
fn rust_and_node_versions_agree() {
    let rust = env!("CARGO_PKG_RUST_VERSION");
    let (dockerfile, readme) = (text("Dockerfile"), text("README.md"));
    assert_eq!(between(&dockerfile, "ARG RUST_VERSION=", "\n"), rust);
    assert_eq!(between(&readme, "need Rust ", ","), rust);
    let node = between(&dockerfile, "ARG NODE_VERSION=", "\n");
    assert_eq!(between(&readme, "Node ", " "), node);
    let page: Value = serde_json::from_str(&text("static/package.json")).unwrap();
    assert!(
        page["engines"]["node"]
            .as_str()
            .unwrap()
            .starts_with(&format!(">={node}."))
    );
    // A pinned toolchain makes rustup download it, which fails without network access.
    for pin in [
        "rust-toolchain",
        "rust-toolchain.toml",
        "fuzz/rust-toolchain.toml",
        ".cargo/config.toml",
    ] {
        assert!(
            !Path::new(env!("CARGO_MANIFEST_DIR")).join(pin).exists(),
            "{pin}"
        );
    }
}

/// Returns the packages in the page's lock file, without the page itself.
fn packages() -> Map<String, Value> {
    let lock: Value = serde_json::from_str(&text("static/package-lock.json")).unwrap();
    assert_eq!(lock["lockfileVersion"], 3);
    let Value::Object(mut packages) = lock["packages"].clone() else {
        panic!("no packages in the lock file")
    };
    packages.remove("").unwrap();
    packages
}

#[test]
fn page_packages_are_pinned_and_run_no_install_scripts() {
    let packages = packages();
    assert!(packages.len() > 50);
    for (name, package) in &packages {
        let integrity = package["integrity"].as_str().unwrap_or_default();
        assert!(integrity.starts_with("sha512-"), "{name} {integrity}");
        assert!(integrity.len() == 95, "{name} {integrity}");
        // A package without a source comes from the registry that npm is configured with.
        assert!(
            package.get("resolved").is_none(),
            "{name} has a source of its own"
        );
        assert!(package.get("link").is_none(), "{name}");
        // Only fsevents, for macOS, is built at installation, and not on Linux.
        assert!(
            package.get("hasInstallScript").is_none() || name == "node_modules/fsevents",
            "{name} runs a script"
        );
    }
}

#[test]
fn page_packages_have_permissive_licences() {
    for (name, package) in packages() {
        let licence = package["license"]
            .as_str()
            .unwrap_or_else(|| panic!("{name} names no licence"));
        let builds = package["dev"] == true;
        let may = LICENCES.contains(&licence) || builds && BUILDING_LICENCES.contains(&licence);
        assert!(may, "{name} is under {licence}");
    }
}

#[test]
fn crates_are_pinned_to_the_registry() {
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let lock = text(lock);
        let mut packages = lock.split("[[package]]").skip(1);
        let foreign = packages
            .by_ref()
            .filter(|package| !package.contains("name = \"alleycat"));
        let mut count = 0;
        for package in foreign {
            let source = between(package, "source = \"", "\"");
            assert!(
                source.starts_with("registry+https://github.com/rust-lang/crates.io-index"),
                "{package}"
            );
            assert_eq!(
                between(package, "checksum = \"", "\"").len(),
                64,
                "{package}"
            );
            count += 1;
        }
        assert!(count > 100, "{count}");
    }
}
