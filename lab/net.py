"""The lab's cables and switches: network namespaces of its own, joined to no real interface.

The switches stand in a namespace that has no addresses at all: `wan`, the internet between the sites, `lan` behind
home, `lan5` behind vps5, and `line` between a host and its router. Every other namespace is a place at the end of a
cable.
"""

from __future__ import annotations

import ctypes
import hashlib
import ipaddress
import os
import shutil
import threading
from typing import TYPE_CHECKING, TypeVar

from lab.commands import run
from lab.errors import LabError
from lab.layout import (
    ADMIN,
    BEHIND_ROUTER,
    CA,
    GATEWAY_IPV4,
    GATEWAY_IPV6,
    HOSTS,
    NAMESPACE_FILES,
    NAMESPACES,
    ROUTER,
    ROUTER_INNER,
    Layout,
    Place,
)

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
SWITCHES = ("wan", "lan", "lan5", "line")
SWITCH_SETTINGS = "net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 net.ipv4.ip_forward=0"
PLACE_SETTINGS = "net.ipv4.ip_forward=0 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0"
"""New namespaces copy these from the machine, where Docker or a router may have changed them."""
ROUTER_SETTINGS = f"{PLACE_SETTINGS} net.ipv4.ip_forward=1 net.ipv4.conf.all.arp_notify=1"
ROUTER_RULES = f"""\
*nat
-A PREROUTING -i eth0 -p tcp -m multiport --dports 22,80 -j DNAT --to-destination {BEHIND_ROUTER}
-A POSTROUTING -o eth0 -p udp -j MASQUERADE --to-ports 20000-29999
-A POSTROUTING -o eth0 -j MASQUERADE
COMMIT
"""
"""As in a household: every port is another one outside, and what the owner has asked for is let in."""


def exists(layout: Layout, place: str) -> bool:
    """Whether a place's namespace is there."""
    return (NAMESPACES / layout.namespace(place)).exists()


def build_switches(layout: Layout) -> None:
    """Make the namespace with the two switches in it, connected to nothing yet."""
    namespace = _make(layout, "switch", SWITCH_SETTINGS)
    lines = []
    for switch in SWITCHES:
        lines += [
            f"link add {switch} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            f"link set {switch} up",
        ]
    _batch(namespace, lines)


def build_place(layout: Layout, place: Place) -> None:
    """Make a place's namespace and lay its cables; whatever was there before is gone, its addresses and rules too."""
    if _is_behind_router(layout, place):
        remove_place(layout, ROUTER)  # which has the place's address
    remove_place(layout, place)
    namespace = _make(layout, place.name, PLACE_SETTINGS)
    _lay_cables(layout, place, namespace)
    _batch(namespace, ["link set lo up"])


def _lay_cables(layout: Layout, place: Place, namespace: str) -> None:
    cables = [
        f"link add {port.cable} type veth peer name {port.name}"
        f" address {_hardware_address(namespace, port.name)} netns {namespace}"
        for port in place.ports
    ]
    plugs = [f"link set {port.cable} master {port.switch} up" for port in place.ports]
    _batch(layout.namespace("switch"), cables + plugs)


