"""The counter on the wire sees what it should, and takes nothing else for it."""

from __future__ import annotations

import ipaddress
import struct
from typing import TYPE_CHECKING

import pytest

from lab.wire import Counter

if TYPE_CHECKING:
    from lab import Lab

PRIVATE = (ipaddress.IPv6Network("fdd7:5938:e2e6::/48"), ipaddress.IPv4Network("10.0.0.0/8"))
MACS = b"\x02" * 12
SPI, MARKER, KEEPALIVE = b"\xc0\xff\xee\x01" + bytes(20), bytes(4) + bytes(28), b"\xff"


def ipv4(protocol: int, payload: bytes, source: str = "192.0.2.1") -> bytes:
    ends = ipaddress.IPv4Address(source).packed, ipaddress.IPv4Address("192.0.2.2").packed
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0, *ends)
    return MACS + b"\x08\x00" + header + payload


def ipv6(protocol: int, payload: bytes, source: str = "2001:db8::1", destination: str = "2001:db8::2") -> bytes:
    addresses = ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address(destination).packed
    return MACS + b"\x86\xdd" + struct.pack("!IHBB", 0x60000000, len(payload), protocol, 64) + addresses + payload


def udp(port: int, payload: bytes) -> bytes:
    return struct.pack("!HHHH", 40000, port, 8 + len(payload), 0) + payload


@pytest.mark.parametrize(
    ("frame", "esp", "plaintext"),
    [
        pytest.param(ipv4(50, SPI), 1, 0, id="ESP over IPv4"),
        pytest.param(ipv6(50, SPI), 1, 0, id="ESP over IPv6"),
        pytest.param(ipv4(17, udp(4500, SPI)), 1, 0, id="ESP in UDP"),
        pytest.param(ipv6(17, udp(4500, SPI)), 1, 0, id="ESP in UDP over IPv6"),
        pytest.param(ipv6(60, b"\x11\0" + bytes(6) + udp(4500, SPI)), 1, 0, id="behind an extension header"),
        pytest.param(ipv4(17, udp(4500, KEEPALIVE)), 0, 0, id="keepalive"),
        pytest.param(ipv4(17, udp(4500, MARKER)), 0, 0, id="IKE on 4500"),
        pytest.param(ipv4(17, udp(500, SPI)), 0, 0, id="IKE on 500"),
        pytest.param(ipv4(6, SPI), 0, 0, id="TCP"),
        pytest.param(ipv6(58, b"", source="fdd7:5938:e2e6:1::1"), 0, 1, id="from the ULA prefix"),
        pytest.param(ipv6(58, b"", destination="fdd7:5938:e2e6:3::1"), 0, 1, id="to the ULA prefix"),
        pytest.param(ipv6(50, SPI, destination="fdd7:5938:e2e6:3::1"), 0, 1, id="ULA outside is plaintext, ESP or not"),
        pytest.param(ipv6(58, b"", destination="fdd7:5938:e2e7::1"), 0, 0, id="another prefix"),
        pytest.param(ipv4(1, b"", source="10.0.1.1"), 0, 1, id="from a private IPv4 subnet"),
        pytest.param(MACS + b"\x08\x06" + bytes(28), 0, 0, id="ARP"),
        pytest.param(b"", 0, 0, id="nothing"),
        pytest.param(MACS + b"\x86\xdd\x60", 0, 0, id="cut short"),
    ],
)
def test_a_frame_is_taken_for_what_it_is(frame: bytes, esp: int, plaintext: int) -> None:
    counter = Counter(PRIVATE)
    counter.see(frame)
    assert (counter.esp_packets, counter.plaintext_packets) == (esp, plaintext)


def test_esp_is_known_by_where_it_comes_from() -> None:
    counter = Counter(PRIVATE)
    for frame in (ipv4(50, SPI), ipv4(17, udp(4500, SPI)), ipv4(17, udp(4500, SPI)), ipv6(50, SPI)):
        counter.see(frame)
    assert counter.esp_from == {("192.0.2.1", 0): 1, ("192.0.2.1", 40000): 2, ("2001:db8::1", 0): 1}


@pytest.mark.lab
def test_planted_packets_are_counted_once_each(lab: Lab) -> None:
    send = 'bash -c \'printf "%b" "$1" > /dev/udp/203.0.113.20/4500\' -'
    with lab.capture() as counter:
        lab.root("home", f"{send} '\\1\\2\\3\\4\\5\\6\\7\\010planted'")
        lab.root("home", f"{send} '\\0377'; {send} '\\0\\0\\0\\0an IKE message'")
    assert (counter.esp_packets, counter.plaintext_packets) == (1, 0)

    with lab.capture() as counter:
        lab.root("home", "ping -c3 -i0.2 -W1 -I eth0 fdd7:5938:e2e6:8e71::1", check=False)
    assert counter.plaintext_packets >= 3
    assert counter.esp_packets == 0
