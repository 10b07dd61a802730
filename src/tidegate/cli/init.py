"""`tidegate init`: a commented configuration to start from."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tidegate import config as configuration
from tidegate import errors
from tidegate.cli import output

_TEMPLATE = """\
# Tidegate: Stripe into your warehouse. Every key: docs/configuration.md, or `tidegate schema`.
# ${{NAME}} comes from the environment, ${{file:/path}} from a file: no secret needs to stand here.

stripe:
  stripe:
    api_key: "${{STRIPE_API_KEY}}"   # a restricted key with read permissions is enough: docs/keys.md
    # accounts: all                # connected accounts too, or a list of acct_...
    # start_date: 2020-01-01       # the whole history by default
    # budget: 0.8                  # the share of Stripe's rate limit to use{api_base}

warehouses:
  warehouse:
{warehouse}
    schema: stripe

pulls:
  everything:
    from: stripe
    to: warehouse
    # schedule: continuous         # for `tidegate run`; or every 15m, or {{cron: "0 6 * * *"}}
    # lookback: 7d                 # how far back to list again what has no events
    streams:
      "*": {{}}                      # every stream; `tidegate streams` lists them
      # charges: {{exclude: [receipt_url]}}

# Customers of any number of accounts in one table: docs/pipelines.md
# pipelines:
#   customers:
#     from: stripe
#     to: warehouse
#     stream: customers
#     map: {{customer_id: {{from: id}}, email: {{from: email}}, name: {{sql: "trim(name)"}}}}

# Rows back into Stripe: docs/pushes.md; `tidegate plan accounts` shows what would be written
# models:
#   accounts: {{warehouse: warehouse, sql: "select id, email, plan from accounts", key: id}}
# pushes:
#   accounts:
#     model: accounts
#     to: stripe
#     object: customer
#     behavior: update_or_create
#     match: {{email: email}}
#     fields: {{metadata.plan: plan}}
"""


def init(
    file: Path = Path(configuration.DEFAULT_FILE),
    /,
    *,
    to: str = "duckdb:///warehouse.duckdb",
    api_key: str | None = None,
    api_base: str | None = None,
    force: bool = False,
) -> int:
    """Write a commented tidegate.yaml to start from.

    Parameters
    ----------
    file
        The file to write.
    to
        The warehouse: duckdb:///FILE, or postgresql://... A password in it is not written down.
    api_key
        A Stripe key, to see that it is one; it is never written down: the file says ${STRIPE_API_KEY}.
    api_base
        Where Stripe answers, when it is not api.stripe.com: the sandbox's address.
    force
        Write over a file that exists.
    """
    if api_key is not None and not api_key.startswith(("sk_", "rk_")):
        raise errors.ConfigError("--api-key: a secret key begins with sk_, a restricted one with rk_")
    shape = configuration.ad_hoc(api_key="sk_test_shape", to=to, api_base=api_base, columns={})
    spec = shape.warehouses["warehouse"]
    is_file = isinstance(spec, configuration.DuckDB)
    path = to.removeprefix("duckdb:///") if is_file else ""
    place = f"path: {_quoted(path)}" if is_file else 'url: "${WAREHOUSE_URL}"'
    text = _TEMPLATE.format(
        warehouse=f"    type: {spec.type}\n    {place}",
        api_base=f"\n    api_base: {shape.stripe['stripe'].api_base}" if api_base else "",
    )
    try:
        with file.open("w" if force else "x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise errors.ConfigError(f"{file} is there already; --force writes over it") from None
    except OSError as error:
        raise errors.ConfigError(f"{file} cannot be written: {error.strerror}") from None
    output.say(f"wrote {file}")
    for name in ("STRIPE_API_KEY", "WAREHOUSE_URL"):
        if f"${{{name}}}" in text and name not in os.environ:
            output.say(f"next: export {name}=...")
    output.say("next: tidegate check, then tidegate pull")
    return 0


def _quoted(path: str) -> str:
    """A path as a YAML string; `${` in it is text."""
    return json.dumps(path.replace("${", "$${"), ensure_ascii=False)
