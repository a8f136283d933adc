"""The tunnel as a whole: both its ends, what passes through it, and the lesson about it."""
