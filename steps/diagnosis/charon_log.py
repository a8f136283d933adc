"""Read charon's log as what it is: several threads' jobs, on behalf of several connections, interleaved.

Takes the lines of a log file (`09[IKE] initiating ...`), of the journal in any of its short forms, and the bare ones
that `swanctl --initiate` prints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_JOURNAL = re.compile(r"^.*?\b(?:charon(?:-systemd)?|swanctl|strongswan|kernel)(?:\[\d+\])?: ")
_PREFIX = re.compile(r"(?P<thread>\d+)?\[[A-Z]{3}\d?\](?: <[^>]*>)? ?")
_JOB_BEGINS = re.compile(
    r"received packet:|vici |(?:re)?initiating IKE_SA|retransmit \d|giving up after|creating acquire job|"
    r"deleting half open|(?:added|updated|replaced|removed) vici connection|loaded |received stroke: |"
    r"sending DPD|sending keep alive",
)
_JOB_ENDS = "sending packet:"
_NAMED = re.compile(
    r"(?:IKE_SA|CHILD_SA) (?P<numbered>[\w.-]+)[\[{]\d|"
    r"(?:CHILD_SA|peer config|config|configuration|connection|conn|installing|initiate|route|terminate) "
    r"'(?P<quoted>[\w.-]+)'|"
    r"vici connection: (?P<loaded>[\w.-]+)$",
)


@dataclass(frozen=True)
class Line:
    """One line: as logged, for quoting, and the message alone, for reading; `thread` is empty where none is logged."""

    raw: str
    thread: str
    text: str


def read_lines(lines: Iterable[str]) -> list[Line]:
    """Take the logger's prefixes off."""
    found = []
    for line in lines:
        message = _JOURNAL.sub("", line, count=1)
        prefix = _PREFIX.match(message)
        text = (message[prefix.end() :] if prefix else message).strip()
        if text:
            found.append(Line(line.strip(), (prefix["thread"] or "") if prefix else "", text))
    return found


def of_connection(lines: Sequence[Line], name: str) -> list[Line]:
    """Leave out what charon did for other connections; what no connection is named for stays.

    A thread's lines from taking up a job to sending its answer belong together, so that a line without a name is
    known by its neighbours'. Without threads (the journal) a line has to name its connection itself.
    """
    foreign: set[int] = set()
    for job in _jobs(lines):
        named = {match[match.lastgroup or 0] for place in job for match in _NAMED.finditer(lines[place].text)}
        if named and name not in named:
            foreign.update(job)
    return [line for place, line in enumerate(lines) if place not in foreign]


def _jobs(lines: Sequence[Line]) -> list[list[int]]:
    """The places of the lines that belong together, job by job."""
    jobs: list[list[int]] = []
    running: dict[str, list[int]] = {}
    for place, line in enumerate(lines):
        if not line.thread or line.thread not in running or _JOB_BEGINS.match(line.text):
            jobs.append([])
            running[line.thread] = jobs[-1]
        running[line.thread].append(place)
        if line.text.startswith(_JOB_ENDS):
            del running[line.thread]
    return jobs


def stands(lines: Iterable[Line]) -> bool:
    """Whether, after these lines, a tunnel stands at this end: a CHILD SA came up and has not gone since."""
    ike = ""
    children: dict[str, str] = {}
    for text in (line.text for line in lines):
        if match := re.search(r"IKE_SA \S+\[(\d+)\] established between", text):
            ike = match[1]
        elif match := re.search(r"CHILD_SA \S+\{(\d+)\} established with SPIs", text):
            children[match[1]] = ike
        elif match := re.search(r"closing CHILD_SA \S+\{(\d+)\}|CHILD_SA \S+\{(\d+)\} closed", text):
            children.pop(match[1] or match[2], None)
        elif match := re.search(r"deleting IKE_SA \S+\[(\d+)\]", text):
            children = {child: owner for child, owner in children.items() if owner != match[1]}
        elif re.match(r"giving up after|Starting charon|SIGTERM received", text):
            children.clear()
    return bool(children)
