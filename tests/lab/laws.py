"""The laws that every variant keeps, shown on the lab that has it.

An audit changes nothing; what it predicts is what apply does; applied twice is applied once; rolled back, the hosts are
as they were.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from product import picture

from lab import snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from product import Product, Run

    from lab import Lab

SITES = ("home", "vps4")
Pictures = dict[str, dict[str, str]]


def pictures(lab: Lab, hosts: tuple[str, ...] = SITES) -> Pictures:
    """The hosts, but for what a rollback need not give back."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(hosts, pool.map(lambda host: picture(lab, host), hosts), strict=True))


def left(before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What is different, with its host."""
    return [f"{host}: {line}" for host in before for line in snapshot.diff(before[host], now[host])]


def kept(product: Product, hosts: tuple[str, ...] = SITES) -> Run:
    """All is in order, and neither an audit nor another apply changes anything; returns the audit."""
    then = pictures(product.lab, hosts)
    audit = product.audit()
    assert (audit.code, audit.not_in_order) == (0, set()), audit.err
    again = product.apply()
    assert (again.code, again.changes) == (0, {}), again.err
    lines = left(then, pictures(product.lab, hosts))
    assert lines == [], "\n".join(lines)
    return audit


def changed(product: Product, hosts: tuple[str, ...] = SITES) -> Run:
    """Apply what sites.yaml says now, as an audit has predicted it, and see that all is kept.

    But for the tunnels: what has changed about a connection may end one, and charon may have another at once.
    """
    audit = product.audit()
    done = product.apply()
    assert done.code == 0, done.err
    later = audit.known_later
    both = [{each for each in parts - later if each[0] != "ping"} for parts in (audit.not_in_order, done.changed)]
    assert both[0] == both[1]
    kept(product, hosts)
    return done


def undone(product: Product, fresh: Pictures, but: str = "(?!)") -> None:
    """All rolled back, the hosts are as they were, and nobody is said to have changed anything since.

    But for what the variant itself has made of them since: lines of the difference that have this pattern.
    """
    done = product.run("rollback", "--all", "--yes")
    assert done.code == 0, done.out + done.err
    assert "changed since" not in done.out, done.out
    lines = [line for line in left(fresh, pictures(product.lab, tuple(fresh))) if not re.search(but, line)]
    assert lines == [], "\n".join(lines)


@dataclass(frozen=True)
class Laws:
    """A product on fresh hosts, as the first audit has found them."""

    product: Product
    fresh: Pictures
    audited: Run

    @classmethod
    def of(cls, product: Product, hosts: tuple[str, ...] = SITES) -> Laws:
        """Audit fresh hosts, which changes nothing."""
        fresh = pictures(product.lab, hosts)
        audited = product.audit()
        assert audited.code == 3, audited.err
        assert left(fresh, pictures(product.lab, hosts)) == []
        return cls(product, fresh, audited)

    def applied(self) -> Run:
        """Apply, which does what the audit has predicted, wherever that could be known."""
        done = self.product.apply()
        assert done.code == 0, done.err
        later = self.audited.known_later
        assert done.changed - later == self.audited.not_in_order - later
        return done

    def kept(self) -> Run:
        """As `kept`."""
        return kept(self.product, tuple(self.fresh))

    def undone(self, but: str = "(?!)") -> None:
        """As `undone`."""
        undone(self.product, self.fresh, but)
