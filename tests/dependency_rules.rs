//! The rules of layout: which module may import which, what pure modules may not use, and which
//! crates belong where.
//!
//! Source files are read as text. Comments, string literals and the unit tests at the end of a file
//! do not count.

#![allow(
    clippy::unwrap_used,
    reason = "a test stops at what it does not expect"
)]

use std::fs;
use std::path::Path;

/// A module, and the modules of this crate that it may import. The longest matching module decides for a file.
/// `storage` allows all of `storage`; `storage/codec` allows only that part.
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("lib", &[]),
    ("observability", &["config"]),
    ("config", &["keys"]),
    ("keys", &["watched_file"]),
    ("watched_file", &[]),
    ("gzip", &[]),
    ("domain", &[]),
    ("state", &["domain"]),
    ("ingest", &["domain", "gzip"]),
    ("ingest/admission", &["memory_budget"]),
    ("ingest/body", &["ingest", "memory_budget"]),
    ("ingest/bucket_allowlist", &["storage", "ingest"]),
    ("ingest/decode_pool", &["ingest"]),
    ("ingest/error", &["ledger"]),
    ("ingest/import_object", &["ingest", "memory_budget"]),
    (
        "ingest/pipeline",
        &[
            "domain",
            "gzip",
            "ingest",
            "ledger",
            "memory_budget",
            "observability",
        ],
    ),
    ("memory_budget", &[]),
    ("storage", &["domain", "gzip"]),
    ("storage/backend", &["domain", "observability", "storage"]),
    ("storage/history_file", &["domain", "gzip", "state"]),
    (
        "ledger",
        &["domain", "gzip", "observability", "state", "storage"],
    ),
    (
        "http",
        &[
            "config",
            "domain",
            "gzip",
            "ingest",
            "keys",
            "ledger",
            "memory_budget",
            "observability",
            "state",
            "storage/history_file",
        ],
    ),
    (
        "server",
        &[
            "config",
            "domain",
            "http",
            "keys",
            "ledger",
            "observability",
            "storage",
            "watched_file",
        ],
    ),
    ("firehose_client", &["gzip"]),
    (
        "cli/doctor",
        &[
            "cli/healthcheck",
            "config",
            "domain",
            "firehose_client",
            "keys",
            "ledger",
            "server",
            "storage",
        ],
    ),
    (
        "cli/command_line",
        &[
            "cli/doctor",
            "cli/healthcheck",
            "cli/replay",
            "cli/simulate",
            "config",
            "firehose_client",
        ],
    ),
    ("cli/healthcheck", &["config", "firehose_client"]),
    ("cli/progress", &[]),
    (
        "cli/replay",
        &[
            "cli/progress",
            "config",
            "domain",
            "firehose_client",
            "ingest",
            "keys",
            "state",
            "storage",
        ],
    ),
    (
        "cli/serve",
        &[
            "cli/healthcheck",
            "cli/simulate",
            "config",
            "firehose_client",
            "ledger/clock",
            "ledger/start_retries",
            "server",
            "storage",
        ],
    ),
    (
        "cli/simulate",
        &["cli/progress", "config", "domain", "firehose_client"],
    ),
    ("cli/simulate/race", &["domain"]),
    ("cli/run", &["cli", "config", "observability", "server"]),
    ("cli", &["cli/command_line", "cli/run"]),
    (
        "fuzz_targets",
        &["domain", "gzip", "ingest", "ledger", "state", "storage"],
    ),
];

/// Modules without async, IO, clock, logging and randomness.
const PURE: &[&str] = &[
    "domain",
    "gzip",
    "ingest/decoded_records",
    "ingest/envelope",
    "ingest/envelope_fast_path",
    "ingest/json_scan",
    "ingest/lambda_event",
    "ingest/object_reader",
    "ingest/record",
    "ingest/record_fast_path",
    "ingest/s3_notification",
    "ingest/transformation",
    "state",
    "storage/codec",
    "storage/history_file",
];
const IMPURE_WORDS: &[&str] = &[
    "async",
    "await",
    "tokio",
    "futures_util",
    "fs",
    "net",
    "process",
    "env",
    "thread",
    "SystemTime",
    "Instant",
    "tracing",
    "metrics",
    "rand",
    "println",
    "eprintln",
];

/// Crates and names, and the modules that may use them. A word that ends in `_` stands for every
/// word that begins so.
const RESERVED_WORDS: &[(&str, &[&str])] = &[
    // server/connections: the type of a response
    ("axum", &["http", "server/connections"]),
    ("axum_", &["server"]),
    ("aws_", &["server/tls", "storage/backend/s3"]), // server/tls: the cryptography library of that name
    ("rustls", &["firehose_client", "server"]),
    ("tower_", &["http"]),
    ("utoipa", &["http"]),
    ("utoipa_", &["http"]),
    ("clap", &["cli", "config"]),
    (
        "anyhow",
        &[
            "cli",
            "config",
            "firehose_client",
            "http",
            "keys",
            "observability",
            "server",
            "storage",
            "watched_file",
        ],
    ),
    ("reqwest", &["cli", "firehose_client"]),
    (
        "SystemTime",
        &["ledger/clock", "watched_file", "firehose_client"],
    ),
    ("dbg", &[]),
    ("todo", &[]),
    ("unimplemented", &[]),
    ("unsafe", &[]),
];

