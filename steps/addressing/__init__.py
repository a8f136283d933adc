"""Giving a host its addresses, by whatever manages them there."""
