//! How the API is reached: where it is, whose certificate is believed, and who we say we are.
//!
//! In: a kubeconfig, or what a pod is given. Out: clients of the ecosystem's `kube`, one for each watch, over one connection: HTTP/2 where the server
//! speaks it (RFC 9113), which all real ones do. It is asked every half a minute whether it still lives, so that a half-open one is noticed.
//!
//! `kube`'s own way there was not taken: it is HTTP/1.1, a connection for each watch, and reads kubeconfigs with plugins that nodes do not have, for two
//! megabytes of code. Tokens are read again for every request, authorities for every connection that is made anew.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{env, fs};

use http::header::AUTHORIZATION;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client as Http, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::retry::RetryPolicy;
use kube::client::{Body, Client};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tower::BoxError;
use tower::retry::RetryLayer;
use tower::{Layer, service_fn};

use super::objects::Objects;
use crate::source::base64;

/// What a pod finds of its ServiceAccount.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A silent connection is asked whether it lives, and given up without an answer.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(15));

/// No connection takes longer.
const CONNECT: Duration = Duration::from_secs(30);

/// The one connection of all watches. One that has failed is made anew, from its files.
#[derive(Default)]
pub(super) struct Shared(Mutex<Option<Arc<Way>>>);

impl Shared {
    /// # Errors
    /// What is wrong with the kubeconfig, or with what a pod is given.
    pub fn way(&self, kubeconfig: Option<&Path>) -> Result<Arc<Way>, String> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(way) = &*known {
            return Ok(way.clone());
        }
        let access = kubeconfig.map_or_else(Access::of_a_pod, Access::of_file)?;
        Ok(known.insert(Arc::new(Way::new(access)?)).clone())
    }

    /// The next one who asks gets another one.
    pub fn forget(&self, failed: &Arc<Way>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.take_if(|way| Arc::ptr_eq(way, failed));
    }
}

/// See the module.
pub(super) struct Way {
    http: Http<HttpsConnector<HttpConnector>, Body>,
    access: Access,
}

impl Way {
    fn new(access: Access) -> Result<Way, String> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT));
        let mut builder = HttpsConnectorBuilder::new().with_tls_config(access.tls()?).https_or_http();
        if let Some(name) = &access.name {
            let name = ServerName::try_from(name.clone()).map_err(|error| format!("tls-server-name {name}: {error}"))?;
            builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
        }
        let connector = builder.enable_all_versions().wrap_connector(connector);
        let mut http = Http::builder(TokioExecutor::new());
        http.timer(TokioTimer::new()).http2_keep_alive_interval(PING.0).http2_keep_alive_timeout(PING.1).http2_keep_alive_while_idle(true);
        Ok(Way { http: http.build(connector), access })
    }

    /// For the watch of this name, whose objects are told when the API has answered, and with how many octets.
    pub fn client(self: &Arc<Self>, name: &str, objects: &Arc<Objects>) -> Client {
        let (way, name, objects) = (self.clone(), name.to_owned(), objects.clone());
        let service = service_fn(move |request: Request<Body>| {
            let sent = way.access.addressed(request).map(|request| way.http.request(request));
            let (name, objects) = (name.clone(), objects.clone());
            async move {
                let response = sent?.await?;
                if response.status().is_success() {
                    objects.answered(&name);
                }
                let counted = move |octets: usize| objects.received(&name, octets);
                Ok::<_, BoxError>(Response::map(response, |body| {
                    body.map_frame(move |frame| {
                        counted(frame.data_ref().map_or(0, bytes::Bytes::len));
                        frame
                    })
                }))
            }
        });
        Client::new(RetryLayer::new(RetryPolicy::server_retry()).layer(service), "default")
    }
}

/// Who we say we are.
enum Token {
    Text(String),
    /// Read again each time: it is another one every hour.
    File(PathBuf),
}

/// What a kubeconfig says, or a pod is given.
struct Access {
    server: Uri,
    /// In PEM; `None`: those of the system.
    authorities: Option<Vec<u8>>,
    /// In the server's certificate, if it is not its address.
    name: Option<String>,
    /// Certificates and key, in PEM.
    identity: Option<[Vec<u8>; 2]>,
    token: Option<Token>,
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

impl Access {
    fn of_a_pod() -> Result<Access, String> {
        let said = |name: &str| env::var(name).map_err(|_| format!("this is no pod ({name} is not set), and no kubeconfig is configured"));
        let (host, port) = (said("KUBERNETES_SERVICE_HOST")?, said("KUBERNETES_SERVICE_PORT")?);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let server = format!("https://{host}:{port}").parse().map_err(|error| format!("the API's address {host}:{port}: {error}"))?;
        let folder = Path::new(ACCOUNT);
        let authorities = Some(read(&folder.join("ca.crt"))?);
        Ok(Access { server, authorities, name: None, identity: None, token: Some(Token::File(folder.join("token"))) })
    }

    fn of_file(path: &Path) -> Result<Access, String> {
        let text = String::from_utf8(read(path)?).map_err(|error| format!("{}: {error}", path.display()))?;
        let of_file = |why: String| format!("{}: {why}", path.display());
        let file: Kubeconfig = serde_yaml_ng::from_str(&text).map_err(|error| of_file(error.to_string()))?;
        file.access(path.parent().unwrap_or(Path::new("."))).map_err(of_file)
    }

