"""YAML as text with the place it stands in: the shape of a file, and refusals that name file, line and key.

Scalars are taken as they were typed, since YAML 1.1 has ideas of its own about what `0010`, `10:20`, `8e71` or `no`
mean. Anchors, aliases, tags and a second document are refused: what a reader sees is what counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from shlex import quote
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import yaml

from runbook.errors import UsageError

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Mapping
    from pathlib import Path


class Keys(NamedTuple):
    """What a mapping must hold, and what it may: each key with what it is for, as the reference has it."""

    required: Mapping[str, str]
    optional: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Value:
    """A piece of a file; `path` are the keys that lead to it, `line` is that of the last of them."""

    file: Path
    path: str
    line: int
    node: yaml.Node

    def wrong(self, problem: str) -> UsageError:
        """Make the error that says what is wrong with this piece; for the caller to raise."""
        key = f"{self.path}: " if self.path else ""
        message = f"{self.file}:{self.line}: {key}{problem}"
        return UsageError("".join(letter if letter.isprintable() else "?" for letter in message))

    def text(self) -> str:
        """Return a scalar as it was typed.

        Raises:
            UsageError: It is a list or a mapping, or empty, or holds what cannot be seen.
        """
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.wrong("is a list or a mapping; write one value, in quotes if it ends in a colon")
        if not self.node.value:
            raise self.wrong("has no value; write one, or leave the key out if it is optional")
        return self._visible(self.node.value)

    def matching(self, pattern: re.Pattern[str], problem: str) -> str:
        """Return a scalar, all of which `pattern` describes; `problem` follows the text where it does not."""
        text = self.text()
        if not pattern.fullmatch(text):
            raise self.wrong(f"`{text}` {problem}")
        return text

    def items(self) -> list[Value]:
        """Return the items of a list, of which there is at least one."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.wrong("is no list; write [one, two], or one item a line, each after a dash")
        if not self.node.value:
            raise self.wrong("is an empty list; write at least one item, or leave the key out if it is optional")
        return [
            Value(self.file, f"{self.path}[{index}]", _line(node.start_mark), node)
            for index, node in enumerate(self.node.value)
        ]

    def entries(self) -> dict[str, Value]:
        """Return the values of a mapping by their keys, whatever these are, in the order of the file."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.wrong("is no mapping; write keys with their values, one a line, indented alike")
        found: dict[str, Value] = {}
        for key, node in self.node.value:
            here = Value(self.file, self.path, _line(key.start_mark), key)
            if not isinstance(key, yaml.ScalarNode) or not key.value:
                raise here.wrong("a key is missing, or is a list or a mapping; write `key: value`")
            name = here.text()
            value = Value(self.file, self._below(name), here.line, node)
            if name in found:
                raise value.wrong(f"is there twice, first in line {found[name].line}; keep one of them")
            found[name] = value
        return found

    def keys(self, keys: Keys) -> dict[str, Value]:
        """Return the values of a mapping that must have the required keys and may have the optional ones."""
        found = self.entries()
        known = (*keys.required, *keys.optional)
        for name, value in found.items():
            if name not in known:
                raise value.wrong(f"unknown key; {meant(name, known)}")
        for name in keys.required:
            if name not in found:
                raise self.missing(name)
        return found

    def missing(self, name: str, advice: str = "add this key") -> UsageError:
        """Make the error that says that a mapping lacks a key; for the caller to raise."""
        return Value(self.file, self._below(name), self.line, self.node).wrong(f"is missing; {advice}")

    def _below(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def _visible(self, text: str) -> str:
        """Refuse control characters, line ends, no-break spaces and marks that reorder text."""
        for character in text:
            if not character.isprintable():
                raise self.wrong(f"holds the character U+{ord(character):04X}, which cannot be seen; type it anew")
        return text


def meant(name: str, known: Iterable[str]) -> str:
    """Say what to write instead of an unknown name."""
    known = tuple(known)
    close = get_close_matches(name, known, n=1)
    return f"did you mean `{close[0]}`?" if close else f"write one of: {', '.join(known)}"


def read(path: Path) -> Value:
    """Read a file's tree, its values not yet looked at.

    Raises:
        UsageError: The file cannot be read, is not UTF-8, is no YAML, or uses what is refused here.
    """
    return parse(path, _decode(path))


def parse(path: Path, text: str) -> Value:
    """Read the tree of a text that stands in `path`, or will; raises UsageError as `read` does."""
    try:
        composer = _Composer(path, text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UsageError(f"{path}:{line}: holds the character U+{ord(text[error.position]):04X}; remove it") from None
    try:
        root = composer.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise UsageError(f"{path}:{_line(error.problem_mark)}: {_explain(error)}") from None
    except ValueError:  # from PyYAML's own chr(), for an escape such as "\\U00110000"
        raise UsageError(f"{path}:{composer.line + 1}: an escape stands for no character; type the character") from None
    except RecursionError:
        raise UsageError(f"{path}:1: lists or mappings are nested too deeply; write it as the README shows") from None
    if root is None or (isinstance(root, yaml.ScalarNode) and not root.value):
        raise UsageError(f"{path}:1: the file is empty; describe your network as the README shows")
    return Value(path, "", _line(root.start_mark), root)


def _decode(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}",
            hint="describe your network with `runbook init`, or name the file that does with --file"
            if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError)
            else f"see who may read it: ls -l {quote(str(path))}",
        ) from None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: holds bytes that are not UTF-8; save the file as UTF-8") from None


def _line(mark: yaml.Mark | None) -> int:
    """Return a mark's line as people count."""
    return mark.line + 1 if mark else 1


def _explain(error: yaml.MarkedYAMLError) -> str:
    """Put the parser's complaint in one line, with where the thing began that it could not finish."""
    if isinstance(error, yaml.composer.ComposerError):  # its other reasons, aliases and anchors, are refused before
        return "a second document begins here; keep one in a file, without a line `---` inside it"
    if error.problem == "mapping values are not allowed here":
        return "this is no YAML: a colon too many; put a value that ends in a colon, or has `: ` in it, in quotes"
    if error.problem and r"'\t'" in error.problem:
        return "this is no YAML: a tab; indent by spaces alone"
    began = f", {error.context} that began in line {_line(error.context_mark)}" if error.context_mark else ""
    return f"this is no YAML: {error.problem}{began}; see that it is indented like its neighbours, and closed"


class _Composer(yaml.SafeLoader):
    """Builds YAML's tree of nodes, and refuses what makes a file mean other than it says."""

    def __init__(self, file: Path, text: str) -> None:
        super().__init__(text)
        self.file = file
        self.path = ""

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        """Compose the next node; `index` is its key's node or its place in a list."""
        outer = self.path
        if isinstance(index, yaml.ScalarNode):
            self.path = f"{outer}.{index.value}" if outer else index.value
        elif isinstance(index, int):
            self.path = f"{outer}[{index}]"
        self._refuse_indirection()
        node = super().compose_node(parent, index)  # type: ignore[arg-type]  # its stub knows only the places in lists
        self.path = outer
        return node

    def _refuse_indirection(self) -> None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stub has no types
        if isinstance(event, yaml.AliasEvent):
            what = f"the alias `*{event.anchor}`"
        elif event.anchor is not None:
            what = f"the anchor `&{event.anchor}`"
        elif event.tag is not None:
            what = f"the tag `{event.tag}`"
        else:
            return
        here = Value(self.file, self.path, _line(event.start_mark), yaml.ScalarNode("", ""))
        raise here.wrong(f"{what} is not taken; write the value itself")
