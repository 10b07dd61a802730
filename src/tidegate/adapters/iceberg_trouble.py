"""What pyiceberg and its catalogs say when something is wrong, turned into a sentence to act on.

Their texts may quote values, so only their kind passes.
"""

from __future__ import annotations

import pyiceberg.exceptions
import sqlalchemy.exc

from tidegate import errors
from tidegate.adapters import storage_faults

_MEANINGS: dict[type[Exception], tuple[type[errors.TidegateError], str]] = {
    pyiceberg.exceptions.UnauthorizedError: (
        errors.ConfigError,
        "The catalog of {where} refused the sign-in; check its token.",
    ),
    pyiceberg.exceptions.ForbiddenError: (
        errors.WarehouseError,
        "The catalog of {where} forbids it; let this token create, read and write tables of the namespace.",
    ),
    pyiceberg.exceptions.ServiceUnavailableError: (
        errors.WarehouseUnreachable,
        "The catalog of {where} cannot answer now.",
    ),
    pyiceberg.exceptions.CommitStateUnknownException: (
        errors.WarehouseUnreachable,
        "The catalog of {where} did not say whether it took a commit.",
    ),
    pyiceberg.exceptions.ServerError: (
        errors.WarehouseUnreachable,
        "The catalog of {where} failed; look at its log.",
    ),
}


def explain(error: Exception, where: str) -> errors.TidegateError | None:
    """What an error means; None where it is none of theirs."""
    if isinstance(error, pyiceberg.exceptions.CommitFailedException):
        return errors.WarehouseBusy(f"Somebody else changed a table of {where} at the same moment.")
    if isinstance(error, sqlalchemy.exc.SQLAlchemyError):
        return _catalog_error(error, where)
    for kind, (ours, said) in _MEANINGS.items():
        if isinstance(error, kind):
            return ours(said.format(where=where))
    if type(error).__module__.startswith("requests."):
        return errors.WarehouseUnreachable(f"No answer from the catalog of {where}; check its address.")
    if type(error).__module__.startswith("pyiceberg."):
        return storage_faults.told(str(error), where) or errors.WarehouseError(
            f"pyiceberg failed on {where} ({type(error).__name__}); run it again."
        )
    return None


def _catalog_error(error: sqlalchemy.exc.SQLAlchemyError, where: str) -> errors.TidegateError:
    text = str(getattr(error, "orig", error))
    if "locked" in text:
        return errors.WarehouseBusy(f"Somebody else writes to the catalog of {where}.")
    if "full" in text:
        return errors.WarehouseFull(
            f"The disk (or quota) under the catalog of {where} is full; what was committed before is intact, so "
            "make room and run this again."
        )
    if "unable to open" in text or "readonly" in text:
        return errors.ConfigError(f"This user may not write the catalog of {where}; change its permissions.")
    if "not a database" in text or "malformed" in text:
        return errors.WarehouseCorrupt(
            f"The catalog of {where} is damaged and was left as it is; restore it from a backup."
        )
    if isinstance(error, sqlalchemy.exc.OperationalError):
        return errors.WarehouseUnreachable(f"No answer from the catalog of {where}; check its URL.")
    return errors.WarehouseError(f"The catalog of {where} refused a statement ({type(error).__name__}).")
