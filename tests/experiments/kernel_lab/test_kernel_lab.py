"""The laboratory: what it counts, what it refuses, and a whole run of it."""

import csv
import gzip
import json
from math import isnan
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.kernel_lab import ceilings, measure, steps
from experiments.kernel_lab.__main__ import KernelLab, implementations_of, run
from jaxvae import cli
from jaxvae.errors import ConfigError
from jaxvae.kernels import every_kernel

HLO = """
HloModule jit_f, entry_computation_layout={(f32[4]{0})->f32[4]{0}}

%fused_computation (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %a = f32[4]{0} add(%p, %p)
}

%body (t: (s32[], f32[4])) -> (s32[], f32[4]) {
  %t = (s32[], f32[4]{0}) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %x = f32[4]{0} get-tuple-element(%t), index=1
  %f = f32[4]{0} fusion(%x), kind=kLoop, calls=%fused_computation
  ROOT %r = (s32[], f32[4]{0}) tuple(%i, %f)
}

%condition (t: (s32[], f32[4])) -> pred[] {
  %t = (s32[], f32[4]{0}) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %n = s32[] constant(3)
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

%left (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %n = f32[4]{0} negate(%p)
}

%right (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %e = f32[4]{0} exponential(%p)
}

%never (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %m = f32[4]{0} multiply(%p, %p)
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  %zero = s32[] constant(0)
  %t = (s32[], f32[4]{0}) tuple(%zero, %p)
  %w = (s32[], f32[4]{0}) while(%t), condition=%condition, body=%body
  %x = f32[4]{0} get-tuple-element(%w), index=1
  %f = f32[4]{0} fusion(%x), kind=kLoop, calls=%fused_computation
  %s = (f32[4]{0}, f32[4]{0}) copy-start(%f)
  %d = f32[4]{0} copy-done(%s)
  %k = s32[] constant(1)
  %o = f32[4]{0} conditional(%k, %d, %d), branch_computations={%left, %right}
  %c = f32[4]{0} custom-call(%o), custom_call_target="gemm"
  ROOT %b = f32[4]{0} bitcast(%c)
}
"""


def test_instructions_are_counted_where_the_device_gets_them():
    """By hand: inside a fusion none, in a loop or a branch once, a copy in two halves once, what is not called not."""
    once = ("while", "custom-call", "compare", "copy-start", "conditional", "negate", "exponential")
    assert steps.inventory(HLO) == {"fusion": 2, **dict.fromkeys(once, 1)}


def test_the_inventory_of_what_this_jax_compiles():
    @jax.jit
    def f(x, y):
        return jax.lax.fori_loop(0, 3, lambda _, x: jnp.sin(x @ y), x).sum()

    x = jnp.ones((8, 8))
    found = steps.inventory(f.lower(x, x).compile().as_text())
    assert found["while"] == 1
    assert found["dot"] + found["custom-call"] + found["fusion"] >= 2
    assert not found.keys() & steps.FREE


def test_a_call_is_timed():
    calls = []

    def function(x):
        calls.append(x)
        return x

    seconds = ceilings.timed(function, (1,), 0.05)
    assert seconds > 0
    assert len(calls) > 4


def test_what_is_donated_is_carried_on():
    count = jax.jit(lambda x: (x + 1,), donate_argnums=0)
    assert ceilings.timed(count, (jnp.zeros(4),), 0.01, carry=1) > 0
    with pytest.raises((RuntimeError, ValueError), match=r"deleted|donated"):
        ceilings.timed(count, (jnp.zeros(4),), 0.01)


def test_the_error_is_a_share_of_the_largest_number():
    exact = (np.array([100.0, 1.0]), np.array([0.0, 0.0]), np.array([True]))
    found = (jnp.array([100.0, 1.5]), jnp.zeros(2), jnp.array([True]))
    assert measure.error(found, exact) == pytest.approx(0.005)
    assert isnan(measure.error((jnp.array([jnp.nan, 1.0]), *found[1:]), exact))


