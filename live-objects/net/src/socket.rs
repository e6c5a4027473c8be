//! The node's one UDP port, shared by QUIC and by what is sealed without it.
//!
//! QUIC believes that the socket is its own: this is its socket, and takes out what is not QUIC's
//! by the first byte, which is below 0x40 (`seal`). The system may hand on several datagrams of one
//! sender in one buffer, all of one length but the last, which may be shorter; QUIC's and ours may
//! be among each other. Each is looked at, and those that stay are moved together: what remains is
//! again of one length but the last.
//!
//! All that comes and goes is counted here, as what UDP carries: packets and their bytes.
//!
//! Invariant: QUIC sees each of its datagrams once, whole and in order.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use crate::inbox::Outlet;
use crate::seal::{PACKET_LEN_MAX, is_sealed};

/// A bound UDP socket.
pub(crate) struct Socket {
    udp: Arc<dyn AsyncUdpSocket>,
    is_ipv6: bool,
    outlet: Outlet,
}

impl Socket {
    /// Whatever is not QUIC's goes to the inbox.
    pub(crate) fn new(udp: Arc<dyn AsyncUdpSocket>, outlet: Outlet) -> io::Result<Self> {
        let is_ipv6 = udp.local_addr()?.is_ipv6();
        Ok(Self { udp, is_ipv6, outlet })
    }

    /// Sends a packet that is not QUIC's, or drops and counts it.
    pub(crate) fn send(&self, to: SocketAddr, packet: &[u8]) {
        assert!(is_sealed(packet), "what is QUIC's is sent by QUIC");
        let destination = match (to, self.is_ipv6) {
            (SocketAddr::V4(v4), true) => {
                SocketAddr::new(IpAddr::V6(v4.ip().to_ipv6_mapped()), v4.port())
            }
            (SocketAddr::V6(_), false) => return self.outlet.tally.add("net.address_unusable"),
            _ => to,
        };
        let sent = self.udp.try_send(&Transmit {
            destination,
            ecn: None,
            contents: packet,
            segment_size: None,
            src_ip: None,
        });
        match sent {
            Ok(()) => self.count_sent(packet.len(), packet.len()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.outlet.tally.add("net.datagram_unsent");
            }
            Err(_) => self.outlet.tally.add("net.address_unusable"),
        }
    }

    /// Bytes were sent, in packets of a length.
    fn count_sent(&self, bytes: usize, length: usize) {
        let packets = bytes.div_ceil(length.max(1));
        self.outlet.tally.add_all([("net.packets_sent", packets), ("net.bytes_sent", bytes)]);
    }

    /// Takes what is not QUIC's out of a buffer.
    fn sort(&self, buffer: &mut [u8], meta: &mut RecvMeta) {
        let (len, stride) = (meta.len.min(buffer.len()), meta.stride.max(1));
        let packets = len.div_ceil(stride);
        let received = [("net.packets_received", packets), ("net.bytes_received", len)];
        self.outlet.tally.add_all(received);
        let from = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
        let mut kept = 0;
        for begin in (0..len).step_by(stride) {
            let end = len.min(begin + stride);
            let packet = &buffer[begin..end];
            if !is_sealed(packet) {
                buffer.copy_within(begin..end, kept);
                kept += end - begin;
            } else if packet.len() > PACKET_LEN_MAX {
                self.outlet.tally.add("net.seal_malformed");
            } else {
                self.outlet.sealed(from, Bytes::copy_from_slice(packet));
            }
        }
        meta.len = kept;
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.udp.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.udp.try_send(transmit)?;
        let len = transmit.contents.len();
        self.count_sent(len, transmit.segment_size.unwrap_or(len));
        Ok(())
    }

    /// A buffer may come out empty: QUIC passes it over.
    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = ready!(self.udp.poll_recv(context, buffers, metas))?;
        for (buffer, meta) in buffers.iter_mut().zip(metas).take(received) {
            self.sort(buffer, meta);
        }
        Poll::Ready(Ok(received))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.udp.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.udp.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.udp.may_fragment()
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("udp", &self.udp).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::Happening;
    use live_objects::Counts;
    use quinn::{Runtime, TokioRuntime};

