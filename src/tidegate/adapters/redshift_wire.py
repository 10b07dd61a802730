"""What Redshift says when something goes wrong, and what that means."""

from __future__ import annotations

import psycopg

from tidegate import errors


def told(error: psycopg.Error, where: str, staging: str | None) -> errors.TidegateError | None:
    """What only Redshift says; much of it comes without a state of its own, and some as a detail.

    None for what it says as Postgres does. `where` and `staging` are the cluster and the place of files.
    """
    said = f"{error.diag.message_primary or ''} {error.diag.message_detail or ''}"
    for words, kind, text in SAYS:
        if words in said:
            return kind(text.format(where=where, staging=staging))
    if error.sqlstate == "2BP01":
        return errors.WarehouseError(
            f"A view of yours in {where} uses a column that has to change ({error.diag.message_primary}); drop it, "
            "and make it again WITH NO SCHEMA BINDING."
        )
    if error.sqlstate in ("42P06", "42P07", "23505"):
        return errors.WarehouseBusy(f"Somebody else changed {where} at the same moment.")
    return None


SAYS: tuple[tuple[str, type[errors.TidegateError], str], ...] = (
    (
        "erializable isolation violation",
        errors.WarehouseBusy,
        "Somebody else changed {where} at the same moment.",
    ),
    (
        "conflict with concurrent transaction",
        errors.WarehouseBusy,
        "Somebody else changed {where} at the same moment.",
    ),
    ("Disk Full", errors.WarehouseFull, "The disks of {where} are full; nothing of this load was written."),
    (
        "load_error",
        errors.WarehouseError,
        "{where} refused a file; SYS_LOAD_ERROR_DETAIL says why. Nothing of this load was written.",
    ),
    (
        "S3ServiceException",
        errors.WarehouseError,
        "{where} cannot read {staging}; allow s3:GetObject and s3:ListBucket to the iam_role, and name the "
        "bucket's region if it is another.",
    ),
    (
        "not authorized to assume",
        errors.WarehouseError,
        "{where} may not take the iam_role; attach it to the cluster, and let redshift.amazonaws.com assume it.",
    ),
    (
        "default IAM role",
        errors.WarehouseError,
        "{where} has no default role to read {staging} by; set `iam_role`, or make one the cluster's default.",
    ),
)
"""What Redshift says, by words of it; the first that fit count."""
