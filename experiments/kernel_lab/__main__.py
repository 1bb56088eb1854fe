"""Kernels and train steps beside the machine's limits: time, FLOP/s, bytes/s, error against float64, launches.

source      none: the card's third use, research on compiled VAE kernels
run time    1.5 min on 2 CPU cores
command     python -m experiments.kernel_lab
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from experiments.command import with_fallback
from experiments.page import markdown
from experiments.reproduce import STUDIES
from experiments.study import Study, first_member
from jaxvae import cli
from jaxvae.config import Implementation, check_range
from jaxvae.errors import ConfigError
from jaxvae.flags import DataFlags, unset

if TYPE_CHECKING:
    from experiments.kernel_lab.ceilings import Ceilings
    from experiments.kernel_lab.measure import Measurement
    from experiments.kernel_lab.steps import Step

Part = Literal["kernels", "steps"]
IMPLEMENTATIONS: tuple[Implementation, ...] = get_args(Implementation)


@dataclass(frozen=True)
class KernelLab:
    """Measure every kernel of jaxvae.kernels in each implementation, and a train step of each document's model.

    Writes kernels.csv, steps.csv, tables and the roofline. The machine's limits, a copy and a matrix product, are
    measured in the same run: leave the machine alone meanwhile. On a CPU the hand-written kernels are interpreted:
    their results are compared, and no time of theirs is shown.
    """

    parts: tuple[Part, ...] = ("kernels", "steps")
    """kernels: each alone. steps: a whole train step of each document's model."""
    kernels: Annotated[tuple[str, ...], unset("NAME [NAME ...]", "all")] = ()
    """Which kernels to measure."""
    models: Annotated[tuple[str, ...], unset("000|001|002|003|004 ...", "all")] = ()
    """The documents whose models' train steps are measured."""
    implementations: Annotated[tuple[Implementation, ...], unset("xla|pallas ...", "all that the device has")] = ()
    """xla: the plain definition, compiled. pallas: the hand-written kernel."""
    seconds: float = 0.5
    """How long each is timed, after it is compiled and warm."""
    trace: bool = False
    """Leave a trace of each model's steps for https://ui.perfetto.dev."""
    data: DataFlags = field(default_factory=DataFlags)
    out: Annotated[Path | None, unset("DIR", "results/kernel_lab/TIME-ID")] = None
    """Folder for tables and picture, new or empty."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check every field."""
        check_range("seconds", self.seconds, low=0.0, high=600.0)
        for name in self.models:
            if name not in ("000", "001", "002", "003", "004"):
                raise ConfigError(f"models has {name!r}; there are 000, 001, 002, 003, 004")
        if not self.parts:
            raise ConfigError("parts is empty; name at least one")
        for name, part in (("models", "steps"), ("kernels", "kernels")):
            if getattr(self, name) and part not in self.parts:
                raise ConfigError(f"{name} is given, but parts has no {part}")


def run(flags: KernelLab) -> Path:
    """Measure, print, and write the files."""
    import jax

    from experiments.kernel_lab.ceilings import ceilings
    from experiments.kernel_lab.measure import is_interpreted, measurements
    from jaxvae import runs
    from jaxvae.experiment import say
    from jaxvae.kernels import every_kernel

    every = every_kernel()
    if unknown := sorted(set(flags.kernels) - set(every)):
        raise ConfigError(f"kernels has {unknown[0]!r}; there are {', '.join(every)}")
    implementations = implementations_of(flags, jax.devices()[0])
    if flags.parts == ("steps",) and all(map(is_interpreted, implementations)):
        raise ConfigError("implementations is pallas and parts is steps, but a CPU only interprets pallas; add xla")
    studies = steps_to_look_at(flags) if "steps" in flags.parts else {}
    folder = runs.new_folder("kernel_lab", flags.out)
    device = jax.devices()[0]
    say(f"limits of {device.device_kind} ({device.platform})")
    limits = ceilings(sorted({dtype for kernel in every.values() for dtype in kernel.dtypes}), max(flags.seconds, 1.0))
    found: list[Measurement] = []
    for name in (flags.kernels or tuple(every)) if "kernels" in flags.parts else ():
        for measurement in measurements(every[name], implementations, limits, flags.seconds):
            found.append(measurement)
            say(" · ".join(kernel_cells(measurement)))
    looked = look_at_steps(flags, implementations, studies, limits, folder)
    runs.write_json(folder / "environment.json", runs.environment())
    write(folder, limits, found, looked)
    print((folder / "kernel_lab.md").read_text())
    say(f"tables and roofline: {folder}")
    return folder


def steps_to_look_at(flags: KernelLab) -> dict[str, Study]:
    """The studies of the models that were asked for, on their data, by what the table calls them."""
    from experiments.kernel_lab.steps import MODELS

    chosen = {label: name for label, name in MODELS.items() if not flags.models or label.split()[1][:3] in flags.models}
    studies = {label: study for label, name in chosen.items() for study in STUDIES if study.name == name}
    data = with_fallback(list(studies.values()), flags.data)
    return {label: first_member(study, data) for label, study in studies.items()}


def implementations_of(flags: KernelLab, device: Any) -> tuple[Implementation, ...]:
    """What was asked for, or all that a device has kernels for; says what it leaves out."""
    from jaxvae.experiment import say
    from jaxvae.kernels import check_device

    found = []
    for implementation in flags.implementations or IMPLEMENTATIONS:
        try:
            check_device(implementation, device)
            found.append(implementation)
        except ConfigError as error:
            if flags.implementations:
                raise
            say(f"{implementation} is left out: {error}")
    return tuple(found)


