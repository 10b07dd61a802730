"""What makes flows run by themselves: when they are due, who runs them, and who is told.

A flow is something of the configuration that can run: a pull, later a pipeline or a push.

Rooms: `flows` (what there is to run), `schedules` (when the next tick is, as pure functions), `scheduler`
(fires ticks, once however many of it there are), `place` (the process and its database), `work` (does a run,
whoever calls it), `configuration` (the file and what the metadata database adds, read as one), `live` (as it is
now), `editing` (changing it), `revisions`, `concealing` and `differences` (what a change comes to), `pulls`
(how a pull is done), `spread` (as slices of some accounts) and `losses` (those with which workers disappear),
`pool` (runs in this process), `workers` (runs and slices on any number of machines), `endpoints` (where Stripe
delivers), `feed` (what it delivers, for one flow) and `traffic` (how much that is, and that the way is open),
`recorder` (what a run shows while it runs), `journal` (the process's own log); `matters`, `lookout`, `alerts`,
`outbox` and `telling` (who hears of what needs a person).
"""