    /// Sorts a buffer of packets of one length but the last, each known by its first byte. Tells
    /// which stay and which go to the inbox.
    fn sorted(packets: &[(u8, usize)]) -> (Vec<u8>, Vec<u8>) {
        let (outlet, mut inbox) = Outlet::new();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = Socket::new(TokioRuntime.wrap_udp_socket(udp).unwrap(), outlet).unwrap();
        let packet = |(kind, len): &(u8, usize)| vec![*kind; *len];
        let mut buffer: Vec<u8> = packets.iter().flat_map(packet).collect();
        let (len, stride) = (buffer.len(), packets.first().map_or(0, |first| first.1));
        let mut meta = RecvMeta { len, stride, ..RecvMeta::default() };
        socket.sort(&mut buffer, &mut meta);
        let counted = |name| socket.outlet.tally.with(&Counts::default())[name];
        assert_eq!(counted("net.packets_received"), packets.len() as u64);
        assert_eq!(counted("net.bytes_received"), len as u64);
        let kept = buffer[..meta.len].chunks(stride.max(1)).map(|packet| {
            assert!(packet.iter().all(|byte| *byte == packet[0]), "packets stay whole");
            packet[0]
        });
        let kept = kept.collect();
        let mut taken = Vec::new();
        while let Ok(Happening::Sealed(_, packet, _)) = inbox.try_recv() {
            assert!(packet.iter().all(|byte| *byte == packet[0]), "packets stay whole");
            taken.push(packet[0]);
        }
        (kept, taken)
    }

    #[tokio::test]
    async fn each_gets_its_own_in_order() {
        assert_eq!(sorted(&[]), (vec![], vec![]));
        assert_eq!(sorted(&[(0x41, 9), (0x42, 9), (0xc3, 4)]), (vec![0x41, 0x42, 0xc3], vec![]));
        assert_eq!(sorted(&[(1, 9), (2, 9), (3, 4)]), (vec![], vec![1, 2, 3]));
        let mixed = [(1, 9), (0x41, 9), (2, 9), (0x42, 9), (0x43, 9), (3, 9), (0xc4, 2)];
        assert_eq!(sorted(&mixed), (vec![0x41, 0x42, 0x43, 0xc4], vec![1, 2, 3]));
        assert_eq!(sorted(&[(0x41, 9), (0x42, 9), (3, 2)]), (vec![0x41, 0x42], vec![3]));
    }

    #[tokio::test]
    async fn what_is_sent_is_counted() {
        let (outlet, _inbox) = Outlet::new();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = udp.local_addr().unwrap();
        let socket = Socket::new(TokioRuntime.wrap_udp_socket(udp).unwrap(), outlet).unwrap();
        let socket = Arc::new(socket);
        let mut poller = Arc::clone(&socket).create_io_poller();
        std::future::poll_fn(|context| poller.as_mut().poll_writable(context)).await.unwrap();
        socket.send(to, &[1; 90]);
        let quic = Transmit {
            destination: to,
            ecn: None,
            contents: &[0x41; 10],
            segment_size: None,
            src_ip: None,
        };
        socket.try_send(&quic).unwrap();
        socket.count_sent(25, 10);
        let counts = socket.outlet.tally.with(&Counts::default());
        assert_eq!((counts["net.packets_sent"], counts["net.bytes_sent"]), (5, 125));
    }

    #[tokio::test]
    async fn a_flood_is_dropped_beyond_its_room() {
        let (outlet, mut inbox) = Outlet::new();
        let from = SocketAddr::from(([127, 0, 0, 1], 1));
        for _ in 0..100_000 {
            outlet.sealed(from, Bytes::from_static(&[1; 100]));
        }
        let mut taken = 0;
        while inbox.try_recv().is_ok() {
            taken += 1;
        }
        assert!((1_000..20_000).contains(&taken), "{taken}");
        let dropped = outlet.tally.with(&Counts::default())["net.datagram_unread"];
        assert_eq!(dropped, 100_000 - taken);
    }
}
