//! The limits of the service that are not options.

use std::time::Duration;

/// Limits for slow clients, for many of them, and for slow deliveries. Tests shorten them.
#[derive(Clone, Copy, Debug)]
pub struct ServiceLimits {
    /// Maximum time from accepting a connection, or from its TLS handshake, to the end of its first
    /// request head. A client on a bad line needs a second or two.
    pub first_header_timeout: Duration,
    /// Maximum time to the end of any later request head, including the idle time before it. It is
    /// longer than a load balancer's idle timeout (60 s on AWS), or the balancer would send
    /// requests into closed connections.
    pub keep_alive_timeout: Duration,
    /// Maximum pause in a request body. The slowest useful line sends something every second.
    pub body_pause_timeout: Duration,
    /// Maximum total time of a ride's body, which has some 80 kB at most.
    pub ride_body_timeout: Duration,
    /// Maximum time in which a client reads nothing of its response. Such a client holds a
    /// connection and the response's memory.
    pub write_timeout: Duration,
    /// Maximum total time of a response, to which its length adds a second for every 32 KiB.
    pub response_timeout: Duration,
    /// Maximum duration of a delivery; after that it gets 503. Well within Firehose's 3 minutes.
    pub delivery_deadline: Duration,
    /// Maximum number of connections. Each costs some 10 KB when idle; what is sent over them has
    /// limits of its own.
    pub connections_max: usize,
    /// Maximum number of subscribers to live events, of all classes together. Each costs its
    /// connection and some 20 KB.
    pub subscribers_max: usize,
    /// Memory budget of all deliveries together, in bytes: bodies, decoded efforts, and those that
    /// wait for their commit. Raised to eight of the largest bodies, so that any one delivery fits.
    pub deliveries_bytes_max: usize,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            first_header_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(75),
            body_pause_timeout: Duration::from_secs(10),
            ride_body_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(60),
            response_timeout: Duration::from_secs(60),
            delivery_deadline: Duration::from_secs(60),
            connections_max: 10_000,
            subscribers_max: 4096,
            deliveries_bytes_max: 1 << 30,
        }
    }
}
