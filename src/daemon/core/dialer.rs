//! Outgoing connections: a socket with everything a peer needs set before the first SYN.
//!
//! In: `peer::Transport`, as the speaker wants it. Out: a connected socket, or why there is none in the speaker's words.
//! It leaves when to dial, and when to give up and try again, to the peer's FSM; [`DIAL`] only bounds a forgotten attempt.
//!
//! A key or TTL that cannot be set fails the dial: a session that was meant to be protected is never tried without (RFC 2385, RFC 5082).

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::peer::{DialError, Transport, Ttl};

use crate::daemon::sys;

/// The longest that one attempt may take; a peer's ConnectRetryTimer usually ends it earlier.
pub const DIAL: Duration = Duration::from_secs(60);

/// # Errors
/// What the peer's FSM and its operator are told.
pub async fn dial(transport: Transport) -> Result<TcpStream, DialError> {
    let remote = scoped(&transport)?;
    let socket = prepare(&transport, remote).map_err(|e| DialError::Other(e.to_string()))?;
    bind(&socket, &transport, remote).map_err(|e| match e.kind() {
        io::ErrorKind::AddrNotAvailable => DialError::Other(format!("source address: no interface here has {} ({e})", local(&transport))),
        _ => DialError::Other(e.to_string()),
    })?;
    match timeout(DIAL, TcpSocket::from_std_stream(socket.into()).connect(remote)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(classify(&error)),
        Err(_elapsed) => Err(DialError::TimedOut),
    }
}

/// A link-local address means something on its interface only (RFC 4007 §6), whose number is asked for anew each time.
fn scoped(transport: &Transport) -> Result<SocketAddr, DialError> {
    match (transport.remote, &transport.interface) {
        (SocketAddr::V6(v6), Some(name)) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => {
            let index = sys::interface_index(name).ok_or_else(|| DialError::Other(format!("no interface {name}")))?;
            Ok(SocketAddrV6::new(*v6.ip(), v6.port(), 0, index).into())
        }
        (remote, _) => Ok(remote),
    }
}

fn prepare(transport: &Transport, remote: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(name) = &transport.interface {
        socket.bind_device(Some(name.as_bytes())).map_err(|e| naming(&e, format_args!("interface {name}")))?;
    }
    if let Some(secret) = &transport.md5 {
        sys::set_md5(&socket, remote.ip(), None, secret.expose()).map_err(|e| naming(&e, format_args!("TCP-MD5 key")))?;
    }
    if let Some(timeout) = transport.user_timeout {
        sys::set_user_timeout(&socket, timeout)?;
    }
    if let Some(mss) = transport.mss {
        sys::set_mss(&socket, mss)?;
    }
    apply_ttl(&socket, remote.is_ipv4(), transport.ttl)?;
    Ok(socket)
}

/// What a connection with this peer sends and takes; for accepted sockets as for dialled ones.
///
/// # Errors
/// The kernel's; then the connection is not to be used.
pub fn apply_ttl(socket: &impl std::os::fd::AsFd, v4: bool, ttl: Ttl) -> io::Result<()> {
    match ttl {
        Ttl::Default => Ok(()),
        Ttl::Multihop(hops) => sys::set_ttl(socket, v4, hops),
        Ttl::Security(hops) => {
            sys::set_ttl(socket, v4, u8::MAX)?;
            sys::set_min_ttl(socket, v4, u8::MAX.saturating_sub(hops.saturating_sub(1)))
        }
    }
}

fn local(transport: &Transport) -> String {
    transport.local.map_or_else(|| "it".to_owned(), |addr| addr.to_string())
}

fn bind(socket: &Socket, transport: &Transport, remote: SocketAddr) -> io::Result<()> {
    let Some(local) = transport.local else { return Ok(()) };
    let local = match (local, remote) {
        (IpAddr::V6(v6), SocketAddr::V6(remote)) => SocketAddrV6::new(v6, 0, 0, remote.scope_id()).into(),
        (local, _) => SocketAddr::new(local, 0),
    };
    socket.bind(&local.into())
}

fn naming(error: &io::Error, what: std::fmt::Arguments<'_>) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// The kernel's errno in the words of `catbird peers`.
fn classify(error: &io::Error) -> DialError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => DialError::Refused,
        io::ErrorKind::TimedOut => DialError::TimedOut,
        io::ErrorKind::HostUnreachable => DialError::HostUnreachable,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => DialError::Unreachable,
        _ if matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM)) => DialError::NoBuffers,
        _ => DialError::Other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

    use super::*;
    use crate::peer::Secret;

    fn transport(remote: SocketAddr) -> Transport {
        Transport {
            remote,
            local: None,
            interface: None,
            ttl: Ttl::Multihop(1),
            md5: None,
            user_timeout: Some(Duration::from_secs(30)),
            mss: None,
        }
    }

    fn loopback() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let addr = listener.local_addr().expect("bound");
        (listener, addr)
    }

    #[tokio::test]
    async fn the_source_address_and_interface_are_the_ones_asked_for() {
        let (listener, addr) = loopback();
        let local = Ipv4Addr::new(127, 0, 0, 9).into();
        let transport = Transport { local: Some(local), interface: Some("lo".into()), ..transport(addr) };
        let socket = dial(transport).await.expect("connected");
        assert_eq!(socket.local_addr().expect("bound").ip(), local);
        assert_eq!(listener.accept().expect("a connection waits").1.ip(), local);
        assert!(socket.nodelay().expect("an option"));
    }

    #[test]
    fn each_way_of_not_getting_there_has_its_own_sentence() {
        let said = |errno| classify(&io::Error::from_raw_os_error(errno)).to_string();
        let (net, host, full) = (said(libc::ENETUNREACH), said(libc::EHOSTUNREACH), said(libc::ENOBUFS));
        assert!(net.contains("no route to the peer") && host.contains("nobody answers there") && full.contains("gc_thresh3"));
    }

    #[tokio::test]
    async fn a_closed_port_is_refused_in_so_many_words() {
        let (listener, addr) = loopback();
        drop(listener);
        assert!(matches!(dial(transport(addr)).await, Err(DialError::Refused)));
    }

    #[tokio::test]
    async fn what_cannot_be_set_fails_the_dial_and_names_itself() {
        let (_listener, addr) = loopback();
        let named = |error: DialError| error.to_string();
        let lost = Transport { interface: Some("nolink0".into()), ..transport(addr) };
        let error = named(dial(lost).await.expect_err("no such interface"));
        assert!(error.contains("nolink0"), "{error}");
        let keyed = Transport { md5: Some(Secret::new(&[b'k'; 81])), ..transport(addr) };
        let error = named(dial(keyed).await.expect_err("the key is too long"));
        assert!(error.contains("MD5"), "{error}");
        let foreign = Transport { local: Some(Ipv4Addr::new(192, 0, 2, 77).into()), ..transport(addr) };
        let error = named(dial(foreign).await.expect_err("not our address"));
        assert!(error.contains("source address: no interface here has 192.0.2.77"), "{error}");
    }

    #[tokio::test]
    async fn a_link_local_peer_is_dialled_on_its_interface() {
        let fe80 = SocketAddr::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into(), 179);
        let index = sys::interface_index("lo").expect("there is a loopback");
        let named = Transport { interface: Some("lo".into()), ..transport(fe80) };
        let SocketAddr::V6(scope) = scoped(&named).expect("lo exists") else { panic!("IPv6 stays IPv6") };
        assert_eq!(scope.scope_id(), index);
        let lost = Transport { interface: Some("nolink0".into()), ..transport(fe80) };
        assert!(scoped(&lost).is_err(), "an interface that is not there yet");
    }
}
