//! Certificates for tests with TLS.

use std::net::SocketAddr;
use std::path::PathBuf;

use alleycat::firehose_client::http_client_builder;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use reqwest::Client;
use tempfile::TempDir;

use super::DEADLINE;

/// Files of a server's certificate chain and its key.
pub struct ServerCertificate(TempDir);

impl ServerCertificate {
    /// Creates a folder without the files; [`Authority::issue`] writes them.
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub fn chain(&self) -> PathBuf {
        self.0.path().join("chain.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.0.path().join("key.pem")
    }

    /// Returns the options of `alleycat` that name the files.
    pub fn options(&self) -> [String; 4] {
        let (chain, key) = (self.chain(), self.key());
        [
            "--tls-cert".to_owned(),
            chain.display().to_string(),
            "--tls-key".to_owned(),
            key.display().to_string(),
        ]
    }
}

/// A root and an intermediate certificate, which signs servers' certificates.
pub struct Authority {
    root_pem: String,
    intermediate_pem: String,
    intermediate: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let params = || {
            let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params
        };
        let key = KeyPair::generate().unwrap();
        let root_pem = params().self_signed(&key).unwrap().pem();
        let root = Issuer::new(params(), key);
        let key = KeyPair::generate().unwrap();
        let mut intermediate = params();
        intermediate
            .distinguished_name
            .push(rcgen::DnType::CommonName, "intermediate");
        Self {
            root_pem,
            intermediate_pem: intermediate.signed_by(&key, &root).unwrap().pem(),
            intermediate: Issuer::new(intermediate, key),
        }
    }

    /// Writes a new chain for `localhost` and its key.
    pub fn issue(&self, certificate: &ServerCertificate) {
        self.issue_until(2999, certificate);
    }

    /// Writes a new chain for `localhost`, valid until the year begins, and its key.
    pub fn issue_until(&self, year: i32, certificate: &ServerCertificate) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let pem = params.signed_by(&key, &self.intermediate).unwrap().pem();
        std::fs::write(certificate.key(), key.serialize_pem()).unwrap();
        std::fs::write(certificate.chain(), pem + &self.intermediate_pem).unwrap();
    }

    /// Returns a client that trusts only this authority.
    pub fn client(&self, address: SocketAddr) -> Client {
        let root = reqwest::Certificate::from_pem(self.root_pem.as_bytes()).unwrap();
        let client = http_client_builder()
            .no_proxy()
            .tls_certs_only([root])
            .resolve("localhost", address);
        client.timeout(DEADLINE).build().unwrap()
    }
}
