"""The metadata database: runs, ticks, secrets, webhooks' events, alerts, the shared budget.

What is kept here is about the data, never the data's own position: that stands in the warehouse, committed with
the rows. Losing this database loses history and settings, and not one row.

Rooms: `database` (SQLite or Postgres behind one way to run SQL, and its numbered migrations) and `dialects` (what
they take and what their errors mean), then one room per kind of thing that is kept: `runs` (and `manual`, those
that a command does itself) with their `slices`, `logs` and `reports`, `ticks`, `leases`, `positions`, `secrets`,
`endpoints`, `deliveries`, `notices`, `grants`, `waits`, `tokens`, `calls`. `objects` are parts of the
configuration, `trail` says who changed what. `people` are the members who sign in, `membership` changes them;
`sessions`, `invitations`, `attempts` and `journeys` are what signing in needs. `retention` knows for how long.

Of what is written to Stripe: `operations` and `ledger`, which writes them (with `settling`, what the end of one
means for its row), `fences`, `links`, `pushed`, `holds`, `claims`, `notes`, `records` and `rounds`; `pages` reads
their tables whole, `copying` takes them along, `forgetting` takes customers out of them.
"""
