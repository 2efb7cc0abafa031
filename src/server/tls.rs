//! TLS: a certificate chain and its key from files that are read again when they change, so that a
//! certificate is renewed without a restart. Versions 1.2 and 1.3; HTTP/1.1 by ALPN.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::watched_file::{REFRESH_INTERVAL, WatchedFile};

/// A certificate chain and its key, from files that may change.
pub(crate) struct Tls {
    chain: WatchedFile,
    key: WatchedFile,
    config: RustlsConfig,
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// A file is unreadable, is not PEM, or the key is not the certificate's.
    pub(crate) fn open(chain: &Path, key: &Path) -> anyhow::Result<Self> {
        let (chain, key) = (WatchedFile::open(chain)?, WatchedFile::open(key)?);
        let config = RustlsConfig::from_config(server_config(&chain, &key)?);
        Ok(Self { chain, key, config })
    }

    /// Returns when the first of the certificates expires, in seconds since 1970; `None` if none is
    /// readable.
    pub(crate) fn expires_at_s(&self) -> Option<u64> {
        let certificates = CertificateDer::pem_slice_iter(self.chain.content()).flatten();
        let expiries = certificates.filter_map(|certificate| {
            let certificate = Certificate::from_der(&certificate).ok()?;
            let not_after = certificate.tbs_certificate().validity().not_after;
            Some(not_after.to_unix_duration().as_secs())
        });
        expiries.min()
    }

    /// Returns the configuration of new connections. It changes with the files while
    /// [`watch`](Self::watch) runs.
    pub(crate) fn config(&self) -> RustlsConfig {
        self.config.clone()
    }

    /// Reloads the files whenever they change, for ever.
    pub(crate) async fn watch(mut self) {
        loop {
            tokio::time::sleep(REFRESH_INTERVAL).await;
            let reloading = tokio::task::spawn_blocking(move || {
                self.reload();
                self
            });
            self = match reloading.await {
                Ok(tls) => tls,
                Err(_) => return, // the runtime is shutting down
            };
        }
    }

    /// Files that are no valid pair leave the configuration as it was: one of the two is written
    /// first.
    fn reload(&mut self) {
        // Both are refreshed, also after an error of the first.
        let (chain, key) = (self.chain.refresh(), self.key.refresh());
        let reloaded = chain.and_then(|chain| match chain | key? {
            true => server_config(&self.chain, &self.key).map(Some),
            false => Ok(None),
        });
        match reloaded {
            Ok(None) => {}
            Ok(Some(config)) => {
                self.config.reload_from_config(config);
                tracing::info!(file = %self.chain.path().display(), "certificate reloaded");
            }
            Err(error) => tracing::error!("{error:#}; the certificate stays as it was"),
        }
    }
}

/// Returns the configuration of a server with that chain and key.
fn server_config(chain: &WatchedFile, key: &WatchedFile) -> anyhow::Result<Arc<ServerConfig>> {
    let (chain_path, key_path) = (chain.path().display(), key.path().display());
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(chain.content())
            .collect::<Result<_, _>>()
            .with_context(|| format!("{chain_path} is not a PEM file of certificates"))?;
    anyhow::ensure!(
        !certificates.is_empty(),
        "{chain_path} holds no certificate in PEM"
    );
    // The parser's error may contain part of the key.
    let private = PrivateKeyDer::from_pem_slice(key.content())
        .map_err(|_| anyhow::anyhow!("{key_path} holds no private key in PEM"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .context("TLS 1.2 and 1.3 are unsupported by the provider")?
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .with_context(|| format!("{key_path} is not the key of {chain_path}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
