"""The README's example of a kernel: a folder that tests and laboratory find, and that passes."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.kernel_lab.ceilings import Ceilings
from experiments.kernel_lab.measure import measurements
from jaxvae import kernels
from jaxvae.kernels import every_kernel, implemented

BLOCK = re.compile(r"```python\n# pixel_mean/(\w+\.py).*?\n(.*?)```", re.DOTALL)


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The kernel `pixel_mean`, in a folder beside the package's own."""
    files = BLOCK.findall((Path(__file__).parents[2] / "README.md").read_text())
    assert [name for name, _ in files] == ["reference.py", "pallas.py", "__init__.py"]
    (tmp_path / "pixel_mean").mkdir()
    for name, text in files:
        (tmp_path / "pixel_mean" / name).write_text(text)
    monkeypatch.setattr(kernels, "__path__", [*kernels.__path__, str(tmp_path)])
    caches = (every_kernel, implemented)
    for cached in caches:
        cached.cache_clear()
    yield every_kernel()["pixel_mean"]
    for cached in caches:
        cached.cache_clear()


def test_the_laboratory_finds_it(example):
    assert list(every_kernel()) == sorted({"pixel_mean", *every_kernel()})
    ceilings = Ceilings(1e9, {"float32": 1e9}, 1e-6)
    xla, pallas = measurements(example, ("xla", "pallas"), ceilings, 0.0)
    assert xla.bytes == 8 * 78400
    assert max(xla.error, pallas.error) < 1e-6


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.usefixtures("interpreted")
def test_its_numbers(example, scale):
    for sizes in example.odd:
        arguments = example.extreme(example.inputs(jax.random.key(0), sizes, "float32"), scale)
        found = implemented("pixel_mean", "pallas")(*arguments)
        np.testing.assert_allclose(found, implemented("pixel_mean", "xla")(*arguments), atol=1e-6)


@pytest.mark.parametrize("target", ["cuda", "tpu"])
def test_it_lowers(example, target):
    for sizes in example.odd:
        arguments = example.inputs(jax.random.key(0), sizes, "float32")
        function = jax.jit(jax.vmap(implemented("pixel_mean", "pallas")))
        stacked = jax.tree.map(lambda x: x[None], arguments)
        function.trace(*stacked).lower(lowering_platforms=(target,))
