"""Throwaway real Debian hosts on this machine, to rehearse and to test on.

Nothing in the procedure knows of it: to the product, the lab is just another network.
"""

from __future__ import annotations

from lab.errors import AskedWronglyError, LabError
from lab.lab import Lab, lab_names
from lab.wire import Counter

__all__ = ["AskedWronglyError", "Counter", "Lab", "LabError", "lab_names"]
