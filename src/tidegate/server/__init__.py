"""What answers HTTP: Stripe's webhooks, those who begin runs, and those who ask whether all is well.

Rooms: `app` (the application and the thread that serves it), `deliveries` (the route that Stripe posts to),
`triggers` (runs begun from outside), `access` (tokens, and who presents wrong ones), `problems` (what is answered
where something is wrong), `metrics` (for Prometheus).
"""
