"""Rows that a pipeline could not shape: which they are, and having the next run read them again."""

from __future__ import annotations

from tidegate import errors, views
from tidegate.engine import piping
from tidegate.engine import place as places
from tidegate.store import failed, trail
from tidegate.views import outside, pipelines


def failures(
    place: places.Place, name: str, *, search: str = "", limit: int = 50, after: int = 0
) -> tuple[list[failed.Failed], int]:
    """Rows in quarantine, the latest first, `after` so many; and how many there are of these."""
    pipelines.pipeline(place, name)
    found = failed.listed(place.store, name, limit, after, search)
    return found, failed.count(place.store, name, search)


def failure(place: places.Place, name: str, account: str, source_id: str) -> failed.Failed:
    """One of them with all that is known; raises Unknown where it is not there any more."""
    pipelines.pipeline(place, name)
    found = failed.get(place.store, name, account, source_id)
    if found is None:
        raise views.Unknown(f"{source_id} is not in the quarantine of {name} any more.")
    return found


def retry(place: places.Place, who: views.Who, name: str) -> int:
    """Have the next run read all rows in quarantine again; says how many those are."""
    from tidegate.customers import records
    from tidegate.warehouse import scripts

    of = piping.model(place.file, name) if pipelines.pipeline(place, name) else None
    assert of is not None, "A pipeline has a model."

    line = trail.Note(who.name, "retry", f"{pipelines.KIND}.{name}", via=who.via)

    def look() -> int:
        with piping.modelled(place.file, of) as model:
            if not isinstance(model.warehouse, scripts.Scripted):
                raise errors.ConfigError(
                    f"a warehouse of the type {model.warehouse.kind} cannot hold the customer model"
                )
            return model.warehouse.scripted(
                lambda script: records.again(script, model.names, name, made.begin)
            )

    with trail.around(place.store, line) as made:
        count = outside.warehouse(of.warehouse, look)
        made.known["rows"] = count
    return count