def look_at_steps(
    flags: KernelLab,
    implementations: tuple[Implementation, ...],
    studies: dict[str, Study],
    limits: "Ceilings",
    folder: Path,
) -> "list[Step]":
    """One after the other; on a CPU in plain XLA only."""
    from experiments.kernel_lab.measure import is_interpreted
    from experiments.kernel_lab.steps import look
    from jaxvae.experiment import load, say

    found = []
    for label, study in studies.items():
        data = load(study.data)
        for implementation in implementations:
            if is_interpreted(implementation):
                continue
            trace = folder / f"trace_{label.split()[1][:3]}_{implementation}.json.gz" if flags.trace else None
            found.append(look(label, study, data, implementation, limits, flags.seconds, trace))
            say(" · ".join(step_cells(found[-1])))
    return found


KERNEL_HEADER = (
    *("kernel", "implementation", "shape", "type", "", "time", "GFLOP/s", "GB/s"),
    *("of the limit", "error against float64"),
)
STEP_HEADER = (
    *("model", "implementation", "batch", "parameters", "time", "images/s", "of the product's FLOP/s"),
    *("MFLOP of products", "XLA's count", "MB moved", "instructions", "fusions", "loops", "peak MiB"),
)
NOTES = """Times are medians of calls that follow each other without waiting, warm. FLOPs and bytes of a kernel are the
least that a call has to do: each input read once, each output written once. Its limit is the longest of a
call of nothing, of what those bytes take in a copy in place and, where they are a product's, of what those
FLOPs take in the fastest matrix product of that type, all measured in this run; other FLOPs are in no limit.
What stays in a cache can be faster than the copy. What a kernel updates is donated, as in training; new
arrays of many MB cost a CPU pages that the copy does not need. Products of float32 are at JAX's default
precision, which on a GPU is TF32 and on a TPU bfloat16. The error is the largest difference from the plain
definition in float64, as a share of the largest number of an array.

Of a train step, whose state is donated as in training: the FLOPs of its matrix products, counted before it is
compiled and with convolutions as products of patches; XLA's count of everything after, in which hand-written
kernels are nothing; operands and results of all instructions; the instructions that the device is given,
those in a loop once; arguments, results and all between.
"""


def kernel_cells(m: "Measurement") -> tuple[str, ...]:
    """A line of the table."""
    from experiments.kernel_lab.measure import INTERPRETED

    measured = (duration(m.seconds), f"{m.flops / m.seconds / 1e9:.1f}", f"{m.bytes / m.seconds / 1e9:.1f}")
    rates = (INTERPRETED, "", "", "") if isnan(m.seconds) else (*measured, f"{m.share:.0%}")
    return m.kernel, m.implementation, f"{m.shape}: {m.sizes}", m.dtype, m.what, *rates, f"{m.error:.1e}"


def step_cells(step: "Step") -> tuple[str, ...]:
    """A line of the table."""
    return (
        *(step.model, step.implementation, str(step.batch), f"{step.parameters:,}", duration(step.seconds)),
        *(f"{step.batch / step.seconds:,.0f}", f"{step.share:.0%}", f"{step.matrix_flops / 1e6:,.0f}"),
        *(f"{step.xla_flops / 1e6:,.0f}", f"{step.bytes / 1e6:,.0f}", str(step.instructions), str(step.fusions)),
        *(str(step.loops), f"{step.peak / 2**20:,.0f}"),
    )


def duration(seconds: float) -> str:
    """With a unit."""
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} us"


def write(folder: Path, limits: "Ceilings", kernels: "Sequence[Measurement]", steps: "Sequence[Step]") -> None:
    """The tables, and the roofline of what was timed."""
    from jaxvae import runs
    from jaxvae.plots import save
    from jaxvae.plots.roofline import Point, roofline

    products = ", ".join(f"{dtype} {flops / 1e9:,.0f} GFLOP/s" for dtype, flops in limits.flops_per_second.items())
    environment = runs.environment()
    device = environment["processor"] if environment["backend"] == "cpu" else environment["device"]
    head = (
        f"# Kernel laboratory\n\n{device}: a copy {limits.bytes_per_second / 1e9:,.1f} GB/s; a matrix product of "
        f"{products}; a call of nothing {duration(limits.call)}.\n"
    )
    parts = [head]
    if kernels:
        parts.append(markdown(KERNEL_HEADER, [kernel_cells(m) for m in kernels]) + "\n")
        rows = [{**m._asdict(), "share": m.share} for m in kernels]
        runs.write_rows(folder / "kernels.csv", rows, list(rows[0]))
    if steps:
        parts.append(markdown(STEP_HEADER, [step_cells(step) for step in steps]) + "\n")
        runs.write_rows(folder / "steps.csv", [step._asdict() for step in steps], steps[0]._fields)
    runs.write_text(folder / "kernel_lab.md", "\n".join([*parts, NOTES]))
    timed = [m for m in kernels if not isnan(m.seconds)]
    if timed:
        points = [Point(m.kernel, f"{m.implementation}, {m.dtype}", m.intensity, m.flops / m.seconds) for m in timed]
        picture = roofline(points, limits.bytes_per_second, limits.flops_per_second, f"Kernels on {device}")
        save(picture, folder / "roofline.png")


if __name__ == "__main__":
    sys.exit(cli.main("kernel_lab", KernelLab, run))
