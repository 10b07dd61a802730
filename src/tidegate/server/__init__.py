"""What answers HTTP: Stripe's webhooks, and those who ask whether all is well.

Rooms: `app` (the application and the thread that serves it), `deliveries` (the route that Stripe posts to).
"""
