"""Keys, requests and certificates: where they come from, and where they are kept."""
