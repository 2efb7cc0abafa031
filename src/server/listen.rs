//! Listening: the port, and the server's settings for its connections.

use std::net::{SocketAddr, TcpListener};

use anyhow::Context;
use axum_server::Server;
use tokio::net::TcpSocket;

use crate::config::ServiceLimits;
use crate::server::connections::LimitedAcceptor;

/// Maximum size of a request head. Firehose's common attributes may have 64 KB, its key 4 KB. A
/// connection reads no further ahead than this, either.
const REQUEST_HEAD_BYTES_MAX: usize = 128 << 10;

/// Maximum number of connections that wait to be accepted. A thousand riders' pages come at once
/// before a race, and a client that is turned away tries again only after a second. The standard
/// library's maximum is 128. Linux applies a limit of its own, the smaller one counts:
/// `net.core.somaxconn`, 4,096 since Linux 5.4 (man 2 listen).
const ACCEPT_BACKLOG_MAX: u32 = 4096;

/// Opens the service's port.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?; // a restarted service need not wait for its old connections
    socket.bind(address)?;
    socket.listen(ACCEPT_BACKLOG_MAX)?.into_std()
}

/// Returns a server of HTTP/1.1 with these limits. A load balancer or proxy speaks HTTP/2.
pub(super) fn http1_server(
    listener: TcpListener,
    connections_max: usize,
    limits: ServiceLimits,
) -> anyhow::Result<Server<SocketAddr, LimitedAcceptor>> {
    let mut server = axum_server::from_tcp(listener)
        .context("the listener cannot be used")?
        .http1_only()
        .first_request_timeout(limits.first_header_timeout)
        .acceptor(LimitedAcceptor::new(connections_max, limits));
    server
        .http_builder()
        .http1()
        .header_read_timeout(limits.keep_alive_timeout)
        .max_buf_size(REQUEST_HEAD_BYTES_MAX);
    Ok(server)
}
