"""The metadata database: runs, ticks, secrets, webhooks' events, alerts, the shared budget.

What is kept here is about the data, never the data's own position: that stands in the warehouse, committed with
the rows. Losing this database loses history and settings, and not one row.

Rooms: `database` (SQLite or Postgres behind one way to run SQL, and its numbered migrations), then one room per
kind of thing that is kept: `runs`, `ticks`, `leases`, `positions`, `secrets`, `deliveries`, `notices`, `grants`.
`retention` knows for how long.
"""
