"""What BigQuery's refusals mean, and which role is missing, one sentence each."""

from __future__ import annotations

import re
from dataclasses import dataclass

import requests
from google.api_core import exceptions
from google.auth import exceptions as refusals

from tidegate import errors
from tidegate.adapters import bigquery_sql, bigquery_stage

_CONFLICT = re.compile(
    "(?i)aborted due to concurrent|could not serialize|conflicting (?:with )?concurrent|"
    f"too many DML statements outstanding|{bigquery_sql.MOVED}"
)
_PLACE = re.compile(r"(?:Syntax error|Unrecognized name|No matching signature)[^.;'\"\n]{0,160}")
"""What BigQuery says of the text of a statement, in which no values are."""

# https://cloud.google.com/bigquery/docs/error-messages
_QUOTA = ("quotaExceeded", "billingTierLimitExceeded")
_BUSY = ("rateLimitExceeded", "jobRateLimitExceeded", "resourceInUse", "tableUnavailable")


@dataclass(frozen=True, slots=True)
class Place:
    """What was asked for and by whom, as errors may name it."""

    project: str
    datasets: tuple[str, str]
    """The names of both as BigQuery spells them."""
    api_base: str
    email: str | None
    """Of the service account, where it is one."""

    @property
    def where(self) -> str:
        """The project in a few words."""
        return f"BigQuery's project {self.project}"


def meaning(error: Exception, place: Place) -> errors.TidegateError | None:
    """The error of ours that says what an error of Google's libraries means; of its own text only names pass."""
    if isinstance(error, exceptions.RetryError) and isinstance(error.cause, exceptions.GoogleAPICallError):
        error = error.cause
    if isinstance(error, refusals.DefaultCredentialsError):
        return errors.ConfigError(
            f"There is no identity for {place.where}; give `credentials` (a service account's JSON), or run "
            "`gcloud auth application-default login`."
        )
    lost = (requests.RequestException, refusals.TransportError, exceptions.RetryError)
    if isinstance(error, lost) or (isinstance(error, refusals.GoogleAuthError) and error.retryable):
        return errors.WarehouseUnreachable(
            f"The connection to {place.where} broke or was not answered; check that {place.api_base} can be "
            "reached from here."
        )
    if isinstance(error, refusals.GoogleAuthError):
        return errors.ConfigError(
            f"Google refused the sign-in for {place.where}; check `credentials`, and that the service account and "
            "its key still exist."
        )
    return _refused(error, place) if isinstance(error, exceptions.GoogleAPICallError) else None


def _refused(error: exceptions.GoogleAPICallError, place: Place) -> errors.TidegateError:
    """What an answer of the API means."""
    where, text = place.where, str(error.message or "")
    reason = next((str(each.get("reason", "")) for each in error.errors or ()), "")
    if isinstance(error, exceptions.Unauthorized):
        return errors.ConfigError(f"{where} refused the sign-in; check `credentials`.")
    if reason in _QUOTA:
        return errors.WarehouseFull(
            f"A quota of {where} is used up ({reason}); nothing of this was written. Raise it in the Google Cloud "
            "console, or come less often."
        )
    if reason in _BUSY or isinstance(error, exceptions.TooManyRequests):
        return errors.WarehouseBusy(f"{where} is asked for too much at once.")
    if reason == "billingNotEnabled":
        return errors.ConfigError(
            f"{where} has no billing, without which BigQuery changes no rows; enable it in the "
            "Google Cloud console."
        )
    if reason in ("accessNotConfigured", "SERVICE_DISABLED"):
        return errors.ConfigError(
            f"The API of BigQuery is not enabled in {place.project}; run `gcloud services enable "
            f"bigquery.googleapis.com --project={place.project}`."
        )
    if reason == "responseTooLarge":
        return errors.WarehouseError(
            f"The query on {where} returns more than BigQuery gives at once ({reason}); let it read less."
        )
    if reason == "stopped":
        return errors.WarehouseError(f"{where} ended the query, because somebody cancelled it.")
    if isinstance(error, exceptions.Forbidden):
        return errors.WarehouseError(_forbidden(text, place))
    if isinstance(error, exceptions.NotFound):
        return _missing(text, place)
    if _CONFLICT.search(text):
        return errors.WarehouseBusy(f"Somebody else changed {where} at the same moment.")
    if "streaming buffer" in text:
        return errors.WarehouseError(
            f"{where} holds rows that somebody streamed into a table of Tidegate, which cannot be changed for up "
            "to 90 minutes; stop that, and run this again later."
        )
    if isinstance(error, exceptions.ServerError) and reason != "notImplemented":
        return errors.WarehouseUnreachable(f"{where} failed ({error.code}).")
    told = _PLACE.match(text)
    detail = told.group().rstrip(".") if told else reason or type(error).__name__
    return errors.WarehouseError(f"{where} refused a statement ({detail}).")


def _missing(text: str, place: Place) -> errors.TidegateError:
    """What there is none of."""
    found = re.search(r"Not found: (\w+ [\w:.`-]+)", text)
    what = found.group(1) if found else "something"
    if bigquery_stage.PREFIX in what:
        return errors.WarehouseBusy(f"Somebody else dropped the {what} of {place.where}.")
    if what.startswith("Project"):
        return errors.ConfigError(f"{place.where} has no {what}; check the name of the project.")
    return errors.WarehouseError(
        f"{place.where} has no {what}; check the names, and that `location` is the dataset's."
    )


def _forbidden(text: str, place: Place) -> str:
    """Which role is missing, and how it is given."""
    found = re.search(r"bigquery\.\w+\.\w+", text)
    missing = found.group() if found else ""
    who = f"serviceAccount:{place.email}" if place.email else "user:YOU"
    if missing.startswith(("bigquery.jobs.", "bigquery.datasets.create")) or "Access Denied: Project" in text:
        roles = {"bigquery.datasets.create": "user", "bigquery.jobs.get": "resourceViewer"}
        role = f"roles/bigquery.{roles.get(missing, 'jobUser')}"
        return (
            f"{place.where} forbids it ({missing or 'access to the project'} is missing); run `gcloud projects "
            f"add-iam-policy-binding {place.project} --member={who} --role={role}`."
        )
    tables, live = place.datasets
    return (
        f"{place.where} forbids it ({missing or 'access to the dataset'} is missing); run "
        f'GRANT `roles/bigquery.dataEditor` ON SCHEMA `{place.project}`.`{tables}` TO "{who}", and the '
        f"same for {live}."
    )
