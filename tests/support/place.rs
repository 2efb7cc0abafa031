//! Where a test's records are kept: a folder, or a bucket of a real S3 server. What a test promises holds on both.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alleycat::storage::{self, S3Store, Store};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use serde_json::Value;
use tempfile::TempDir;

use super::s3_server::{BUCKET, S3Server};

/// Makes of each of these claims about an empty [`Place`] two tests: `folder::CLAIM` and `s3::CLAIM`.
macro_rules! on_every_store {
    ($($claim:ident),+ $(,)?) => {
        mod folder {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $claim() {
                super::$claim($crate::support::place::Place::folder()).await;
            })+
        }

        mod s3 {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $claim() {
                super::$claim($crate::support::place::Place::bucket().await).await;
            })+
        }
    };
}
pub(crate) use on_every_store;

/// Gone with all that is in it when it is dropped.
pub enum Place {
    Folder(TempDir),
    Bucket {
        server: Arc<S3Server>,
        client: Client,
        /// With a `/` at its end.
        prefix: String,
    },
}

impl Place {
    /// A new and empty folder.
    pub fn folder() -> Self {
        Self::Folder(TempDir::new().unwrap())
    }

    /// A new and empty prefix of the shared server's bucket.
    pub async fn bucket() -> Self {
        Self::on(S3Server::shared().await).await
    }

    /// A new and empty prefix of that server's bucket.
    pub async fn on(server: Arc<S3Server>) -> Self {
        let client = server.client().await;
        Self::Bucket {
            server,
            client,
            prefix: format!("all/{:x}/", rand::random::<u64>()),
        }
    }

    /// A new and empty one beside this.
    pub async fn another(&self) -> Self {
        match self {
            Self::Folder(_) => Self::folder(),
            Self::Bucket { server, .. } => Self::on(server.clone()).await,
        }
    }

    /// As `--store` has it.
    pub fn name(&self) -> String {
        match self {
            Self::Folder(folder) => format!("file:{}", folder.path().display()),
            Self::Bucket { prefix, .. } => format!("s3://{BUCKET}/{prefix}"),
        }
    }

    /// What a process needs to find it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Folder(_) => Vec::new(),
            Self::Bucket { server, .. } => server.environment().to_vec(),
        }
    }

    /// Opens it as a store of this process.
    pub async fn open(&self) -> Arc<dyn Store> {
        match self {
            Self::Folder(_) => storage::open(&self.name()).await.unwrap(),
            Self::Bucket { server, prefix, .. } => Arc::new(
                S3Store::connect_with(&server.config().await, BUCKET, prefix)
                    .await
                    .unwrap(),
            ),
        }
    }

    /// The server, of a bucket.
    pub fn server(&self) -> &S3Server {
        match self {
            Self::Folder(_) => panic!("a folder has no server"),
            Self::Bucket { server, .. } => server,
        }
    }

    /// The object, if there is one of that name.
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

    /// Puts an object there, as a person would.
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

    /// Takes an object away, as a person would.
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

    /// The names of all objects under that prefix.
    pub async fn list(&self, under: &str) -> Vec<String> {
        match self {
            Self::Folder(folder) => files(&folder.path().join(under))
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
                    .prefix(format!("{prefix}{under}"));
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

    /// How many segments the journal has.
    pub async fn segments(&self) -> usize {
        self.list("journal/").await.len()
    }

    /// The lines of the quarantine, in no order.
    pub async fn quarantine(&self) -> Vec<Value> {
        let mut lines = Vec::new();
        for name in self.list("processing-failed/").await {
            let text = gunzip(&self.get(&name).await.expect("the quarantine stays"));
            lines.extend(
                text.lines()
                    .map(|line| serde_json::from_str::<Value>(line).unwrap()),
            );
        }
        lines
    }
}

/// The text of a stored object.
pub fn gunzip(body: &[u8]) -> String {
    std::io::read_to_string(flate2::read::MultiGzDecoder::new(body)).unwrap()
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
