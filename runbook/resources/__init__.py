"""One module for each kind of thing that a host can have: how it is read, compared, made and undone."""
