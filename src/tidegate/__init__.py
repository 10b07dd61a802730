"""Tidegate moves Stripe data both ways: every object into the warehouse, warehouse rows back into Stripe."""

__version__ = "0.1.0"
