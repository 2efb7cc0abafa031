//! The store of a black-box test: a folder, or a prefix in a bucket of a real S3 server.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alleycat::storage::{self, S3Store, Store};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use serde_json::Value;
use tempfile::TempDir;

use super::builders::gunzip;
use super::s3_server::{BUCKET, S3Server};

/// Runs each test on an empty folder and on an empty bucket prefix, as `folder::NAME` and
/// `s3::NAME`.
macro_rules! on_every_store {
    ($($name:ident),+ $(,)?) => {
        mod folder {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name($crate::support::test_store::TestStore::folder()).await;
            })+
        }

        mod s3 {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name($crate::support::test_store::TestStore::bucket().await).await;
            })+
        }
    };
}
pub(crate) use on_every_store;

/// A store that is deleted with all its objects when dropped.
pub enum TestStore {
    Folder(TempDir),
    Bucket {
        server: Arc<S3Server>,
        client: Client,
        /// Ends with `/`.
        prefix: String,
    },
}

impl TestStore {
    /// Creates an empty folder.
    pub fn folder() -> Self {
        Self::Folder(TempDir::new().unwrap())
    }

    /// Picks an unused prefix in the shared server's bucket.
    pub async fn bucket() -> Self {
        Self::on(S3Server::shared().await).await
    }

    /// Picks an unused prefix in `server`'s bucket.
    pub async fn on(server: Arc<S3Server>) -> Self {
        let client = server.client().await;
        Self::Bucket {
            server,
            client,
            prefix: format!("all/{:x}/", rand::random::<u64>()),
        }
    }

    /// Creates another empty store of the same kind.
    pub async fn another(&self) -> Self {
        match self {
            Self::Folder(_) => Self::folder(),
            Self::Bucket { server, .. } => Self::on(server.clone()).await,
        }
    }

    /// Returns the value of `--store`.
    pub fn url(&self) -> String {
        match self {
            Self::Folder(folder) => format!("file:{}", folder.path().display()),
            Self::Bucket { prefix, .. } => format!("s3://{BUCKET}/{prefix}"),
        }
    }

    /// Returns the environment that a process needs to reach the store.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Folder(_) => Vec::new(),
            Self::Bucket { server, .. } => server.environment().to_vec(),
        }
    }

    /// Opens the store in this process.
    pub async fn open(&self) -> Arc<dyn Store> {
        match self {
            Self::Folder(_) => storage::open(&self.url()).await.unwrap(),
            Self::Bucket { server, prefix, .. } => Arc::new(
                S3Store::connect_with(&server.config().await, BUCKET, prefix)
                    .await
                    .unwrap(),
            ),
        }
    }

    /// Returns the bucket's server.
    pub fn server(&self) -> &S3Server {
        match self {
            Self::Folder(_) => panic!("a folder has no server"),
            Self::Bucket { server, .. } => server,
        }
    }

    /// Returns the object, if it exists.
    pub async fn get(&self, name: &str) -> Option<Bytes> {
        match self {
            Self::Folder(folder) => fs::read(folder.path().join(name)).ok().map(Bytes::from),
            Self::Bucket { client, prefix, .. } => {
                let got = client
                    .get_object()
                    .bucket(BUCKET)
                    .key(format!("{prefix}{name}"))
                    .send()
                    .await;
                match got {
                    Ok(got) => Some(got.body.collect().await.unwrap().into_bytes()),
                    Err(error)
                        if error
                            .as_service_error()
                            .is_some_and(|error| error.is_no_such_key()) =>
                    {
                        None
                    }
                    Err(error) => panic!("{name}: {error:?}"),
                }
            }
        }
    }

    /// Writes an object, as an operator would.
    pub async fn put(&self, name: &str, body: &[u8]) {
        match self {
            Self::Folder(folder) => {
                let path = folder.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, body).unwrap();
            }
            Self::Bucket { client, prefix, .. } => {
                let put = client
                    .put_object()
                    .bucket(BUCKET)
                    .key(format!("{prefix}{name}"));
                put.body(ByteStream::from(body.to_vec()))
                    .send()
                    .await
                    .unwrap();
            }
        }
    }

    /// Deletes an object, as an operator would.
    pub async fn remove(&self, name: &str) {
        match self {
            Self::Folder(folder) => fs::remove_file(folder.path().join(name)).unwrap(),
            Self::Bucket { client, prefix, .. } => {
                client
                    .delete_object()
                    .bucket(BUCKET)
                    .key(format!("{prefix}{name}"))
                    .send()
                    .await
                    .unwrap();
            }
        }
    }

    /// Lists the names of all objects whose name begins with `name_prefix`.
    pub async fn list(&self, name_prefix: &str) -> Vec<String> {
        match self {
            Self::Folder(folder) => files(&folder.path().join(name_prefix))
                .iter()
                .map(|file| {
                    file.strip_prefix(folder.path())
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned()
                })
                .collect(),
            Self::Bucket { client, prefix, .. } => {
                let list = client
                    .list_objects_v2()
                    .bucket(BUCKET)
                    .prefix(format!("{prefix}{name_prefix}"));
                let mut pages = list.into_paginator().send();
                let mut names = Vec::new();
                while let Some(page) = pages.next().await {
                    let objects = page.unwrap().contents.unwrap_or_default().into_iter();
                    names.extend(
                        objects.map(|it| it.key.unwrap().strip_prefix(prefix).unwrap().to_owned()),
                    );
                }
                names
            }
        }
    }

    /// Counts the journal segments.
    pub async fn segments(&self) -> usize {
        self.list("journal/").await.len()
    }

    /// Returns the lines of the quarantine, in no order.
    pub async fn quarantine(&self) -> Vec<Value> {
        let mut lines = Vec::new();
        for name in self.list("processing-failed/").await {
            let text = gunzip(self.get(&name).await.expect("a listed object"));
            lines.extend(
                text.lines()
                    .map(|line| serde_json::from_str::<Value>(line).unwrap()),
            );
        }
        lines
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}
