"""HTTP itself: who may ask and how, Stripe's webhooks, those who begin runs, and those who ask whether all is well.

Rooms: `app` (the application and the thread that serves it), `patience` (how long requests may take to come),
`shield` (what stands before every route), `desk` (what routes are given), `asking` (who asks, and what each may do)
with `limits` (how often) and `access` (tokens, and who presents wrong ones), `signing` (in and out), `passwords`
and `oidc`; `deliveries` (the route that Stripe posts to), `triggers` (runs begun from outside), `metrics` (for
Prometheus), `problems` (what is answered where something is wrong). The pages and the API are above, in `web` and
`api`.
"""
