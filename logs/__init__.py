"""What was run where, with what result; and the one place where secrets are taken out of everything that is kept."""

from logs.redact import KeyLines, Redactor
from logs.runlog import RunLog

__all__ = ["KeyLines", "Redactor", "RunLog"]
