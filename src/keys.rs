//! Keys that requests must carry: from the command line or the environment, or from a file that is read again when it
//! changes, so that a key is replaced without a restart.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;

/// The longest key, in bytes: Firehose's may have 4,096.
const KEY_BYTES_MAX: usize = 4096;

/// The longest file of keys, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How often it is looked whether the file has changed, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A key; it shows in no log and no error.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Whether that is the key, in a time that does not depend on where they differ.
    fn is(&self, other: &[u8]) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.0.as_bytes(), other).into()
    }

    /// The key itself, for sending it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > KEY_BYTES_MAX {
            return Err(format!("a key must have 1 to {KEY_BYTES_MAX} bytes"));
        }
        // What a header cannot carry, no request can match.
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

/// The keys of one kind. A clone shares the file's.
#[derive(Clone, Debug)]
pub struct Keys {
    given: Vec<Secret>,
    file: Option<Arc<KeyFile>>,
}

#[derive(Debug)]
struct KeyFile {
    path: PathBuf,
    read: Mutex<Read>,
}

#[derive(Debug)]
struct Read {
    keys: Vec<Secret>,
    stamp: Option<(SystemTime, u64)>,
    looked: Instant,
}

impl Keys {
    /// Those that were given, and those of a file: a key a line, or Secrets Manager's `{"api_key":"…"}`.
    ///
    /// # Errors
    /// The file cannot be read, or holds no key, or one that cannot be one.
    pub fn new(given: &[Secret], file: Option<&Path>) -> anyhow::Result<Self> {
        let open = |path: &Path| {
            let (keys, stamp) = read(path)?;
            let read = Mutex::new(Read {
                keys,
                stamp: Some(stamp),
                looked: Instant::now(),
            });
            anyhow::Ok(Arc::new(KeyFile {
                path: path.to_owned(),
                read,
            }))
        };
        Ok(Self {
            given: given.to_vec(),
            file: file.map(open).transpose()?,
        })
    }

    /// Whether requests need one.
    pub fn are_needed(&self) -> bool {
        !self.given.is_empty() || self.file.is_some()
    }

    /// Whether it is one of them. Every key is compared, so that the time tells nothing of which one it was.
    pub fn accept(&self, key: &[u8]) -> bool {
        let found = self
            .given
            .iter()
            .fold(false, |found, known| known.is(key) | found);
        let Some(file) = &self.file else { return found };
        file.current(|keys| {
            keys.iter()
                .fold(found, |found, known| known.is(key) | found)
        })
    }

    /// Any of them, for a sender within this process.
    pub fn any(&self) -> Option<Secret> {
        let of_file = || {
            self.file
                .as_ref()
                .and_then(|file| file.current(|keys| keys.first().cloned()))
        };
        self.given.first().cloned().or_else(of_file)
    }
}

impl KeyFile {
    /// Looks at the keys as they are in the file now, or were a second ago. One that has come to be unreadable leaves
    /// them as they were: half a file, as it is being written, must lock nobody out.
    fn current<T>(&self, look: impl FnOnce(&[Secret]) -> T) -> T {
        let mut current = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= LOOK_EVERY {
            current.looked = Instant::now();
            let stamp = stamp(&self.path).ok();
            if stamp != current.stamp {
                current.stamp = stamp;
                match read(&self.path) {
                    Ok((keys, stamp)) => {
                        tracing::info!(file = %self.path.display(), keys = keys.len(), "read the keys again");
                        *current = Read {
                            keys,
                            stamp: Some(stamp),
                            looked: current.looked,
                        };
                    }
                    Err(error) => tracing::error!("{error:#}; the keys stay as they were"),
                }
            }
        }
        look(&current.keys)
    }
}

/// What changes with the file. What is no file is not to be opened: a pipe would have every request wait for a writer.
fn stamp(path: &Path) -> std::io::Result<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    Ok((metadata.modified()?, metadata.len()))
}

fn read(path: &Path) -> anyhow::Result<(Vec<Secret>, (SystemTime, u64))> {
    let shown = path.display();
    let stamp = stamp(path).with_context(|| format!("the key file {shown} cannot be read"))?;
    anyhow::ensure!(
        stamp.1 <= FILE_BYTES_MAX,
        "the key file {shown} has over {FILE_BYTES_MAX} bytes"
    );
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the key file {shown} cannot be read"))?;
    let keys =
        parse(&text).map_err(|problem| anyhow::anyhow!("the key file {shown}: {problem}"))?;
    Ok((keys, stamp))
}

