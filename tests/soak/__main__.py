"""Promises about runs, put to the test for as long as one likes: `python -m tests.soak`, or a part by its name.

Real processes are killed, stopped, starved of disk space and fed with nonsense; checkpoints and data files are damaged.
Each part says what it counted, and every time that a promise was not kept; the exit status is then 1.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.soak import arguments, damage, data_files, full, kills, stops

PARTS = {  # the short form's count, and the long one's
    "kills": (kills.run, 8, 100),
    "stops": (stops.run, 6, 30),
    "damage": (damage.run, 60, 500),
    "full": (full.run, 5, 50),
    "arguments": (arguments.run, 300, 10_000),
    "data_files": (data_files.run, 1000, 20_000),
}


def main() -> int:
    """Run the parts that are asked for, print a table, and return 1 where a promise was not kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all by default")
    parser.add_argument("--long", action="store_true", help="the long form, an hour on two cores, not minutes")
    parser.add_argument("--count", type=int, help="how often, instead of the form's own number")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random")
    parser.add_argument("--work", type=Path, help="an empty folder to work in, kept; by default one that is removed")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    work = (asked.work or Path(tempfile.mkdtemp(prefix="jaxvae-soak-"))).absolute()
    kept = True
    for name in asked.parts or PARTS:
        run, short, long = PARTS[name]
        begun = time.monotonic()
        (work / name).mkdir(parents=True)
        found = run(asked.count or (long if asked.long else short), asked.seed, work / name)
        counted = ", ".join(f"{what} {value}" for what, value in found.figures.items())
        print(f"{name}: {found.promise}: {counted}; {len(found.failures)} failures; {time.monotonic() - begun:.0f} s")
        for failure in found.failures:
            print(f"  {failure}")
        sys.stdout.flush()
        kept = kept and not found.failures
    if not asked.work and kept:
        shutil.rmtree(work)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
