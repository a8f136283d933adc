"""A firewall of nobody's: `toyfw` puts rules in force, and loads those of /etc/toyfw at boot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runbook.resources.file import File
from runbook.script import embed
from runbook.step import Change, Finding, Part, Told, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook.script import Reading
    from steps.firewalls.openings import Opening
    from steps.inherited import OutdatedRules


class InForce(Part):
    """What is in force is what is wanted."""

    def __init__(self, purpose: str, rules: str) -> None:
        self.purpose = purpose
        self.rules = rules

    @property
    def key(self) -> str:
        return f"toyfw's rules in force for {self.purpose}"

    def probe(self) -> str:
        return f"toyfw show {self.purpose}"

    def judge(self, found: Reading) -> Finding:
        if found.text == self.rules:
            return self.in_order()
        load = f"{{ {embed(self.rules.encode())}}} | toyfw load {self.purpose}"
        return self.drift(Change("have toyfw load it", load, f"toyfw forget {self.purpose}", risky=True))


class ToyFirewall:
    """One file for each purpose."""

    at_work: str = "command -v toyfw >/dev/null"
    stored: Sequence[str] = ("/etc/toyfw/PURPOSE.rules",)
    way_in: None = None
    facts: str = "printf 'firewall_toy_version=%s\\n' \"$(toyfw version)\"\n"

    def parts(self, purpose: str, openings: Sequence[Opening], facts: Mapping[str, str]) -> Sequence[Part]:
        if facts["firewall_toy_version"] != "1":
            return [Told(f"firewall for {purpose}", Verdict.UNKNOWN, "toyfw is too old")]
        rules = "".join(f"let through {each}\n" for each in openings)
        return [InForce(purpose, rules), File(f"/etc/toyfw/{purpose}.rules", rules.encode())]

    def retired(self, outdated: Sequence[OutdatedRules], facts: Mapping[str, str]) -> Sequence[Part]:  # noqa: ARG002
        return ()


TOY: Final = ToyFirewall()