def test_work_and_inputs_of_members():
    kernel = every_kernel()["reparameterize_kl"]
    sizes = {"K": 3, "B": 5, "Z": 2}
    assert measure.work_of(kernel, sizes, "float32", False).flops == 3 * kernel.work({"B": 5, "Z": 2}, 4, False).flops
    (by_z, by_kl), keys, posterior = measure.inputs(kernel, sizes, "float32", True)
    assert (by_z.shape, by_kl.shape) == ((3, 5, 2), (3, 5))
    assert keys.shape == (3, 5)
    assert posterior.mean.shape == (3, 5, 2)
    assert not np.array_equal(posterior.mean[0], posterior.mean[1])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--kernels", "nonsense"), "kernels has 'nonsense'; there are " + ", ".join(every_kernel())),
        (("--models", "005"), "models has '005'"),
        (("--seconds", "nan"), "seconds is nan"),
        (("--parts",), "parts is empty"),
        (("--parts", "kernels", "--models", "004"), "models is given, but parts has no steps"),
        (("--parts", "steps", "--kernels", "adam"), "kernels is given, but parts has no kernels"),
        (("--parts", "steps", "--implementations", "pallas"), "a CPU only interprets pallas"),
        (("--out", "{tmp}"), "not empty"),
    ],
)
def test_refused_in_one_line(tmp_path, monkeypatch, capsys, flags, message):
    (tmp_path / "taken").touch()
    monkeypatch.setattr("sys.argv", ["kernel_lab", *(flag.format(tmp=tmp_path) for flag in flags)])
    assert cli.main("kernel_lab", KernelLab, run) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_gpu_without_kernels_is_measured_without_them(capsys):
    ampere = SimpleNamespace(platform="gpu", compute_capability="8.0")
    assert implementations_of(KernelLab(), ampere) == ("xla",)
    assert "pallas is left out: " in capsys.readouterr().err
    with pytest.raises(ConfigError, match="compute capability"):
        implementations_of(KernelLab(implementations=("pallas",)), ampere)
    assert implementations_of(KernelLab(), SimpleNamespace(platform="cpu")) == ("xla", "pallas")


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a CPU's tables are expected")
def test_a_run_of_one_kernel_and_one_model(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ceilings, "SIDES", {"cpu": (32, 64)})
    monkeypatch.setattr(ceilings, "COPIED", {"cpu": 2**12})
    out = tmp_path / "lab"
    flags = ["--kernels", "adam", "--models", "004", "--seconds", "0", "--trace", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["kernel_lab", *flags, "--dataset", "digits", "--limit", "200"])
    assert cli.main("kernel_lab", KernelLab, run) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        *("environment.json", "kernel_lab.md", "kernels.csv", "roofline.png", "steps.csv", "trace_004_xla.json.gz"),
    ]
    with (out / "kernels.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * len(every_kernel()["adam"].shapes)
    for line in lines:
        assert float(line["error"]) < 1e-6
        interpreted = line["implementation"] == "pallas"
        assert isnan(float(line["seconds"])) == interpreted  # no time of an interpreter
        assert interpreted or float(line["seconds"]) > 0
    with (out / "steps.csv").open() as file:
        (step,) = csv.DictReader(file)
    assert int(step["parameters"]) == 652_824
    batch = int(step["batch"])
    # Encoder forward and backward by its parameters, not by the image; heads and decoder by both.
    assert float(step["matrix_flops"]) == 2 * batch * (2 * 784 * 400 + 3 * (400 * 40 + 20 * 400 + 400 * 784))
    assert float(step["xla_flops"]) > float(step["matrix_flops"])
    assert int(step["peak"]) > 4 * 4 * 652_824  # parameters, moments and what is new
    assert json.loads(gzip.decompress((out / "trace_004_xla.json.gz").read_bytes()))["traceEvents"]
    text = capsys.readouterr().out
    assert "interpreted" in text
    assert text.startswith("# Kernel laboratory")
