"""The desk: what everything that answers people and programs has at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate import config
from tidegate.engine import place as places
from tidegate.server import access, limits, oidc


@dataclass(frozen=True, slots=True)
class Desk:
    """What routes are given: where runs happen, and how this server is reached.

    `place.store` is a connection of the server's own, which threads may share; `place.file` is the configuration as
    it is now.
    """

    place: places.Place
    host: str = "127.0.0.1"
    """What is listened on."""
    proxies: tuple[str, ...] = ()
    """Networks of the proxies that are believed, besides those of the configuration."""
    limits: limits.Limits = field(default_factory=limits.Limits)
    """How often who asks may ask."""
    providers: oidc.Providers = field(default_factory=oidc.Providers)
    """What OpenID providers publish."""
    watch: access.Watch = field(default_factory=access.Watch)
    """Which tokens were right, and who presents wrong ones."""

    demo: Callable[[], tuple[str, str]] | None = None
    """Starts a local Stripe with generated data and gives its address and a key; None where there is none."""

    @property
    def site(self) -> config.Site:
        """How it is reached and who may sign in, as the configuration says it now."""
        return self.place.file.server or config.Site()