fn is_under(file: &str, module: &str) -> bool {
    file == module
        || file
            .strip_prefix(module)
            .is_some_and(|rest| rest.starts_with('/'))
}

/// The violations of a file below `src`, each as a sentence.
fn violations(path: &str, text: &str) -> Vec<String> {
    let file = path.trim_end_matches(".rs").trim_end_matches("/mod");
    let arrows = ARROWS
        .iter()
        .filter(|(module, _)| is_under(file, module))
        .max_by_key(|(module, _)| module.len());
    let Some(&(_, allowed)) = arrows else {
        return vec![format!("{path}: no rule says what this module may import")];
    };
    let own = file.split('/').next().unwrap();
    let code = code_of(text);
    let mut violations = Vec::new();
    for imported in imported_modules(&code) {
        let is_own = is_under(&imported, own) && !file.starts_with("cli/");
        let is_sibling =
            file.starts_with("cli/") && imported.split('/').take(2).eq(file.split('/').take(2));
        if !is_own && !is_sibling && !allowed.iter().any(|module| is_under(&imported, module)) {
            violations.push(format!("{path} imports {imported}"));
        }
    }
    for word in words(&code) {
        if IMPURE_WORDS.contains(&word) && PURE.iter().any(|module| is_under(file, module)) {
            violations.push(format!("{path} is pure and uses {word}"));
        }
        for (reserved, users) in RESERVED_WORDS {
            let matches =
                word == *reserved || reserved.ends_with('_') && word.starts_with(reserved);
            if matches && !users.iter().any(|module| is_under(file, module)) {
                violations.push(format!("{path} uses {word}"));
            }
        }
    }
    if !text.starts_with("//!") {
        violations.push(format!("{path} does not begin with its purpose"));
    }
    violations.extend(ignored_tests(path, text));
    violations.sort();
    violations.dedup();
    violations
}

/// Tests that never run.
fn ignored_tests(path: &str, text: &str) -> Vec<String> {
    let mut ignored = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with(concat!("#[", "ignore")) {
            ignored.push(format!("{path}:{}: an ignored test", index + 1));
        }
    }
    ignored
}

/// The code without comments, string literals and the unit tests at the end.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("r#\"") {
            rest.find("\"#").map_or(rest.len(), |end| end + 2)
        } else if next == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|char| {
                let ends = char == '"' && !escaped;
                escaped = char == '\\' && !escaped;
                ends
            });
            end.map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("'\"'") {
            3
        } else {
            code.push(next);
            rest = &rest[next.len_utf8()..];
            continue;
        };
        code.push(' ');
        rest = &rest[skipped..];
    }
    code
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|char: char| !char.is_alphanumeric() && char != '_')
        .filter(|word| !word.is_empty())
}

/// The modules that paths from the crate's root name, with `/` between the parts: `crate::a::b::C`
/// gives `a/b/C`.
fn imported_modules(code: &str) -> Vec<String> {
    let code: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut imported = Vec::new();
    for root in ["crate::", "alleycat::"] {
        for (index, _) in code.match_indices(root) {
            let path = &code[index + root.len()..];
            let end = path.find(|char: char| !char.is_alphanumeric() && char != '_' && char != ':');
            let path = path[..end.unwrap_or(path.len())].trim_end_matches(':');
            imported.push(path.replace("::", "/"));
        }
    }
    imported
}

