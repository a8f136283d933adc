"""The executor: targets, steps, changes, confirmation. It knows nothing of IPsec."""

__version__ = "0.1.0"
