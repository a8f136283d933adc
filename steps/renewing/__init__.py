"""Replacing certificates before they expire, while the tunnels stay up."""
