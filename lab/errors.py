"""What goes wrong in the lab, said in one sentence."""

from __future__ import annotations


class LabError(Exception):
    """The lab cannot do what was asked; the message is one clear sentence for the person at the keyboard."""