/// Every Rust file below that folder, with its path from there.
fn files(folder: &str) -> Vec<(String, String)> {
    fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(root, &path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path
                    .strip_prefix(root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = Vec::new();
    collect(&root, &root, &mut files);
    assert!(files.len() > 3, "{}", root.display());
    files
}

#[test]
fn every_module_follows_the_rules() {
    let violations: Vec<String> = files("src")
        .iter()
        .filter(|(path, _)| !path.ends_with("tests.rs"))
        .flat_map(|(path, text)| violations(path, text))
        .collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// A metric's name is a constant of `observability`, which describes it as well.
#[test]
fn metrics_are_named_in_observability_alone() {
    let names: Vec<String> = files("src")
        .iter()
        .filter(|(path, _)| path != "observability.rs")
        .filter(|(_, text)| text.contains(concat!("!(\"", "alleycat_")))
        .map(|(path, _)| path.clone())
        .collect();
    assert_eq!(names, [""; 0]);
}

#[test]
fn every_rule_names_modules_that_exist() {
    let files = files("src");
    for (module, allowed) in ARROWS {
        for module in allowed.iter().chain([module]) {
            let paths = [format!("{module}.rs"), format!("{module}/mod.rs")];
            assert!(
                files.iter().any(|(path, _)| paths.contains(path)),
                "{module}"
            );
        }
    }
}

#[test]
fn no_test_is_ignored() {
    let ignored: Vec<String> = files("tests")
        .iter()
        .flat_map(|(path, text)| ignored_tests(path, text))
        .collect();
    assert!(ignored.is_empty(), "{}", ignored.join("\n"));
}

#[test]
fn every_rule_can_fail() {
    for (path, code, expected) in [
        (
            "domain/effort.rs",
            "use crate::state::table::Table;",
            "domain/effort.rs imports state/table",
        ),
        (
            "ingest/record.rs",
            "use crate::ledger::Ledger;",
            "ingest/record.rs imports ledger",
        ),
        (
            "state/table/mod.rs",
            "fn f() { crate::storage::open() }",
            "state/table/mod.rs imports storage",
        ),
        (
            "storage/codec/names.rs",
            "use crate::ledger::Ledger;",
            "storage/codec/names.rs imports ledger",
        ),
        (
            "storage/backend/s3.rs",
            "use crate::state::races;",
            "storage/backend/s3.rs imports state/races",
        ),
        (
            "ledger/recovery.rs",
            "use crate::http;",
            "ledger/recovery.rs imports http",
        ),
        (
            "ledger/recovery.rs",
            "use crate::ingest::record;",
            "ledger/recovery.rs imports ingest/record",
        ),
        (
            "http/routes/history.rs",
            "use crate::storage::Store;",
            "http/routes/history.rs imports storage/Store",
        ),
        (
            "firehose_client.rs",
            "use crate::cli::simulate;",
            "firehose_client.rs imports cli/simulate",
        ),
        (
            "cli/simulate/race.rs",
            "use crate::firehose_client::X;",
            "cli/simulate/race.rs imports firehose_client",
        ),
        (
            "cli/replay/mod.rs",
            "use crate::cli::simulate;",
            "cli/replay/mod.rs imports cli/simulate",
        ),
        (
            "main.rs",
            "use alleycat::ledger::Ledger;",
            "main.rs imports ledger/Ledger",
        ),
        ("utils.rs", "", "utils.rs: no rule says"),
        (
            "state/table/mod.rs",
            "async fn f() {}",
            "state/table/mod.rs is pure and uses async",
        ),
        (
            "storage/history_file/json.rs",
            "use std::{fs, io};",
            "storage/history_file/json.rs is pure and uses fs",
        ),
        (
            "domain/effort.rs",
            "use std::time::Instant;",
            "domain/effort.rs is pure and uses Instant",
        ),
        (
            "ingest/record.rs",
            "fn f() { tracing::info!(\"\") }",
            "ingest/record.rs is pure and uses tracing",
        ),
        (
            "ledger/mod.rs",
            "use axum::Json;",
            "ledger/mod.rs uses axum",
        ),
        (
            "ledger/mod.rs",
            "use axum_server::Handle;",
            "ledger/mod.rs uses axum_server",
        ),
        (
            "storage/backend/local_fs.rs",
            "use aws_sdk_s3::Client;",
            "storage/backend/local_fs.rs uses aws_sdk_s3",
        ),
        (
            "ledger/mod.rs",
            "use std::time::SystemTime;",
            "ledger/mod.rs uses SystemTime",
        ),
        (
            "ledger/mod.rs",
            "use anyhow::Context;",
            "ledger/mod.rs uses anyhow",
        ),
        (
            "ledger/clock.rs",
            "fn f() { todo!() }",
            "ledger/clock.rs uses todo",
        ),
    ] {
        let violations = violations(path, &format!("//! Purpose.\n\n{code}\n"));
        assert_eq!(violations.len(), 1, "{path}: {code}: {violations:?}");
        assert!(violations[0].starts_with(expected), "{violations:?}");
    }
    for (path, code) in [
        (
            "state/races.rs",
            "// crate::ledger, async\nconst A: &str = \"crate::ledger \\\" axum\";\nconst B: char = '\"';",
        ),
        (
            "state/races.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::ledger;\n}",
        ),
        (
            "http/router.rs",
            "use crate::http::state::AppState;\nuse crate::state::table::{self, ledger};",
        ),
        ("server/mod.rs", "fn axumatic() {}"),
    ] {
        assert_eq!(
            violations(path, &format!("//! Purpose.\n\n{code}\n")),
            [""; 0],
            "{path}: {code}"
        );
    }
    assert!(
        violations("state/races.rs", "use std::fmt;")[0]
            .contains("does not begin with its purpose")
    );
    let ignored = format!("//! Purpose.\n#[{}]\n", "ignore");
    assert!(violations("state/races.rs", &ignored)[0].contains("ignored test"));
}
