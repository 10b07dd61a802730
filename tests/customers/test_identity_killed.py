"""Whenever a resolution is killed, the profiles are whole, and the next one makes them what they should be."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import identities

from tidegate.customers.rules import Rules

CHILD = Path(__file__).parents[1] / "support" / "identities_child.py"
RULES = [Rules(identifiers, 8) for identifiers in (("email", "phone"), ("phone",), ("email",))]
KILLS = 20


def test_a_kill_at_any_moment_leaves_old_profiles_or_new_ones(tmp_path: Path) -> None:
    chance, path = random.Random(1), tmp_path / "w.duckdb"
    model = identities.Model(f"duckdb:///{path}")
    model.write(
        {
            f"p/a/{n}": {"email": [f"{chance.randrange(200)}@x"], "phone": [f"+{chance.randrange(200)}"]}
            for n in range(500)
        }
    )
    model.resolve(RULES[0])
    wanted = [identities.resolved(model.there, rules) for rules in RULES]
    command = [sys.executable, str(CHILD), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as mother:
        for seed in range(1, KILLS + 1):
            _killed(mother, seed, chance.random() * (0.1 if seed % 2 else 0.3))
            _check(model, wanted)
    for rules, clusters in zip(RULES, wanted, strict=True):
        model.resolve(rules, [])
        assert model.clusters() == clusters
    model.close()


def _killed(mother: subprocess.Popen[str], seed: int, seconds: float) -> None:
    """Have a child resolve, and kill it so long after it first began to publish."""
    assert mother.stdin is not None
    assert mother.stdout is not None
    mother.stdin.write(f"{seed}\n")
    mother.stdin.flush()
    child = int(mother.stdout.readline())
    assert mother.stdout.readline() == "publishing\n"
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)


def _check(model: identities.Model, wanted: list[set[frozenset[str]]]) -> None:
    found, aliases = model.profiles(), model.aliases()
    assert set(found.values()) in wanted
    assert len(found) == len(set(found.values()))
    known = {str(profile) for (profile,) in model.rows("SELECT profile_id FROM {ids}")}
    assert known == set(found) | set(aliases)
    assert set(aliases.values()) <= set(found)
