//! The arrows between the modules, and what a line of code may look like, as tests.
//!
//! Code is scanned as text: comments, strings and a file's tests at its end are left out, and what is left is looked
//! through for paths and words.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

use std::fs;
use std::path::Path;

/// A module, and the modules of ours that it may name. A file belongs to the longest module that its path begins with.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "main",
        &[
            "clock", "config", "doctor", "ready", "replay", "serve", "simulate", "store",
        ],
    ),
    ("lib", &[]),
    (
        "serve",
        &[
            "clock", "config", "http", "keys", "ledger", "simulate", "store",
        ],
    ),
    ("config", &["effort", "keys", "ledger"]),
    (
        "doctor",
        &["clock", "config", "keys", "ready", "serve", "store"],
    ),
    ("ready", &[]),
    (
        "http",
        &[
            "archive",
            "buckets",
            "config",
            "delivery",
            "effort",
            "erasures",
            "events",
            "history",
            "keys",
            "leaderboard",
            "ledger",
            "names",
            "plain",
            "races",
            "table",
            "telemetry",
        ],
    ),
    ("keys", &[]),
    ("simulate", &["effort", "sender"]),
    ("simulate/race", &["effort"]),
    ("replay", &["archive", "sender", "store"]),
    ("sender", &[]),
    (
        "ledger",
        &[
            "clock",
            "effort",
            "erasures",
            "history",
            "names",
            "races",
            "store",
            "table",
            "telemetry",
        ],
    ),
    (
        "ledger/journal",
        &["effort", "erasures", "names", "telemetry"],
    ),
    ("clock", &[]),
    ("store", &["effort"]),
    ("buckets", &["events", "store"]),
    ("archive", &["delivery"]),
    ("events", &["delivery", "effort", "plain", "telemetry"]),
    ("delivery", &["effort", "names", "plain", "telemetry"]),
    ("telemetry", &["effort", "plain"]),
    ("leaderboard", &["effort", "table"]),
    ("history", &["effort", "erasures", "plain", "table"]),
    ("table", &["effort"]),
    ("names", &["effort"]),
    ("races", &["effort"]),
    ("erasures", &["effort"]),
    (
        "fuzzing",
        &[
            "delivery",
            "effort",
            "history",
            "leaderboard",
            "ledger",
            "names",
            "table",
            "telemetry",
        ],
    ),
    ("effort", &[]),
    ("plain", &[]),
];