/// Never says what stands in it.
fn parse(text: &str) -> Result<Vec<Secret>, String> {
    #[derive(serde::Deserialize)]
    struct FromSecretsManager {
        api_key: String,
    }
    if text.trim_start().starts_with('{') {
        let secret: Result<FromSecretsManager, _> = serde_json::from_str(text);
        let secret =
            secret.map_err(|_| "it begins as JSON does, and is not {\"api_key\":\"…\"}")?;
        return Ok(vec![secret.api_key.parse()?]);
    }
    let lines = text
        .lines()
        .enumerate()
        .map(|(place, line)| (place + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let keys = lines.map(|(place, line)| {
        line.parse()
            .map_err(|problem| format!("line {place}: {problem}"))
    });
    let keys: Vec<Secret> = keys.collect::<Result<_, _>>()?;
    if keys.is_empty() {
        Err("it holds no key".to_owned())
    } else {
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<String> {
        parse(text)
            .expect("keys")
            .iter()
            .map(|key| key.reveal().to_owned())
            .collect()
    }

    #[test]
    fn a_file_has_a_key_a_line_or_is_what_secrets_manager_holds() {
        assert_eq!(
            keys("# the old one\nalpha\n\n beta \r\n"),
            ["alpha", "beta"]
        );
        assert_eq!(keys(" {\"api_key\": \"gamma\"}\n"), ["gamma"]);
    }

    #[test]
    fn a_file_that_is_no_key_file_says_why_and_not_what_stands_in_it() {
        for (text, why) in [
            ("", "no key"),
            ("# only this", "no key"),
            ("{\"key\":\"hush\"}", "api_key"),
        ] {
            let problem = parse(text).expect_err(text);
            assert!(
                problem.contains(why) && !problem.contains("hush"),
                "{problem}"
            );
        }
        let problem = parse("fine\nhüsh").expect_err("no ASCII");
        assert!(
            problem.contains("line 2") && !problem.contains("hüsh"),
            "{problem}"
        );
        assert!(parse(&"x".repeat(KEY_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn given_keys_and_a_files_are_taken_and_no_others() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "two\n").expect("written");
        let one: Secret = "one".parse().expect("a key");
        let keys = Keys::new(&[one], Some(file.path())).expect("readable");
        assert!(keys.are_needed() && keys.accept(b"one") && keys.accept(b"two"));
        assert!(!keys.accept(b"three") && !keys.accept(b"") && !keys.accept(b"one\0"));
        assert!(!format!("{keys:?}").contains("two"));
        assert!(!Keys::new(&[], None).expect("none").are_needed());
        assert!(Keys::new(&[], Some(Path::new("/nonexistent"))).is_err());
    }

    #[test]
    fn a_file_that_changed_is_read_again_and_one_that_broke_leaves_the_keys_as_they_were() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "old\n").expect("written");
        let keys = Keys::new(&[], Some(file.path())).expect("readable");
        let look_again = || {
            let mut read = keys
                .file
                .as_ref()
                .expect("a file")
                .read
                .lock()
                .expect("sound");
            read.looked = read
                .looked
                .checked_sub(LOOK_EVERY)
                .expect("the machine is up for a second");
        };
        std::fs::write(file.path(), "newer\n").expect("written");
        look_again();
        assert!(keys.accept(b"newer") && !keys.accept(b"old"));
        std::fs::write(file.path(), "").expect("written");
        look_again();
        assert!(keys.accept(b"newer"));
        std::fs::remove_file(file.path()).expect("it is there");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(file.path())
                .status()
                .expect("mkfifo")
                .success()
        );
        look_again();
        assert!(keys.accept(b"newer"));
        std::fs::remove_file(file.path()).expect("it is there");
        std::fs::write(file.path(), "newest\nother\n").expect("written");
        look_again();
        assert!(keys.accept(b"newest") && keys.accept(b"other") && !keys.accept(b"newer"));
    }
}
