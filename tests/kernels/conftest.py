"""Kernels on a CPU: as this platform has them, and the GPU's versions in an interpreter of their grid and memories."""

import pytest

from jaxvae.kernels import platforms


@pytest.fixture
def gpu_interpreted(monkeypatch):
    """Every kernel is its GPU version, interpreted; no race may be found."""
    # Nothing of this has a public name yet.
    from jax._src.pallas.mosaic_gpu.interpret.interpret_pallas_call import get_races, reset_gpu_interpret_mode_state
    from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams

    def lowered(cuda, tpu, arguments):
        return cuda(*arguments, interpret=InterpretGPUParams(detect_races=True))

    monkeypatch.setattr(platforms, "lowered", lowered)
    yield
    assert not get_races().races_found
    reset_gpu_interpret_mode_state()


@pytest.fixture(params=["here", "gpu"])
def interpreted(request):
    """Both versions of each kernel: what this platform has, on a CPU the TPU's, interpreted; and the GPU's."""
    if request.param == "gpu":
        request.getfixturevalue("gpu_interpreted")