def _hardware_address(namespace: str, port: str) -> str:
    """A card's own address, the same after a reboot, as its neighbours expect."""
    digest = hashlib.sha256(f"{namespace} {port}".encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


def remove_place(layout: Layout, place: Place) -> None:
    """Pull a place's cables and remove its namespace; nothing happens where there is none."""
    if exists(layout, "switch"):
        for port in place.ports:
            run(["ip", "-n", layout.namespace("switch"), "link", "del", port.cable], check=False)
    if exists(layout, place.name):
        run(["ip", "netns", "del", layout.namespace(place.name)])


def build_controller_side(layout: Layout) -> None:
    """Make the places of the CA and of the controller, which no Debian of their own configures."""
    for place, more in ((CA, (f"{GATEWAY_IPV4}/24", f"{GATEWAY_IPV6}/64")), (ADMIN, ())):
        build_place(layout, place)
        addresses = (f"{place.ipv4}/24", f"{place.ipv6}/64", *more)
        lines = ["link set eth0 up", *(_address_line(address) for address in addresses)]
        _batch(layout.namespace(place.name), lines)
    directory = NAMESPACE_FILES / layout.namespace(ADMIN.name)
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    (directory / "resolv.conf").write_text(f"nameserver {CA.ipv4}\n")


def put_behind_router(layout: Layout, place: Place) -> None:
    """Plug a host into a router that translates addresses and ports, and that has the host's outer address from now on.

    The host has to take `BEHIND_ROUTER` for its address and `ROUTER_INNER` for its gateway. A reboot plugs it back.
    """
    remove_place(layout, ROUTER)
    namespace = _make(layout, ROUTER.name, ROUTER_SETTINGS)
    _lay_cables(layout, ROUTER, namespace)
    addresses = [f"addr add {place.ipv4}/24 dev eth0", f"addr add {ROUTER_INNER}/24 dev eth1"]
    _batch(namespace, ["link set lo up", *addresses])
    run(["ip", "netns", "exec", namespace, "iptables-restore"], stdin=ROUTER_RULES)
    _batch(layout.namespace("switch"), [f"link set {place.ports[0].cable} master line"])
    _batch(namespace, ["link set eth1 up", "link set eth0 up"])  # with its address: so that it tells its neighbours


def _is_behind_router(layout: Layout, place: Place) -> bool:
    listed = run(["ip", "-n", layout.namespace("switch"), "-o", "link", "show", "master", "line"], check=False).stdout
    return f" {place.ports[0].cable}@" in listed


def _address_line(address: str) -> str:
    known_unique = " nodad" if ipaddress.ip_interface(address).version == 6 else ""  # noqa: PLR2004 - IP's versions
    return f"addr add {address} dev eth0{known_unique}"


def remove_all(layout: Layout) -> None:
    """Remove every namespace of this lab and the files that went with them."""
    for place in (*HOSTS.values(), CA, ADMIN, ROUTER):
        remove_place(layout, place)
    if exists(layout, "switch"):
        run(["ip", "netns", "del", layout.namespace("switch")])
    directory = NAMESPACE_FILES / layout.namespace(ADMIN.name)
    (directory / "resolv.conf").unlink(missing_ok=True)
    for empty in (directory, NAMESPACE_FILES):
        if empty.is_dir() and not any(empty.iterdir()):
            empty.rmdir()


def kernel_has_esp() -> bool:
    """Whether this machine's kernel can do ESP for both families; tried out in a namespace that vanishes at once."""
    if shutil.which("modprobe"):
        run(["modprobe", "--all", "--quiet", "xfrm_user", "esp4", "esp6"], check=False)
    key = "0x" + "00" * 36
    for source, destination in (("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")):
        state = ["src", source, "dst", destination, "proto", "esp", "spi", "0x1000", "mode", "tunnel"]
        cipher = ["aead", "rfc4106(gcm(aes))", key, "128"]
        tried = run(["unshare", "--net", "ip", "xfrm", "state", "add", *state, *cipher], check=False)
        if tried.returncode != 0:
            return False
    return True


def inside(namespace: str, work: Callable[[], T]) -> T:
    """Do a piece of work in a network namespace. Sockets opened there stay there, whoever uses them afterwards."""
    results: list[T] = []
    failures: list[BaseException] = []

    def enter_and_work() -> None:
        try:
            _enter(namespace)
            results.append(work())
        except BaseException as failure:  # noqa: BLE001 - raised again in the caller's thread
            failures.append(failure)

    thread = threading.Thread(target=enter_and_work)  # a namespace is a property of the thread: this one ends with it
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def _enter(namespace: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns came with Python 3.12
    try:
        descriptor = os.open(NAMESPACES / namespace, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise LabError(f"The lab is not up: there is no network namespace {namespace}.") from None
    try:
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(descriptor)


def _make(layout: Layout, place: str, settings: str) -> str:
    namespace = layout.namespace(place)
    run(["ip", "netns", "add", namespace])
    run(["ip", "netns", "exec", namespace, "sysctl", "--quiet", "--write", *settings.split()])
    return namespace


def _batch(namespace: str, lines: list[str]) -> None:
    run(["ip", "-n", namespace, "-batch", "-"], stdin="\n".join(lines) + "\n")
