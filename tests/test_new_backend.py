"""A new backend is one new module and the line that registers it (with the module's import): proved by adding four.

`tests/toys` has a way of configuring strongSwan, a firewall, a manager of addresses and a source of certificates that
nobody has. They are added to a copy of the program as a developer would, nothing else is changed there, and what
follows is looked at in that copy: `tests/toys/grown.py`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOYS = ROOT / "tests" / "toys"
PROGRAM = ("runbook", "steps", "lab", "checkpoints", "logs", "docs", "tests")
REGISTERED = {
    "styles.py": ("toy_style", "Toy", '        "toy": Toy(),'),
    "firewall.py": ("toy_firewall", "TOY", '        "toyfw": TOY,'),
    "address_managers.py": ("toy_manager", "ToyManager", '        "toynet": ToyManager(),'),
    "certificate_sources.py": ("toy_source", "", '        "toy": toy_source,'),
}
"""By the file that lists the kind: the module, what of it is listed, and the line."""


def add(program: Path, registry: str) -> None:
    """One module and its line, behind the last of those that are listed."""
    module, name, line = REGISTERED[registry]
    shutil.copy(TOYS / f"{module}.py", program / "steps")
    (file,) = (program / "steps").rglob(registry)  # wherever it is
    imported = f"from steps.{module} import {name}" if name else f"from steps import {module}"
    listed = r"(MappingProxyType\(\n    \{\n(?:        .*\n)+)"
    text, count = re.subn(listed, rf"\g<1>{line}\n", file.read_text(), count=1)
    assert count == 1
    text = re.sub(r"^from steps", f"{imported}\nfrom steps", text, count=1, flags=re.MULTILINE)
    file.write_text(text)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What was found where all four have been added."""
    program = tmp_path_factory.mktemp("grown")
    for each in PROGRAM:
        shutil.copytree(ROOT / each, program / each, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", program)
    for registry in REGISTERED:
        add(program, registry)
    argv = [sys.executable, "-m", "pytest", "-q", "-rA", "-n", "0", "-p", "no:cacheprovider", "tests/toys/grown.py"]
    return subprocess.run(argv, cwd=program, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("name", re.findall(r"^def (test_\w+)", (TOYS / "grown.py").read_text(), re.MULTILINE))
def test_all_else_follows(grown: str, name: str) -> None:
    outcomes = re.findall(rf"^(\w+) tests/toys/grown.py::{name}\b", grown, re.MULTILINE)
    assert outcomes
    assert set(outcomes) == {"PASSED"}, grown
