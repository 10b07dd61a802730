"""What makes flows run by themselves: when they are due, who runs them, and who is told.

A flow is something of the configuration that can run: a pull, later a pipeline or a push.

Rooms: `flows` (what there is to run), `schedules` (when the next tick is, as pure functions), `scheduler` (fires
ticks, once however many of it there are), `runs` (one run at a time per flow, its states and its log), `work` (the
one function that runs a slice), `pool` (runs slices in this process), `workers` (runs them on any number of
machines), `follower` (continuous pulls, and what webhooks tell), `alerts` (who hears of what went wrong).
"""
