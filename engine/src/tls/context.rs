//! What a configuration's certificates and keys become.
//!
//! Purpose: everything a connection needs, made once per endpoint and backend and shared by all
//! workers, together with the sessions that spare later connections half of their handshake.
//! Never: change after it was made.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::choose::Choice;
use super::verify::{Anybody, OfAuthority};
use crate::base::{BackendId, EndpointId};
use crate::config::{BackendTls, Certificates, Config, EndpointTls, Identity, TlsMode};

/// What TLS toward the clients of one endpoint needs.
pub struct ServerContext {
    mode: TlsMode,
    pub(super) config: Arc<ServerConfig>,
}

/// What TLS toward one backend needs.
pub struct ClientContext {
    mode: TlsMode,
    pub(super) name: ServerName<'static>,
    pub(super) config: Arc<ClientConfig>,
}

/// All of them. The default is that nobody has TLS.
#[derive(Debug, Default)]
pub struct Contexts {
    endpoints: Vec<Option<Arc<ServerContext>>>,
    backends: Vec<Option<Arc<ClientContext>>>,
}

impl Contexts {
    /// Makes what a configuration needs. `own` is shown by endpoints without a certificate; if
    /// there is none either, they offer no TLS.
    ///
    /// # Errors
    /// Everything that is wrong with the certificates and keys, one line each.
    pub fn build(config: &Config, own: Option<&Identity>) -> Result<Self, Vec<String>> {
        let mut maker =
            Maker { provider: Arc::new(ring::default_provider()), problems: Vec::new() };
        let mut contexts = Self::default();
        for endpoint in &config.endpoints {
            let owner = format!("endpoint '{}'", endpoint.name);
            contexts.endpoints.push(maker.server(&owner, &endpoint.tls, own).map(Arc::new));
        }
        for backend in &config.backends {
            let owner = format!("backend '{}'", backend.name);
            contexts.backends.push(maker.client(&owner, &backend.tls).map(Arc::new));
        }
        if maker.problems.is_empty() { Ok(contexts) } else { Err(maker.problems) }
    }

    /// What an endpoint offers its clients; `None` without TLS.
    #[must_use]
    pub fn endpoint(&self, id: EndpointId) -> Option<&Arc<ServerContext>> {
        self.endpoints.get(id.index())?.as_ref()
    }

    /// What a backend is asked for; `None` without TLS.
    #[must_use]
    pub fn backend(&self, id: BackendId) -> Option<&Arc<ClientContext>> {
        self.backends.get(id.index())?.as_ref()
    }
}

impl ServerContext {
    /// What is asked of clients.
    #[must_use]
    pub const fn mode(&self) -> TlsMode {
        self.mode
    }
}

impl ClientContext {
    /// What is asked of the server.
    #[must_use]
    pub const fn mode(&self) -> TlsMode {
        self.mode
    }
}

impl fmt::Debug for ServerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerContext({:?})", self.mode)
    }
}

impl fmt::Debug for ClientContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientContext({:?}, {})", self.mode, self.name.to_str())
    }
}

/// Makes contexts and notes what is wrong.
struct Maker {
    provider: Arc<CryptoProvider>,
    problems: Vec<String>,
}

impl Maker {
    fn server(
        &mut self,
        owner: &str,
        tls: &EndpointTls,
        own: Option<&Identity>,
    ) -> Option<ServerContext> {
        if tls.mode == TlsMode::Disabled {
            return None;
        }
        let identities = tls.identities.iter();
        let identities: Vec<&Identity> = if tls.identities.is_empty() {
            own.into_iter().collect()
        } else {
            identities.collect()
        };
        let keys: Vec<_> =
            identities.iter().map(|identity| self.certified(owner, identity)).collect();
        let roots = tls.client_ca.as_ref().map(|ca| self.roots(owner, ca));
        let keys: Vec<CertifiedKey> = keys.into_iter().flatten().collect();
        if keys.is_empty() {
            return None;
        }
        let made = self.server_config(keys, roots);
        let config = self.noting(owner, made)?;
        Some(ServerContext { mode: tls.mode, config: Arc::new(config) })
    }

