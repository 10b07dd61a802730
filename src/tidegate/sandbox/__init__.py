"""A stateful local Stripe over HTTP, for the demo, tests and benchmarks.

    async with sandbox.running(world.build(objects=20_000)) as url:
        ...                                    # any sk_test_ key works

    with sandbox.process(objects=1_000_000, limits="live", latency_ms=150) as url:
        ...                                    # the same in its own process, which dies with this one

It is faithful to what Stripe documents and harsher where that helps: strict rate limits, faults on demand.
It knows nothing of the code that reads it.
"""

from tidegate.sandbox.faults import Fault
from tidegate.sandbox.limits import Limits
from tidegate.sandbox.server import Sandbox
from tidegate.sandbox.serving import Options, main, process, running

__all__ = ["Fault", "Limits", "Options", "Sandbox", "main", "process", "running"]
