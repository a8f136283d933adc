"""Reading sites.yaml."""
