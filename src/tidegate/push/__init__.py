"""Writing to Stripe: rows of a model become creates and updates, each planned, recorded and sent exactly once.

A model's query is read whole into a snapshot, mapped to the fields of a Stripe object, compared with what was
acknowledged before, checked against what Stripe takes, and planned; every operation is committed with the exact
bytes of its request before they are sent.
"""
