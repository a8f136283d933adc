"""Opening a host's firewall, whichever it has."""
