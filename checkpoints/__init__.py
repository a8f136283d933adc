"""The write-ahead journal that a run resumes from.

A checkpoint is a hint: the host is the truth, and what a checkpoint says is done is verified before it is believed.
"""

from checkpoints.journal import Checkpoint, Journal, State

__all__ = ["Checkpoint", "Journal", "State"]
