//! Keys that requests must carry, from the command line, the environment or a file.
//!
//! A key file is read again when it changes, so a key is replaced without a restart. A key shows in
//! no log and no error.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use parking_lot::RwLock;

use crate::watched_file::{REFRESH_INTERVAL, WatchedFile};

/// Maximum length of a key, in bytes: Firehose's own limit.
const KEY_BYTES_MAX: usize = 4096;

/// A key that shows in no log and no error.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Returns whether that is the key, in a time that does not depend on where they differ.
    fn is(&self, other: &[u8]) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.0.as_bytes(), other).into()
    }

    /// Returns the key itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > KEY_BYTES_MAX {
            return Err(format!("a key must have 1 to {KEY_BYTES_MAX} bytes"));
        }
        // A header cannot carry other characters, so no request could match.
        if text.bytes().any(|byte| !(0x20..0x7f).contains(&byte)) || text.trim() != text {
            return Err(
                "a key must be of printable ASCII characters, without spaces around it".to_owned(),
            );
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The keys of one kind: those of the options, and those of a file. Clones share the file's.
#[derive(Clone, Debug)]
pub struct Keys {
    given: Vec<Secret>,
    of_file: Option<Arc<FileKeys>>,
}

/// The keys of a file when it last was a valid one. Requests compare with these and never read the
/// file: a mount that hangs must not block them.
type FileKeys = RwLock<Vec<Secret>>;

impl Keys {
    /// Returns the given keys and those of a file, which has one key per line, or is Secrets
    /// Manager's `{"api_key":"…"}`.
    ///
    /// # Errors
    /// The file is unreadable, contains no key, or contains an invalid one.
    pub fn new(given: &[Secret], file: Option<&Path>) -> anyhow::Result<Self> {
        Ok(Self {
            given: given.to_vec(),
            of_file: file.map(watch).transpose()?,
        })
    }

    /// Returns whether requests need a key.
    pub fn are_needed(&self) -> bool {
        !self.given.is_empty() || self.of_file.is_some()
    }

    /// Returns whether a key is among these and among `others`.
    fn overlap(&self, others: &Self) -> bool {
        self.all()
            .iter()
            .any(|key| others.accept(key.reveal().as_bytes()))
    }

    fn all(&self) -> Vec<Secret> {
        let of_file = self.of_file.as_ref().map(|keys| keys.read().clone());
        [self.given.clone(), of_file.unwrap_or_default()].concat()
    }

    /// Returns whether that is one of the keys. All are compared, so that the response time does
    /// not show which one matched.
    pub fn accept(&self, key: &[u8]) -> bool {
        let is_among = |keys: &[Secret]| {
            keys.iter()
                .fold(false, |found, known| known.is(key) | found)
        };
        let found = is_among(&self.given);
        match &self.of_file {
            Some(keys) => is_among(&keys.read()) | found,
            None => found,
        }
    }
}

/// Returns the problem if two kinds of keys have a value in common: the kinds are access, admin and
/// query keys.
pub(crate) fn shared_key([access, admin, query]: [&Keys; 3]) -> Option<String> {
    let pairs = [
        ("access", access, "admin", admin),
        ("access", access, "query", query),
        ("admin", admin, "query", query),
    ];
    let shared = pairs
        .into_iter()
        .find(|(_, one, _, other)| one.overlap(other));
    shared.map(|(one, _, other, _)| {
        format!(
            "the {one} keys and the {other} keys have a value in common: who has it may do both; use \
             different values"
        )
    })
}

/// Returns the keys of a file. A thread reads the file again when it changes, until the keys are
/// dropped.
fn watch(path: &Path) -> anyhow::Result<Arc<FileKeys>> {
    let mut file = WatchedFile::open(path)?;
    let keys = Arc::new(RwLock::new(parse_file(&file)?));
    let watched = Arc::downgrade(&keys);
    let watch = move || {
        while let Some(keys) = watched.upgrade() {
            refresh(&mut file, &keys);
            drop(keys);
            thread::sleep(REFRESH_INTERVAL);
        }
    };
    thread::Builder::new()
        .name("key-file".to_owned())
        .spawn(watch)
        .context("cannot watch the key file")?;
    Ok(keys)
}

/// Reads a file again if it changed. A file that has become invalid leaves the keys as they were: a
/// half-written file must lock nobody out.
fn refresh(file: &mut WatchedFile, keys: &FileKeys) {
    let changed = file.refresh().and_then(|has_changed| {
        let parsed = has_changed.then(|| parse_file(file));
        parsed.transpose()
    });
    match changed {
        Ok(None) => {}
        Ok(Some(changed)) => {
            let file = file.path().display();
            tracing::info!(%file, keys = changed.len(), "key file reloaded");
            *keys.write() = changed;
        }
        Err(error) => tracing::error!("{error:#}; the keys stay as they were"),
    }
}

/// Parses a key file, and warns of lines that look like another format.
fn parse_file(file: &WatchedFile) -> anyhow::Result<Vec<Secret>> {
    let path = file.path().display();
    let keys =
        parse(file.content()).map_err(|error| anyhow::anyhow!("key file {path}: {error}"))?;
    for (line, key) in &keys {
        if let Some(mark) = foreign_syntax(key.reveal()) {
            tracing::warn!("key file {path}: line {line} has {mark}; the whole line is the key");
        }
    }
    Ok(keys.into_iter().map(|(_, key)| key).collect())
}

/// Returns the keys with their line numbers, from 1. An error never repeats what the file contains.
fn parse(content: &[u8]) -> Result<Vec<(usize, Secret)>, String> {
    #[derive(serde::Deserialize)]
    struct SecretsManagerValue {
        api_key: String,
    }
    let text = std::str::from_utf8(content).map_err(|_| "it is not UTF-8 text")?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text); // a byte order mark, as some editors write
    if text.trim_start().starts_with('{') {
        let secret: SecretsManagerValue = serde_json::from_str(text)
            .map_err(|_| "it begins as JSON does, and is not {\"api_key\":\"…\"}")?;
        return Ok(vec![(1, secret.api_key.parse()?)]);
    }
    let mut keys = Vec::new();
    for (index, line) in text.lines().map(str::trim).enumerate() {
        if !line.is_empty() && !line.starts_with('#') {
            let line_number = index + 1;
            let key = line
                .parse()
                .map_err(|error| format!("line {line_number}: {error}"))?;
            keys.push((line_number, key));
        }
    }
    if keys.is_empty() {
        return Err("it contains no key".to_owned());
    }
    Ok(keys)
}

/// Returns the part of a line that belongs to another format, such as an environment file's.
fn foreign_syntax(line: &str) -> Option<&'static str> {
    let is_quoted = |quote| line.len() > 1 && line.starts_with(quote) && line.ends_with(quote);
    let is_assignment = line.split_once('=').is_some_and(|(name, value)| {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        // Base64 ends with `=` or `==`.
        !name.is_empty() && name.bytes().all(is_name) && !value.trim_end_matches('=').is_empty()
    });
    if line.contains(" #") {
        Some("a comment after the key")
    } else if is_quoted('"') || is_quoted('\'') {
        Some("quotes around the key")
    } else if line.starts_with('[') && line.ends_with(']') {
        Some("brackets, as a JSON list")
    } else if is_assignment {
        Some("the form NAME=value")
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
