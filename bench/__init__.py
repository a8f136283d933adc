"""How long the product takes beside the least that the same work can take: see README.md."""
