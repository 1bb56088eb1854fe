"""The command: `python -m tests.certify --help`."""

import argparse
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np

import tests.certify as certification
from tests.certify.lines import MEASURES, Line, table


def main() -> int:
    """Certify, print; 0 if all limits are kept and all controls are found."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.certify",
        description=certification.__doc__,
        epilog="Exit status: 0 if all limits are kept and all controls found, else 1.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--points", type=int, default=100_000, help="of each quantity; default %(default)s, at least 1000"
    )
    parser.add_argument("--out", type=Path, help="write the report to this file too, as Markdown")
    parser.add_argument("--seed", type=int, default=0, help="of the points and draws; default %(default)s")
    flags = parser.parse_args()
    if flags.points < 1000 or flags.seed < 0:
        parser.error("--points must be 1000 at least, --seed 0 at least")
    start = time.monotonic()
    lines = [line for part in certification.PARTS for line in certification.certify(part, flags.points, flags.seed)]
    text = report(lines, flags.points, flags.seed)
    print(text)
    if flags.out is not None:
        flags.out.write_text(text + "\n")
    print(f"\n{time.monotonic() - start:.0f} s", file=sys.stderr)
    return 0 if all(line.good for line in lines) else 1


def report(lines: list[Line], points: int, seed: int) -> str:
    """The report as Markdown."""
    controls = [line for line in lines if line.control]
    kept = sum(line.good for line in lines if not line.control)
    bad = [line.name for line in lines if not line.good]
    device = jax.devices()[0]
    return "\n".join(
        [
            "# Certification of the numbers",
            "",
            f"`python -m tests.certify --points {points} --seed {seed}`, jax {jax.__version__}, jaxlib "
            f"{version('jaxlib')}, NumPy {np.__version__}, Python {platform.python_version()}, {device.platform} "
            f"({device.device_kind}), {platform.machine()}.",
            "",
            f"{kept} of {len(lines) - len(controls)} quantities keep their limits; "
            f"{sum(line.good for line in controls)} of {len(controls)} controls are found by them.",
            *(f"- **{name}**" for name in bad),
            "",
            *(f"- *{measure}*: {text}" for measure, text in MEASURES.items()),
            "",
            "jaxvae has no logsumexp of its own; `experiments.derivation` has NumPy's.",
            "",
            table(lines),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