    fn tls(&self) -> Result<ClientConfig, String> {
        let mut roots = RootCertStore::empty();
        match &self.authorities {
            Some(pem) => {
                for one in CertificateDer::pem_slice_iter(pem) {
                    let added = one.map_err(|error| error.to_string()).and_then(|one| roots.add(one).map_err(|error| error.to_string()));
                    added.map_err(|why| format!("the API's certificate authority cannot be read: {why}"))?;
                }
            }
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        let config = config.with_root_certificates(roots);
        let Some([certificates, key]) = &self.identity else { return Ok(config.with_no_client_auth()) };
        let certificates = CertificateDer::pem_slice_iter(certificates).collect::<Result<Vec<_>, _>>();
        let identity = certificates.and_then(|certificates| Ok((certificates, PrivateKeyDer::from_pem_slice(key)?)));
        let (certificates, key) = identity.map_err(|error| format!("client certificate or key cannot be read: {error}"))?;
        config.with_client_auth_cert(certificates, key).map_err(|error| format!("client certificate: {error}"))
    }

    /// As the server wants it.
    fn addressed(&self, request: Request<Body>) -> Result<Request<Body>, BoxError> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let base = self.server.path().trim_end_matches('/');
        let mut to = self.server.clone().into_parts();
        to.path_and_query = Some(format!("{base}{path}").parse()?);
        parts.uri = Uri::from_parts(to)?;
        let token = match &self.token {
            None => None,
            Some(Token::Text(text)) => Some(text.clone()),
            Some(Token::File(path)) => Some(String::from_utf8(read(path)?)?),
        };
        if let Some(token) = token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))?;
            value.set_sensitive(true);
            parts.headers.insert(AUTHORIZATION, value);
        }
        Ok(Request::from_parts(parts, body))
    }
}

/// A kubeconfig, as far as a daemon can use it.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kubeconfig {
    clusters: Vec<Named>,
    #[serde(default)]
    users: Vec<Named>,
    contexts: Vec<Named>,
    current_context: String,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    cluster: Option<Cluster>,
    user: Option<User>,
    context: Option<Context>,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    tls_server_name: Option<String>,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    proxy_url: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    exec: Option<serde::de::IgnoredAny>,
    auth_provider: Option<serde::de::IgnoredAny>,
    username: Option<serde::de::IgnoredAny>,
}

/// What stands in the file itself, else in the file that it names.
fn said(data: Option<String>, path: Option<PathBuf>, folder: &Path) -> Result<Option<Vec<u8>>, String> {
    match (data, path) {
        (Some(data), _) => base64(&data).map(Some).ok_or_else(|| "what is said to be base 64 is none".to_owned()),
        (None, Some(path)) => read(&folder.join(path)).map(Some),
        (None, None) => Ok(None),
    }
}

impl Kubeconfig {
    fn access(self, folder: &Path) -> Result<Access, String> {
        fn named(list: Vec<Named>, name: &str, kind: &str) -> Result<Named, String> {
            list.into_iter().find(|one| one.name == name).ok_or_else(|| format!("there is no {kind} `{name}`"))
        }
        let empty = || "a name without anything".to_owned();
        let context = named(self.contexts, &self.current_context, "context")?.context.ok_or_else(empty)?;
        let cluster = named(self.clusters, &context.cluster, "cluster")?.cluster.ok_or_else(empty)?;
        let user = match context.user.as_str() {
            "" => User::default(),
            name => named(self.users, name, "user")?.user.unwrap_or_default(),
        };
        if user.exec.is_some() || user.auth_provider.is_some() || user.username.is_some() {
            return Err(
                "a user by `exec`, `auth-provider` or password: a daemon wants a token, a tokenFile or a client certificate".to_owned()
            );
        }
        if cluster.insecure_skip_tls_verify || cluster.proxy_url.is_some() {
            return Err("insecure-skip-tls-verify and proxy-url are not supported".to_owned());
        }
        let server = cluster.server.parse().map_err(|error| format!("server {}: {error}", cluster.server))?;
        let certificates = said(user.client_certificate_data, user.client_certificate, folder)?;
        let key = said(user.client_key_data, user.client_key, folder)?;
        Ok(Access {
            server,
            authorities: said(cluster.certificate_authority_data, cluster.certificate_authority, folder)?,
            name: cluster.tls_server_name,
            identity: certificates.zip(key).map(|(certificates, key)| [certificates, key]),
            token: user.token.map(Token::Text).or_else(|| user.token_file.map(|path| Token::File(folder.join(path)))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(user: &str, cluster: &str) -> Result<Access, String> {
        let text = format!(
            "current-context: x\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n\
             clusters: [{{name: c, cluster: {{server: \"https://api.example:6443/base/\"{cluster}}}}}]\n"
        );
        serde_yaml_ng::from_str::<Kubeconfig>(&text).map_err(|error| error.to_string())?.access(Path::new("/folder"))
    }

    #[test]
    fn a_request_goes_to_the_server_with_the_token() {
        let access = access("token: abc", "").expect("legal");
        let request = Request::get("/api/v1/nodes?watch=true").body(Body::empty()).expect("one");
        let sent = access.addressed(request).expect("fine");
        assert_eq!(sent.uri(), "https://api.example:6443/base/api/v1/nodes?watch=true");
        assert_eq!(sent.headers()[AUTHORIZATION], "Bearer abc");
    }

    #[test]
    fn what_a_daemon_cannot_use_is_refused_in_words() {
        for (user, cluster, word) in [
            ("exec: {command: aws}", "", "exec"),
            ("username: x", "", "password"),
            ("token: x", ", insecure-skip-tls-verify: true", "insecure"),
            ("token: x", ", certificate-authority: gone.crt", "/folder/gone.crt"),
            ("client-certificate-data: \"!\", client-key-data: \"AA==\"", "", "base 64"),
        ] {
            let why = access(user, cluster).err().unwrap_or_default();
            assert!(why.contains(word), "{user} {cluster}: {why}");
        }
        let tokenfile = access("tokenFile: t", "").expect("legal");
        assert!(matches!(tokenfile.token, Some(Token::File(path)) if path == Path::new("/folder/t")), "relative to the file");
    }
}