    fn server_config(
        &self,
        keys: Vec<CertifiedKey>,
        roots: Option<Arc<RootCertStore>>,
    ) -> Result<ServerConfig, String> {
        let builder = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match roots {
            None => builder.with_no_client_auth(),
            Some(roots) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(roots, self.provider.clone())
                    .build()
                    .map_err(|error| error.to_string())?,
            ),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Choice::new(keys)));
        // Tickets cost no memory here; the cache is for TLS 1.2 clients that take no tickets.
        config.ticketer = ring::Ticketer::new().map_err(|error| error.to_string())?;
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
        Ok(config)
    }

    fn client(&mut self, owner: &str, tls: &BackendTls) -> Option<ClientContext> {
        if tls.mode == TlsMode::Disabled {
            return None;
        }
        let identity = tls.identity.as_ref().map(|identity| self.certified(owner, identity));
        let roots = tls.ca.as_ref().map(|ca| self.roots(owner, ca));
        let made = self.client_config(identity.flatten(), roots, tls.mode);
        let config = self.noting(owner, made)?;
        let name = tls.server_name.clone();
        Some(ClientContext { mode: tls.mode, name, config: Arc::new(config) })
    }

    fn client_config(
        &self,
        identity: Option<CertifiedKey>,
        roots: Option<Arc<RootCertStore>>,
        mode: TlsMode,
    ) -> Result<ClientConfig, String> {
        let verifier: Arc<dyn ServerCertVerifier> = match roots {
            None => Arc::new(Anybody(self.provider.clone())),
            Some(roots) => Arc::new(OfAuthority {
                inner: WebPkiServerVerifier::builder_with_provider(roots, self.provider.clone())
                    .build()
                    .map_err(|error| error.to_string())?,
                by_name: mode == TlsMode::VerifyIdentity,
            }),
        };
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        Ok(config)
    }

    /// A certificate and its key, found to belong together.
    fn certified(&mut self, owner: &str, identity: &Identity) -> Option<CertifiedKey> {
        let made = certified(identity, &self.provider);
        self.noting(owner, made)
    }

    fn roots(&mut self, owner: &str, ca: &Certificates) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for (der, number) in ca.der.iter().zip(1..) {
            let added = roots.add(der.clone());
            let added = added.map_err(|error| {
                format!("{}: certificate {number} is no authority's: {error}", ca.file)
            });
            self.noting(owner, added);
        }
        Arc::new(roots)
    }

    fn noting<T>(&mut self, owner: &str, made: Result<T, String>) -> Option<T> {
        made.map_err(|problem| self.problems.push(format!("{owner}: {problem}"))).ok()
    }
}

fn certified(identity: &Identity, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let Identity { chain, key } = identity;
    let signing = provider.key_provider.load_private_key(key.der().clone_key()).map_err(|_| {
        format!("{}: holds a key that Weir cannot use; {KEYS} can be used", key.file)
    })?;
    for (der, number) in chain.der.iter().zip(1..) {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else {
            return Err(format!("{}: certificate {number} is damaged", chain.file));
        };
        let public = signing.public_key();
        let differs = public.is_some_and(|public| public.as_ref() != certificate.subject_pki.raw);
        if number == 1 && differs {
            let (key, chain) = (&key.file, &chain.file);
            return Err(format!("{key}: is not the key of the first certificate in {chain}"));
        }
    }
    Ok(CertifiedKey::new(chain.der.clone(), signing))
}

/// Sessions kept per endpoint or backend, for connections that go on where they ended.
const SESSIONS_MAX: usize = 1024;
const KEYS: &str = "RSA from 2048 to 8192 bits, ECDSA with P-256 or P-384, and Ed25519";