/// The core: no async, no IO, no clock, no logging, no chance.
const PURE: &[&str] = &[
    "archive",
    "delivery",
    "effort",
    "erasures",
    "events",
    "history",
    "leaderboard",
    "ledger/journal",
    "names",
    "plain",
    "races",
    "table",
    "telemetry",
];
const IMPURE: &[&str] = &[
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

/// Words that few modules may use. A word that ends in `_` stands for all that begin so.
const RESERVED: &[(&str, &[&str])] = &[
    ("axum", &["http", "config"]), // config: what a header may hold
    ("axum_", &["serve"]),
    ("aws_", &["serve/tls", "store/s3"]), // serve/tls: the cryptography of that name
    ("rustls", &["serve"]),
    ("tower_", &["http"]),
    ("utoipa", &["http"]),
    ("utoipa_", &["http"]),
    ("clap", &["config", "main", "ready", "replay", "simulate"]),
    (
        "anyhow",
        &[
            "config", "doctor", "http", "keys", "main", "ready", "replay", "sender", "serve",
            "simulate", "store",
        ],
    ),
    (
        "reqwest",
        &["doctor", "ready", "replay", "sender", "simulate"],
    ),
    ("SystemTime", &["clock", "keys", "sender"]),
    ("dbg", &[]),
    ("todo", &[]),
    ("unimplemented", &[]),
    ("unsafe", &[]),
];

const LINE_CHARS_MAX: usize = 120;

/// What is wrong with a file under `src`.
fn violations(path: &str, text: &str) -> Vec<String> {
    let file = path.trim_end_matches(".rs");
    let is_under = |module: &&str| {
        file == *module
            || file
                .strip_prefix(*module)
                .is_some_and(|rest| rest.starts_with('/'))
    };
    let arrows = ARROWS
        .iter()
        .filter(|(module, _)| is_under(module))
        .max_by_key(|(module, _)| module.len());
    let Some(&(module, allowed)) = arrows else {
        return vec![format!(
            "{path}: the arrows do not say what this module may name"
        )];
    };
    let mut violations = Vec::new();
    let code = code_of(text);
    let itself = module.split('/').next().unwrap();
    for named in modules_named(path, &code) {
        if named != itself && !allowed.contains(&named.as_str()) {
            violations.push(format!("{path} names {named}"));
        }
    }
    for word in words(&code) {
        if PURE.iter().any(is_under) && IMPURE.contains(&word) {
            violations.push(format!("{path} is pure, and uses {word}"));
        }
        for (reserved, users) in RESERVED {
            let meant = word == *reserved || reserved.ends_with('_') && word.starts_with(reserved);
            if meant && !users.iter().any(is_under) {
                violations.push(format!("{path} uses {word}"));
            }
        }
    }
    if !text.starts_with("//!") {
        violations.push(format!("{path} does not begin with what it is for"));
    }
    violations.extend(untidy(path, text));
    violations.sort();
    violations.dedup();
    violations
}

/// What is wrong with any file of ours.
fn untidy(path: &str, text: &str) -> Vec<String> {
    let mut untidy = Vec::new();
    for (place, line) in text.lines().enumerate() {
        let chars = line.chars().count();
        if chars > LINE_CHARS_MAX {
            untidy.push(format!("{path}:{}: {chars} characters", place + 1));
        }
        if line.trim_start().starts_with(concat!("#[", "ignore")) {
            untidy.push(format!("{path}:{}: a test that is not run", place + 1));
        }
    }
    untidy
}

/// The code without comments, texts, and the tests at its end.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
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

/// The modules of ours that are named by a path, whether from the crate, from above, or in braces.
fn modules_named(path: &str, code: &str) -> Vec<String> {
    let depth = path.matches('/').count() + 1;
    let above = "super::".repeat(depth);
    let roots = match path {
        "main.rs" => vec!["alleycat::".to_owned()],
        _ => vec!["crate::".to_owned(), above],
    };
    let code: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut named = Vec::new();
    for root in roots {
        for (place, _) in code.match_indices(&root) {
            let rest = &code[place + root.len()..];
            let Some(braced) = rest.strip_prefix('{') else {
                named.extend(words(rest).next().map(str::to_owned));
                continue;
            };
            let mut depth = 1;
            let mut first = true;
            for (place, char) in braced.char_indices() {
                match char {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 1 => first = true,
                    ' ' => {}
                    _ if first && depth == 1 => {
                        named.extend(words(&braced[place..]).next().map(str::to_owned));
                        first = false;
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
        }
    }
    named
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
fn no_module_names_what_its_arrow_forbids() {
    let violations: Vec<String> = files("src")
        .iter()
        .filter(|(path, _)| path != "table/tests.rs")
        .flat_map(|(path, text)| violations(path, text))
        .collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn no_arrow_is_for_a_module_that_is_not_there() {
    let files = files("src");
    for (module, allowed) in ARROWS {
        for module in allowed.iter().chain([module]) {
            assert!(
                files
                    .iter()
                    .any(|(path, _)| path == &format!("{module}.rs")),
                "{module}"
            );
        }
    }
}

#[test]
fn every_file_is_tidy() {
    let untidy: Vec<String> = files("tests")
        .iter()
        .flat_map(|(path, text)| untidy(path, text))
        .collect();
    assert!(untidy.is_empty(), "{}", untidy.join("\n"));
}

#[test]
fn every_rule_can_fail() {
    let broken = |path: &str, code: &str| violations(path, &format!("//! What for.\n\n{code}\n"));
    for (path, code, told) in [
        (
            "effort.rs",
            "use crate::table::Table;",
            "effort.rs names table",
        ),
        (
            "telemetry.rs",
            "use crate::{effort::Effort, ledger};",
            "telemetry.rs names ledger",
        ),
        (
            "table/order.rs",
            "fn f() { crate::names::cut(\"\") }",
            "table/order.rs names names",
        ),
        (
            "table/order.rs",
            "use super::super::leaderboard;",
            "table/order.rs names leaderboard",
        ),
        (
            "leaderboard.rs",
            "use super::history::History;",
            "leaderboard.rs names history",
        ),
        (
            "history.rs",
            "use crate::ledger;",
            "history.rs names ledger",
        ),
        (
            "delivery.rs",
            "use crate::http::App;",
            "delivery.rs names http",
        ),
        (
            "store/folder.rs",
            "use crate::ledger::Ledger;",
            "store/folder.rs names ledger",
        ),
        (
            "ledger/writer.rs",
            "use crate::http;",
            "ledger/writer.rs names http",
        ),
        (
            "ledger/journal.rs",
            "use crate::store::Store;",
            "ledger/journal.rs names store",
        ),
        (
            "http/firehose.rs",
            "use crate::store::Store;",
            "http/firehose.rs names store",
        ),
        (
            "sender.rs",
            "use crate::simulate;",
            "sender.rs names simulate",
        ),
        (
            "simulate/race.rs",
            "use crate::sender;",
            "simulate/race.rs names sender",
        ),
        (
            "main.rs",
            "use alleycat::{config, ledger::{self, Ledger}};",
            "main.rs names ledger",
        ),
        ("utils.rs", "", "utils.rs: the arrows do not say"),
        (
            "table.rs",
            "async fn f() {}",
            "table.rs is pure, and uses async",
        ),
        (
            "history/text.rs",
            "use std::{fs, io};",
            "history/text.rs is pure, and uses fs",
        ),
        (
            "names.rs",
            "use std::net::IpAddr;",
            "names.rs is pure, and uses net",
        ),
        (
            "effort.rs",
            "use std::time::Instant;",
            "effort.rs is pure, and uses Instant",
        ),
        (
            "telemetry.rs",
            "fn f() { tracing::info!(\"\") }",
            "telemetry.rs is pure, and uses tracing",
        ),
        (
            "leaderboard.rs",
            "use tokio::sync::Mutex;",
            "leaderboard.rs is pure, and uses tokio",
        ),
        ("ledger.rs", "use axum::Json;", "ledger.rs uses axum"),
        (
            "ledger.rs",
            "use axum_server::Handle;",
            "ledger.rs uses axum_server",
        ),
        (
            "store/folder.rs",
            "use aws_sdk_s3::Client;",
            "store/folder.rs uses aws_sdk_s3",
        ),
        (
            "ledger.rs",
            "use std::time::SystemTime;",
            "ledger.rs uses SystemTime",
        ),
        ("ledger.rs", "use anyhow::Context;", "ledger.rs uses anyhow"),
        ("clock.rs", "fn f() { todo!() }", "clock.rs uses todo"),
        ("clock.rs", "fn f() { dbg!(1); }", "clock.rs uses dbg"),
    ] {
        let violations = broken(path, code);
        assert_eq!(violations.len(), 1, "{path}: {code}: {violations:?}");
        assert!(violations[0].starts_with(told), "{violations:?}");
    }
    for (path, code) in [
        (
            "table.rs",
            "// crate::ledger, async\nconst A: &str = \"crate::ledger \\\" axum\";\nconst B: char = '\"';",
        ),
        (
            "table.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::ledger;\n}",
        ),
        (
            "http.rs",
            "use crate::{config::Config, table::{self, ledger}};",
        ),
        ("serve.rs", "fn axumatic() {}"),
    ] {
        assert_eq!(broken(path, code), [""; 0], "{path}: {code}");
    }
    assert!(violations("table.rs", "use std::fmt;")[0].contains("what it is for"));
    assert!(
        violations("table.rs", &format!("//! {}", "é".repeat(117)))[0]
            .contains("table.rs:1: 121 characters")
    );
    let unrun = format!("//! For.\n#[{}]\n", "ignore");
    assert!(violations("table.rs", &unrun)[0].contains("not run"));
}
