//! TLS: a certificate chain and its key from files that are read again when they change, so that a certificate is
//! renewed without a restart. Versions 1.2 and 1.3; HTTP/1.1 by ALPN.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum_server::tls_rustls::RustlsConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, RootCertStore, ServerConfig};

/// How often it is looked whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The longest file, in bytes: a chain has some 10 KB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A certificate chain and its key, of files that may change.
pub(crate) struct Tls {
    chain: PathBuf,
    key: PathBuf,
    /// What was read last, whether it could be used or not.
    read: Files,
    config: RustlsConfig,
}

/// What stands in the files.
#[derive(PartialEq, Eq)]
struct Files {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// One cannot be read, is not PEM, or the key is not the certificate's.
    pub(crate) fn open(chain: &Path, key: &Path) -> anyhow::Result<Self> {
        let read = Files::read(chain, key)?;
        let config = RustlsConfig::from_config(read.config(chain, key)?);
        Ok(Self {
            chain: chain.to_owned(),
            key: key.to_owned(),
            read,
            config,
        })
    }

    /// When the first of the certificates expires, in seconds since 1970; `None` where none ever does.
    pub(crate) fn expires_at_s(&self) -> Option<u64> {
        let certificates = CertificateDer::pem_slice_iter(&self.read.chain).filter_map(Result::ok);
        certificates
            .filter_map(|certificate| expiry_s(&certificate))
            .min()
    }

    /// What connections that are accepted from now on are served with; it changes with the files while they are
    /// followed.
    pub(crate) fn config(&self) -> RustlsConfig {
        self.config.clone()
    }

    /// Looks again and again, for ever. Files that cannot be used leave things as they were: of two files one is
    /// written first.
    pub(crate) async fn follow(mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let (chain, key) = (self.chain.clone(), self.key.clone());
            let Ok(read) = tokio::task::spawn_blocking(move || Files::read(&chain, &key)).await
            else {
                continue;
            };
            let configured = match read {
                Ok(read) if read == self.read => continue,
                Ok(read) => {
                    self.read = read;
                    self.read.config(&self.chain, &self.key)
                }
                Err(error) => Err(error),
            };
            match configured {
                Ok(config) => {
                    self.config.reload_from_config(config);
                    tracing::info!(file = %self.chain.display(), "read the certificate again");
                }
                Err(error) => tracing::error!("{error:#}; the certificate stays as it was"),
            }
        }
    }
}

/// When the certificate expires, as whoever checks it at the end of all years is told.
fn expiry_s(certificate: &CertificateDer<'_>) -> Option<u64> {
    let end = UnixTime::since_unix_epoch(Duration::from_secs(253_402_300_799)); // 9999-12-31, which is said for never
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone().into_owned()).ok()?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .ok()?;
    let name = ServerName::try_from("localhost").expect("a name");
    match verifier.verify_server_cert(certificate, &[], &name, &[], end) {
        Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
            not_after,
            ..
        })) => Some(not_after.as_secs()),
        _ => None,
    }
}

impl Files {
    fn read(chain: &Path, key: &Path) -> anyhow::Result<Self> {
        let read = |path: &Path| {
            let cannot = || format!("the file {} cannot be read", path.display());
            let bytes = std::fs::metadata(path).with_context(cannot)?.len();
            anyhow::ensure!(
                bytes <= FILE_BYTES_MAX,
                "the file {} has over {FILE_BYTES_MAX} bytes",
                path.display()
            );
            std::fs::read(path).with_context(cannot)
        };
        Ok(Self {
            chain: read(chain)?,
            key: read(key)?,
        })
    }

    fn config(&self, chain: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
        let certificates: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(&self.chain)
                .collect::<Result<_, _>>()
                .with_context(|| format!("{} is no PEM file of certificates", chain.display()))?;
        anyhow::ensure!(
            !certificates.is_empty(),
            "{} holds no certificate in PEM",
            chain.display()
        );
        // What the parser says of a key could show a part of it.
        let private = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| anyhow::anyhow!("{} holds no private key in PEM", key.display()))?;
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(&[&TLS13, &TLS12])
                .context("TLS 1.2 and 1.3 are not to be had")?
                .with_no_client_auth()
                .with_single_cert(certificates, private)
                .with_context(|| {
                    format!("{} is not the key of {}", key.display(), chain.display())
                })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
