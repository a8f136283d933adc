"""Counting on the wire between the sites: what is encrypted, and what should have been."""

from __future__ import annotations

import collections
import ipaddress
import socket
import struct
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lab import net

if TYPE_CHECKING:
    from collections.abc import Iterator

ETH_P_ALL = 0x0003
ETHERTYPE_IPV4, ETHERTYPE_IPV6 = 0x0800, 0x86DD
ETHERNET_HEADER, IPV6_HEADER, UDP_HEADER = 14, 40, 8
PROTOCOL_UDP, PROTOCOL_ESP = 17, 50
IPV6_EXTENSIONS = {0, 43, 60}
FRAGMENT_HEADER = 44
NAT_TRAVERSAL_PORT = 4500
SHORTEST_ESP = 8
"""An SPI and a sequence number; a NAT keepalive is a single byte, and IKE on this port begins with four zero bytes."""

SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 263, 1, 1
SO_RCVBUFFORCE = 33
RECEIVE_BUFFER = 8 * 1024 * 1024
PACKET_OUTGOING = 4


@dataclass
class Counter:
    """What has passed so far; `private` are the networks of which nothing may be seen."""

    private: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    esp_from: collections.Counter[tuple[str, int]] = field(default_factory=collections.Counter)
    """Packets of ESP by where they come from: an outer address, and the UDP port that they are wrapped for, else 0."""
    plaintext: collections.Counter[tuple[str, str, int]] = field(default_factory=collections.Counter)
    """Packets of the private networks in the clear: from where, to where, of which protocol."""

    @property
    def plaintext_packets(self) -> int:
        """All packets in the clear."""
        return self.plaintext.total()

    @property
    def esp_packets(self) -> int:
        """All packets of ESP."""
        return self.esp_from.total()

    def see(self, frame: bytes) -> None:
        """Take one Ethernet frame into account."""
        if len(frame) < ETHERNET_HEADER:
            return
        (ethertype,) = struct.unpack_from("!H", frame, 12)
        packet = frame[ETHERNET_HEADER:]
        if ethertype == ETHERTYPE_IPV6 and len(packet) >= IPV6_HEADER:
            ends = [ipaddress.ip_address(packet[at : at + 16]) for at in (8, 24)]
            protocol, payload = _ipv6_payload(packet)
        elif ethertype == ETHERTYPE_IPV4 and len(packet) >= 20:  # noqa: PLR2004 - an IPv4 header without options
            ends = [ipaddress.ip_address(packet[at : at + 4]) for at in (12, 16)]
            protocol, payload = packet[9], packet[(packet[0] & 0x0F) * 4 :]
        else:
            return
        if any(end in network for end in ends for network in self.private):
            self.plaintext[str(ends[0]), str(ends[1]), protocol] += 1
        elif is_esp(protocol, payload):
            port = 0 if protocol == PROTOCOL_ESP else int.from_bytes(payload[:2])
            self.esp_from[str(ends[0]), port] += 1


def is_esp(protocol: int, payload: bytes) -> bool:
    """Whether a packet's payload is ESP, by itself or in UDP."""
    if protocol == PROTOCOL_ESP:
        return True
    if protocol != PROTOCOL_UDP or len(payload) < UDP_HEADER:
        return False
    ports = struct.unpack_from("!HH", payload)
    inside = payload[UDP_HEADER:]
    return NAT_TRAVERSAL_PORT in ports and len(inside) >= SHORTEST_ESP and inside[:4] != b"\0\0\0\0"


def _ipv6_payload(packet: bytes) -> tuple[int, bytes]:
    """What comes after the IPv6 header and its extensions."""
    protocol, at = packet[6], IPV6_HEADER
    while protocol in IPV6_EXTENSIONS | {FRAGMENT_HEADER} and at + 8 <= len(packet):
        length = 8 if protocol == FRAGMENT_HEADER else (packet[at + 1] + 1) * 8
        protocol, at = packet[at], at + length
    return protocol, packet[at:]


@contextmanager
def capture(namespace: str, interface: str, *private: str) -> Iterator[Counter]:
    """Count on a switch for as long as the context lasts; the counter may be read meanwhile and afterwards."""
    counter = Counter(tuple(map(ipaddress.ip_network, private)))
    listening = net.inside(namespace, lambda: _listen(interface))
    stop = threading.Event()

    def listen() -> None:
        while True:
            try:
                frame, (_, _, kind, *_) = listening.recvfrom(65535)
            except TimeoutError:
                if stop.is_set():
                    return
                continue
            if kind != PACKET_OUTGOING:
                counter.see(frame)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield counter
    finally:
        stop.set()
        listener.join()
        listening.close()


def _listen(interface: str) -> socket.socket:
    listening = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    listening.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    index = socket.if_nametoindex(interface)
    listening.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, struct.pack("iHH8s", index, PACKET_MR_PROMISC, 0, b""))
    listening.bind((interface, ETH_P_ALL))
    listening.settimeout(0.05)
    return listening
