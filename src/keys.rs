//! Keys that requests must carry, from the command line, the environment or a file.
//!
//! A key file is read again when it changes, so a key is replaced without a restart. A key shows in
//! no log and no error.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

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
    fn reveal(&self) -> &str {
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
    file: Option<Arc<Mutex<KeyFile>>>,
}

/// A file of keys, and the keys when it last was a valid one.
#[derive(Debug)]
struct KeyFile {
    file: WatchedFile,
    keys: Vec<Secret>,
    refreshed: Instant,
}

impl Keys {
    /// Returns the given keys and those of a file, which has one key per line, or is Secrets
    /// Manager's `{"api_key":"…"}`.
    ///
    /// # Errors
    /// The file is unreadable, contains no key, or contains an invalid one.
    pub fn new(given: &[Secret], file: Option<&Path>) -> anyhow::Result<Self> {
        let open = |path| anyhow::Ok(Arc::new(Mutex::new(KeyFile::open(path)?)));
        Ok(Self {
            given: given.to_vec(),
            file: file.map(open).transpose()?,
        })
    }

    /// Returns whether requests need a key.
    pub fn are_needed(&self) -> bool {
        !self.given.is_empty() || self.file.is_some()
    }

    /// Returns whether that is one of the keys. All are compared, so that the response time does
    /// not show which one matched.
    pub fn accept(&self, key: &[u8]) -> bool {
        let is_among = |keys: &[Secret]| {
            keys.iter()
                .fold(false, |found, known| known.is(key) | found)
        };
        let found = is_among(&self.given);
        match &self.file {
            Some(file) => is_among(file.lock().current()) | found,
            None => found,
        }
    }
}

impl KeyFile {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let file = WatchedFile::open(path)?;
        Ok(Self {
            keys: parse_file(&file)?,
            file,
            refreshed: Instant::now(),
        })
    }

    /// Returns the keys of the file, at most [`REFRESH_INTERVAL`] old.
    ///
    /// A file that has become invalid leaves them as they were: a half-written file must lock
    /// nobody out.
    fn current(&mut self) -> &[Secret] {
        if self.refreshed.elapsed() >= REFRESH_INTERVAL {
            self.refreshed = Instant::now();
            match self.reload() {
                Ok(false) => {}
                Ok(true) => {
                    let file = self.file.path().display();
                    tracing::info!(%file, keys = self.keys.len(), "key file reloaded");
                }
                Err(error) => tracing::error!("{error:#}; the keys stay as they were"),
            }
        }
        &self.keys
    }

    fn reload(&mut self) -> anyhow::Result<bool> {
        let has_changed = self.file.refresh()?;
        if has_changed {
            self.keys = parse_file(&self.file)?;
        }
        Ok(has_changed)
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
    } else if is_assignment {
        Some("the form NAME=value")
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
