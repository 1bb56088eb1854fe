"""The command: `python -m tests.golden --help`."""

import argparse
import json
import sys
from typing import Any

from jaxvae.runs import environment
from jaxvae.tables import print_table
from tests import golden
from tests.golden import FILE, RUNS, Terms, difference, kept, tolerance, train

RECORDED = ("python", "versions", "processor", "device", "xla_flags")


def main() -> int:
    """Train, compare, write; 1 if something was only checked and differs."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.golden",
        description=golden.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a run differs")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS), help="some only; default all")
    flags = parser.parse_args()
    before = kept()
    made_with = {name: value for name, value in environment().items() if name in RECORDED}
    found = {name: train(RUNS[name]) for name in flags.runs}
    differs = report(found, before, made_with)
    if flags.check:
        return 1 if differs else 0
    runs = {name: found.get(name) or before["runs"].get(name) for name in RUNS}
    FILE.write_text(as_text(made_with, {name: terms for name, terms in runs.items() if terms}))
    return 0


def report(found: dict[str, Terms], before: dict[str, Any], made_with: dict[str, Any]) -> list[str]:
    """Print what changed; the runs whose difference is beyond the tolerance."""
    for name, value in made_with.items():
        if (old := before["made_with"].get(name)) != value:
            print(f"{name}: {old} -> {value}")
    rows, differs = [], []
    for name, terms in found.items():
        old = before["runs"].get(name, {})
        error = difference(terms, old)
        if not error <= tolerance(name):
            differs.append(name)
        last = [f"{x['loss'][-1]:.6g}" if x else "" for x in (old, terms)]
        verdict = "differs" if name in differs else "same"
        rows.append((name, *last, f"{error:.1e}", f"{tolerance(name):.0e}", verdict))
    print_table(("run", "loss of step 20, kept", "now", "largest difference", "tolerance", ""), rows, sys.stdout)
    return differs


def as_text(made_with: dict[str, Any], runs: dict[str, Terms]) -> str:
    """JSON with the terms of a run on a line each; as many digits as float32 has."""

    def numbers(values: Any) -> str:
        return f"[{', '.join(f'{x:.9g}' for x in values)}]"

    lines = [
        f'  {json.dumps(name)}: {{\n   "loss": {numbers(terms["loss"])},\n   "kl": {numbers(terms["kl"])}\n  }}'
        for name, terms in runs.items()
    ]
    made, all_runs = json.dumps(made_with, indent=1).replace("\n", "\n "), ",\n".join(lines)
    return f'{{\n "made_with": {made},\n "runs": {{\n{all_runs}\n }}\n}}\n'


if __name__ == "__main__":
    sys.exit(main())
