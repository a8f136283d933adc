"""A target: a host, and what has been read there.

Readings are kept by the shell that made them, so nothing is read twice; whatever changes the host makes them all
again, in the same channel as the change.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from logs import Redactor
from runbook import catalogue, complaints, images, standing
from runbook.errors import PlanChangedError, StepError, UnreachableError
from runbook.script import PRELUDE, Batch, Reading, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from runbook.host import Answer, Host
    from runbook.step import Finding

APT_SECONDS = 900.0
"""How long a script that changes a host may take: a slow mirror must not cut a package installation in half."""

_DOING: Final = {
    "guard": "keeping what is there before the change",
    "stood": "keeping what is there before the change",
    "image": "keeping what is there before the change",
    "arm": "having the host undo the change by itself in time",
    "disarm": "keeping the change that a new login has proved",
}
"""What each script round the changes is for."""


class _NotMadeError(StepError):
    """The change of the finding at `index` could not be made."""

    def __init__(self, index: int, error: StepError) -> None:
        super().__init__(error.entry, **error.words)
        self.index = index


class Target:
    """Where a step's work lands."""

    def __init__(self, host: Host, images_at: str, on_line: Callable[[str, str], None] | None = None) -> None:
        """Work on `host`, before-images under `images_at`; `on_line` is told (target, line) of progress."""
        self.host = host
        self.name = host.name
        self.facts: Mapping[str, str] = {}
        self.readings: dict[str, Reading] = {}
        self.ahead: Callable[[], Iterable[str]] = tuple
        """The probes that will be wanted after a change: they are read in the change's own channel."""
        self._images_at = images_at
        self._on_line = on_line

    @property
    def sweeping(self) -> str:
        """Shell that removes what runs which were cut off have left half-written here."""
        return f"rb_sweep {quote(self._images_at)}"

    def learn(self, facts_script: str, *, timeout: float = 120.0) -> None:
        """Run the shell that prints `name=value` lines, by which it is decided what to read."""
        answer = self.run(facts_script, purpose="facts", timeout=timeout)
        pairs = (line.partition("=") for line in answer.stdout.splitlines())
        self.facts = {name: value for name, found, value in pairs if found}

    def read(self, probes: Iterable[str]) -> None:
        """Make sure that `readings` has every one of `probes`; one channel for all that are missing."""
        missing = [probe for probe in dict.fromkeys(probes) if probe not in self.readings]
        if missing:
            batch = Batch({probe: probe for probe in missing})
            self._keep_readings(batch, self.run(batch.text, purpose="read"))

    def run(self, script: str, *, purpose: str, timeout: float = 120.0) -> Answer:
        """Run a script here; raises StepError when the shell itself fails.

        For what a step must do by hand, such as publishing a challenge; it makes no before-image.
        """
        answer = self.host.run(PRELUDE + script, purpose=purpose, timeout=timeout, on_line=self.tell)
        if answer.code:
            raise self._failed(f"{purpose} failed", answer.stderr, f"exit code {answer.code}")
        return answer

    def make(self, image: str, step: str, findings: Sequence[Finding], hosts: Mapping[str, Target]) -> None:
        """Make the changes of `findings` as one unit, undoable by the image written before anything is changed.

        Risky ones are made first, under a timer on the host that undoes them until a new login has proved that
        one is still possible. Raises StepError, or PlanChangedError when the host is no longer as found.
        """
        risky = {f"apply {index}" for index, each in enumerate(findings) if each.change and each.change.risky}
        obtained = _in_turns(findings)
        applies = {f"apply {index}": _apply(index, each) for index, each in enumerate(findings)}
        begin = {
            "guard": images.guard(findings),
            "stood": standing.stood_before(step, [each.key for each in findings if each.change]),
            "image": images.keep(step, findings),
        }
        if risky:
            first = {key: applies.pop(key) for key in list(applies) if key in risky}
            self._work(image, findings, {**begin, "arm": images.arm(image), **first})
            self._prove_login(image)
            self._work(image, findings, {"disarm": images.disarm(image), **applies}, last=True)
        elif obtained:
            self._work(image, findings, {**begin, **applies})
            for turn in obtained:
                with ThreadPoolExecutor(max_workers=len(turn)) as pool:
                    had = [pool.submit(obtain, hosts) for obtain in turn]
                for each in had:
                    each.result()
            self._work(image, findings, {}, last=True)
        else:
            self._work_or_obtain(image, findings, {**begin, **applies}, hosts)

    def unmake(self, image: images.Image, older: Sequence[images.Image], keep: frozenset[int]) -> None:
        """Undo the changes of `image`, last first, but for those numbered in `keep`; then forget the image.

        The `older` images here tell what it stands on. Raises StepError, and keeps the image, when a change cannot be
        put back.
        """
        numbers = [each.number for each in image.changes if each.number not in keep and each.status != "as before"]
        path = f"{self._images_at}/{image.name}"
        batch = images.unmake(path, image, numbers)
        answer = self._change(batch, purpose=f"undo {image.step}")
        results = batch.split(answer.stdout)
        failed = [n for n in numbers if results.get(f"undo {n}", Reading("", 1)).code]
        judged = images.judged_here(image, older)
        otherwise = [] if failed else images.not_as_before(results, [n for n in numbers if n in judged])
        if failed or otherwise or results["settle"].code:
            stuck = {*failed, *otherwise}
            keys = ", ".join(each.key for each in image.changes if each.number in stuck) or "what a daemon had loaded"
            said = " ".join(results[f"undo {n}"].text for n in otherwise).strip()
            why = said or "it reads otherwise than before" if otherwise else _tail(answer.stderr)
            raise StepError(catalogue.NOT_PUT_BACK, target=self.name, parts=keys, said=why, path=path)
        forget = images.undone(path, numbers) if keep else images.forget(self._images_at, [image.name])
        self.run(forget, purpose="forget the before-image")

    def forget(self, names: Sequence[str]) -> None:
        """Remove images: what they are about stays as it is."""
        self.run(images.forget(self._images_at, names), purpose="forget before-images")

    def kept(self) -> tuple[int, int]:
        """How many images are kept here, and how many KiB they take."""
        said = self.run(images.amount(self._images_at), purpose="count before-images").stdout
        count, size = said.split() or (0, 0)
        return int(count), int(size)

    def since(self, kept: Sequence[images.Image]) -> dict[tuple[str, int], tuple[str, str]]:
        """What was changed since: by image and number, how we left it and how it is now; never a secret."""
        batch = images.since(self._images_at, kept)
        answer = self.host.run(batch.text, purpose="read what was changed since", on_line=self.tell)
        told = {key: reading.text for key, reading in batch.split(answer.stdout).items()}
        changed = [(image.name, each.number) for image in kept for each in image.changed]
        return {(name, n): (told.get(f"left {name} {n}", ""), told.get(f"now {name} {n}", "")) for name, n in changed}

    def images(self) -> list[images.Image]:
        """The before-images kept here, newest first, each change with how it stands now."""
        return standing.parse_listing(self.run(standing.listing(self._images_at), purpose="list before-images").stdout)

    def _work_or_obtain(
        self, image: str, findings: Sequence[Finding], fragments: Mapping[str, str], hosts: Mapping[str, Target]
    ) -> None:
        """Do all the work of a change; a part that fails and can be had otherwise is, and the rest comes behind it."""
        try:
            self._work(image, findings, fragments, last=True)
        except _NotMadeError as failed:
            change = findings[failed.index].change
            if change is None or change.obtain is None:
                raise
            change.obtain(hosts)
            keys = list(fragments)
            behind = keys[keys.index(f"apply {failed.index}") + 1 :]
            self._work_or_obtain(image, findings, {key: fragments[key] for key in behind}, hosts)

    def _work(
        self, image: str, findings: Sequence[Finding], fragments: Mapping[str, str], *, last: bool = False
    ) -> None:
        """Run fragments of a change, each only if the one before it succeeded; the last script reads all again."""
        after = {each.probe: images.record(index, each.probe) for index, each in enumerate(findings)} if last else {}
        stands = {"stands": standing.STOOD_AFTER} if last else {}
        ahead = {probe: probe for probe in self.ahead() if probe not in after} if last else {}
        fragments = {key: text for key, text in fragments.items() if text}
        path = f"{self._images_at}/{image}"
        batch = Batch({**fragments, **after, **stands, **ahead}, {"image": path}, gated=frozenset(fragments))
        answer = self._change(batch, purpose=f"apply {image}")
        results = batch.split(answer.stdout)
        self._keep_readings(batch, answer)
        for key in fragments:
            result = results.get(key, Reading("", 1))
            if result.code == images.PLAN_CHANGED and key == "guard":
                raise PlanChangedError(catalogue.PLAN_CHANGED, target=self.name, part=result.text.strip())
            if result.code:
                if key in _DOING:
                    raise self._failed(_DOING[key], answer.stderr, result.text.strip())
                index = int(key.split()[1])
                raise _NotMadeError(index, self._failed(findings[index].key, answer.stderr, result.text.strip()))

    def _change(self, batch: Batch, purpose: str) -> Answer:
        """Run a script that changes the host: all that was read before is forgotten."""
        self.readings.clear()
        return self.host.run(batch.text, purpose=purpose, timeout=APT_SECONDS, on_line=self.tell)

    def _keep_readings(self, batch: Batch, answer: Answer) -> None:
        self.readings.update(batch.split(answer.stdout))

    def _prove_login(self, image: str) -> None:
        try:
            self.host.relogin()
        except UnreachableError as error:
            raise StepError(
                catalogue.LOGIN_LOST, target=self.name, seconds=images.REVERT_SECONDS, why=error, image=image
            ) from error

    def _failed(self, what: str, stderr: str, otherwise: str) -> StepError:
        """What a script could not do, by what it complained of."""
        entry, words = complaints.by_words(stderr or otherwise)
        return StepError(entry, target=self.name, what=what, said=_tail(stderr) or otherwise, **words)

    def tell(self, line: str) -> None:
        """Let who watches know what the work in hand here is at."""
        if self._on_line:
            self._on_line(self.name, line)


def _apply(index: int, finding: Finding) -> str:
    """The shell of one change; one that is obtained has none."""
    if finding.change is None or not finding.change.apply:
        return ""
    return f"index={index}\nset -e\n{finding.change.apply}"


def _in_turns(findings: Sequence[Finding]) -> list[list[Callable[[Mapping[str, Target]], None]]]:
    """What shell cannot make, in turns: what serves hosts of its own is had at once with its neighbours."""
    turns: list[list[Callable[[Mapping[str, Target]], None]]] = []
    busy: set[str] = set()
    for each in findings:
        if each.change is None or each.change.obtain is None or each.change.apply:
            continue
        if not busy or not each.serves or not busy.isdisjoint(each.serves):
            turns.append([])
            busy.clear()
        turns[-1].append(each.change.obtain)
        busy.update(each.serves)
    return turns


def _tail(text: str, lines: int = 6) -> str:
    """The last lines of what a script complained of; cut when redacted, for half a key would not be known for one."""
    return "\n".join(Redactor()(text).strip().splitlines()[-lines:])
