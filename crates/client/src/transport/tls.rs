//! TLS configuration, loaded at the first https request and never for http.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Where distributions keep the bundle: Debian and Arch, Fedora and RHEL, SUSE, Alpine, FreeBSD.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
];

/// A configuration that trusts nobody, for clients that speak plain http only.
pub fn without_certificates() -> Result<ClientConfig, String> {
    build(RootCertStore::empty())
}

/// A configuration that trusts `ca_file`, or else the system's bundle (`bundle` if given).
pub fn with_certificates(ca_file: Option<&Path>, bundle: Option<&Path>) -> Result<ClientConfig, String> {
    let path = match ca_file.or(bundle) {
        Some(path) => path.to_owned(),
        None => BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file()).ok_or_else(|| {
            format!(
                "no CA certificates on this machine (looked at {}); install the package ca-certificates, \
                 set SSL_CERT_FILE, or set request.tls.caFile of the provider",
                BUNDLES.join(", ")
            )
        })?,
    };
    let mut roots = RootCertStore::empty();
    let read = |cause: &dyn std::fmt::Display| {
        format!("cannot read CA certificates from {}: {cause}", path.display())
    };
    let certificates = CertificateDer::pem_file_iter(&path).map_err(|error| read(&error))?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(|error| read(&error))?;
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(read(&"it holds no certificate in PEM form"));
    }
    build(roots)
}

fn build(roots: RootCertStore) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("empty.pem");
        std::fs::write(&file, "nothing here\n").unwrap();
        let error = with_certificates(Some(&file), None).unwrap_err();
        assert!(error.contains("empty.pem") && error.contains("no certificate"), "{error}");
        let missing = folder.path().join("missing.pem");
        assert!(with_certificates(None, Some(&missing)).unwrap_err().contains("missing.pem"));
    }

    #[test]
    fn plain_http_needs_no_certificate_file() {
        assert!(without_certificates().is_ok());
    }
}
