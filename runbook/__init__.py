"""The executor: targets, steps, changes, confirmation. It knows nothing of IPsec."""
