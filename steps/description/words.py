"""What several sections of `sites.yaml` are written with: names, addresses, files, lists, and what may be had once.

Many of these values reach configuration files and shells, so that each has a narrow alphabet here.
"""

from __future__ import annotations

import os
import re
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from steps.description.marked_yaml import meant

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from steps.description.marked_yaml import Value
    from steps.network import Address

T = TypeVar("T")

LABEL_RULE = "write lower-case letters, digits and inner hyphens, at most 63 in a label"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"  # RFC 1123, section 2.1
LABEL = re.compile(_LABEL)
FQDN = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)+(?![0-9]+\Z){_LABEL}")
_INTERFACE = re.compile(r"(?!(?:lo|all|default)\Z)[A-Za-z0-9_][A-Za-z0-9._-]{0,14}")  # all, default: sysctl's own
_SUBNET_ID = re.compile(r"[0-9A-Fa-f]{1,4}")


class Taken:
    """What may be had only once in a network, by kind."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, Hashable], Value] = {}

    def claim(self, value: Value, kind: str, key: Hashable) -> None:
        """Take it for `value`, or say who has it already."""
        first = self._first.setdefault((kind, key), value)
        if first is not value:
            raise value.wrong(f"this {kind} is already that of {first.path} in line {first.line}; write another")

    def claim_network(self, value: Value, network: IPv4Network) -> None:
        """Take a network (an address is one, too) for `value`, or say whose it overlaps with."""
        for kind, other in self._first:
            if kind == "network" and isinstance(other, IPv4Network) and other.overlaps(network):
                first = self._first[kind, other]
                raise value.wrong(
                    f"{network} overlaps with {other}, that of {first.path} in line {first.line}: "
                    "it could not be told where a packet is to go; write another"
                )
        self._first["network", network] = value


def read_fqdn(value: Value, taken: Taken) -> str:
    """Read a fully qualified domain name that no other site has."""
    text = value.text()
    if problem := _name_problem(text):
        raise value.wrong(f"`{text}` {problem}")
    taken.claim(value, "name", text)
    return text


def _name_problem(text: str) -> str | None:
    """Say what keeps a text from being a fully qualified domain name; None where nothing does."""
    if FQDN.fullmatch(text):
        return None
    if not text.isascii():
        return "is not in ASCII; write an international name in punycode (xn--...)"
    if text.endswith("."):
        return "ends in a dot; write it without"
    if LABEL.fullmatch(text):
        return "is a single label; write the full name, with its domain, that the certificate is for"
    return f"is no domain name; write labels with dots between, at most 253 characters in all. Of labels, {LABEL_RULE}"


def read_subnet_id(value: Value) -> int:
    """Read the 16 bits that tell a /64 from the others of the prefix, in hexadecimal."""
    problem = "is no subnet id; write one to four hexadecimal digits and nothing else, such as 8e71 or 10 for ::10"
    return int(value.matching(_SUBNET_ID, problem), 16)


def read_interface(value: Value) -> str:
    """Read the name of a network interface."""
    problem = "is no interface that can carry an address; write its name, at most 15 characters, such as eth0"
    return value.matching(_INTERFACE, problem)


def choices(meanings: Mapping[str, str]) -> str:
    """A few words with what each means, the default first: for whoever chooses one."""
    default = next(iter(meanings))
    told = [f"`{name}`{' (the default)' * (name == default)}, {meaning}" for name, meaning in meanings.items()]
    return "; or ".join(told)


def read_choice(value: Value, choices: Iterable[str]) -> str:
    """Read one of a few words."""
    text = value.text()
    if text not in choices:
        raise value.wrong(f"`{text}` is not known here; {meant(text, choices)}")
    return text


def read_each(keys: Mapping[str, Value], name: str, read_item: Callable[[Value], T]) -> tuple[T, ...]:
    """Return the items of an optional list; none where the key is not there."""
    return tuple(read_item(item) for item in keys[name].items()) if name in keys else ()


def read_file(value: Value, directory: Path) -> Path:
    """Read a path, relative to the file it is in, of a file that must be there."""
    text = value.text()
    try:
        path = directory / Path(text).expanduser()
        readable = path.is_file() and os.access(path, os.R_OK)
    except (OSError, RuntimeError) as error:  # a name too long, the home of nobody
        raise value.wrong(f"`{text}` cannot be read ({error}); write the path of a file") from None
    if not readable:
        raise value.wrong(f"there is no file {path} that can be read; write the path of one, relative to {directory}")
    return path


def ip_or_none(text: str) -> Address | None:
    """Return an address without a zone; None where the text is none."""
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None
