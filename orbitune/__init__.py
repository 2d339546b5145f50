"""Orbitune: plan, simulate and run the fine-tuning of vision foundation models across satellites."""

__version__ = "0.1.0"
