"""The wheel's build hook: what browsers get is built with it, unless it is up to date."""

import sys
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Pages(BuildHookInterface):
    """Has `bundle.py` build the pages for a wheel; in a checkout `./dev` does."""

    def dependencies(self) -> list[str]:
        """Node.js as a package, where it is needed and not installed."""
        bundle = self._bundle()
        return [] if bundle.is_fresh(self.root) or bundle.find_node() else [bundle.NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Build; a wheel without pages is none."""
        if version == "editable":
            return
        bundle = self._bundle()
        try:
            bundle.build(self.root)
        except bundle.Failed as failed:
            sys.exit(f"tidegate: {failed}")

    def _bundle(self) -> Any:
        if self.root not in sys.path:
            sys.path.insert(0, self.root)
        import bundle

        return bundle
