"""What goes wrong in the lab, said in one sentence."""

from __future__ import annotations


class LabError(Exception):
    """The lab cannot do what was asked; the message is one clear sentence for the person at the keyboard."""


class AskedWronglyError(LabError):
    """What was asked for cannot be: to ask again is no use, to ask otherwise is."""
