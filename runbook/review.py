"""The plan that `runbook init` has made: shown as a picture and in words, changed where the user wants it, written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runbook.errors import UsageError
from steps.certificates import key_places
from steps.description.plan import in_the_way
from steps.interview.answers import NONE
from steps.interview.reasons import network_reasons, site_reasons
from steps.interview.yaml_text import described, text
from steps.ipsec.ipsec_options import Ipsec
from steps.tunnel.picture import picture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runbook.interview import Interview
    from steps.network import Network

_SITE_ROWS: Final = ("ssh", "fqdn", "address", "interface", "subnet", "lan_interface", "lan_host", "config")
_NETWORK_ROWS: Final = (
    "prefix",
    "link_subnet",
    "certificate_authority",
    "directory",
    "ca_bundle",
    "trust_anchors",
    "contact",
    "keys",
    "encapsulation",
)
_UNSAID: Final = {"", NONE, Ipsec.config, key_places.DEFAULT}
"""What need not be shown: nobody has asked for anything else, and nothing on the hosts does."""
_LABELS: Final = 15


class Review:
    """Shows the plan until the user has it written, or stops."""

    def __init__(self, interview: Interview) -> None:
        """Show what this interview has brought."""
        self._interview = interview
        self._terminal = interview.desk.terminal
        self.to_mend: Sequence[str] = ()
        """What was marked when the plan was last shown."""

    def wanted(self) -> str:
        """The text of the file, once the user agrees; empty where they stop."""
        while True:
            sound = self._show()
            if not self._interview.ask:
                if sound:
                    return self._text()
                raise UsageError(self._wrong())
            choices = {
                "write": f"write {self._interview.file}" if sound else "",
                "change": "change an answer",
                "add": "add another site",
                "stop": "stop here; the answers are kept",
            }
            asked = {key: shown for key, shown in choices.items() if shown}
            match self._interview.desk.questions.choose("Is this what you want?", asked):
                case "write":
                    return self._text()
                case "change":
                    self._change()
                case "add":
                    self._interview.add()
                case _:
                    return ""

    def _text(self) -> str:
        return text(self._interview.plan, self._interview.known)

    def _wrong(self) -> str:
        """What keeps the answers from being a network; empty where nothing does."""
        try:
            described(self._interview.plan, self._interview.known, self._interview.file)
        except UsageError as error:
            return str(error)
        return ""

    def _show(self) -> bool:
        """Show the plan; whether it can be written."""
        line, plan, known = self._terminal.line, self._interview.plan, self._interview.known
        wrong = self._wrong()
        for site in plan.sites:
            line()
            line(self._terminal.paint(site.name, "bold"))
            self._table(site, _SITE_ROWS, site_reasons(plan, site, known))
        line()
        line(self._terminal.paint("the network", "bold"))
        self._table(plan, _NETWORK_ROWS, network_reasons(plan, known))
        line()
        if not wrong:
            network = described(plan, known, self._interview.file)
            for each in picture(network, self._terminal.width - 1, unicode=self._terminal.unicode):
                line(each)
            line()
        self.to_mend = [*([wrong] if wrong else self._in_the_way(network)), *self._interview.to_mend]
        for each in self.to_mend:
            self._interview.desk.complain(each)
        return not wrong

    def _in_the_way(self, network: Network) -> Iterator[str]:
        for answers in self._interview.plan.sites:
            site = network.sites[answers.name]
            for route in in_the_way(network, site, self._interview.known.surveys[answers.ssh].routes):
                yield f"{site.name} has a route into {network.prefix} already: {route}"

    def _table(self, values: object, names: tuple[str, ...], reasons: dict[str, str]) -> None:
        for name in names:
            value = str(getattr(values, name))
            if value in _UNSAID and name not in reasons:
                continue
            said = f"{value} ({reasons[name]})" if name in reasons else value
            first, *more = self._terminal.wrapped(said, _LABELS + 2)
            label = name.removeprefix("certificate_")
            self._terminal.line(f"  {label:{_LABELS}}{first}")
            for piece in more:
                self._terminal.line(f"{'':{_LABELS + 2}}{piece}")

    def _change(self) -> None:
        """Ask which answer, and have it anew; what follows from it is looked at anew, too."""
        plan = self._interview.plan
        choices = {
            f"{number} {name}": f"{site.name}: {name} = {getattr(site, name)}"
            for number, site in enumerate(plan.sites)
            for name in ("name", *_SITE_ROWS)
        }
        choices |= {name: f"{name} = {getattr(plan, name)}" for name in _NETWORK_ROWS if getattr(plan, name)}
        choices |= {"": "none of these"}
        chosen = self._interview.desk.questions.choose("Which one?", choices)
        number, _, name = chosen.rpartition(" ")
        if number:
            self._interview.change(int(number), name)
        elif name:
            self._interview.change_network(name)
