"""The certification with few points; and faults that it must report."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae import losses, metrics, train
from jaxvae.kernels.adam import reference
from jaxvae.models import vae
from tests import certify
from tests.certify import latents, likeness, noise, pixels, points, references, training
from tests.certify.__main__ import main, report
from tests.certify.lines import Line, table, ulps

POINTS = 2000


@pytest.mark.parametrize("part", certify.PARTS)
def test_every_limit_is_kept_and_every_control_found(part):
    lines = certify.certify(part, POINTS)
    assert [f"{line.name}: {line.error:.3g}, limit {line.limit:.3g}" for line in lines if not line.good] == []
    assert any(line.control for line in lines)
    assert len({line.name for line in lines}) == len(lines)
    assert "|" not in "".join(line.name + line.why for line in lines)  # which would end a cell of the table


def test_every_reconstruction_loss_has_a_reference():
    assert references.PIXEL.keys() == losses.RECONSTRUCTIONS.keys()


def slightly_more(function):
    """The results of `function` with a relative error of 5e-6."""
    return lambda *arguments: jax.tree.map(lambda x: x * jnp.asarray(1 + 5e-6, x.dtype), function(*arguments))


def finer(function):
    """`scaled_sum` at a 1,024th of its scale: it misses squares that overflow."""
    return lambda tree: function(jax.tree.map(lambda x: x / 1024, tree))


def in_float32(function):
    """`summarize` with one mean rounded to float32."""
    return lambda evaluation: (means := function(evaluation)) | {"kl": np.float32(means["kl"])}


def of_pixels(name):
    """The float32 lines of one reconstruction loss."""

    def lines(n, rng):
        at = points.logits(rng, n), points.pixels(rng, n), points.variances(rng, n)
        return pixels.pixel_lines(name, getattr(losses, name), at, np.float32)

    return lines


def of_kl(n, rng):
    return latents.kl_lines("KL", latents.per_dimension(), (points.means(rng, n), points.logvars(rng, n)), np.float32)


def of_z(n, rng):
    return noise.reparameterize_lines(points.means(rng, n), points.logvars(rng, n))


FAULTS = [
    (of_pixels("squared_error"), losses, "squared_error", slightly_more, "squared_error, float32: value"),
    (of_pixels("bernoulli"), losses, "_log1p_up_to_1", slightly_more, "bernoulli, float32: value"),
    (of_kl, losses, "gaussian_kl_per_dimension", slightly_more, "KL, float32: value"),
    (of_z, vae, "reparameterize", slightly_more, "z = mean + sigma epsilon: value"),
    (noise.moment_lines, vae, "standard_normal", lambda f: lambda *a: 1.1 * f(*a), "noise of one key: variance"),
    (training.sum_lines, losses, "_sum", slightly_more, "losses._sum of 784 numbers, float32, a batch"),
    (training.mean_lines, metrics, "summarize", in_float32, "metrics.summarize of 60,000 images"),
    (training.adam_lines, reference, "adam_direction", slightly_more, "Adam's direction, 50 steps"),
    (training.detection_lines, train, "scaled_sum", finer, "scaled_sum of trees with NaN, infinities, from 2^64"),
    (training.detection_lines, train, "all_finite", lambda f: lambda tree: f(tree["b"]), "all_finite of the same"),
    (likeness.certify, metrics, "mse", slightly_more, "MSE, float32"),
    (likeness.certify, metrics, "ssim", lambda f: lambda *a: f(*a) + 1e-3, "SSIM, float32, against scikit-image"),
]


@pytest.mark.parametrize(("lines", "module", "name", "fault", "line"), FAULTS, ids=[fault[2] for fault in FAULTS])
def test_negative_control_a_planted_fault_is_out_of_its_limit(monkeypatch, lines, module, name, fault, line):
    monkeypatch.setattr(module, name, fault(getattr(module, name)))
    with np.errstate(all="ignore"):
        found = {line.name: line for line in lines(POINTS, np.random.default_rng(0))}
    assert found[line].verdict == "OUT"


def test_a_line_is_good_within_its_limit_and_a_control_beyond_it():
    def verdict(error, control):
        line = Line("x", 1, "ulp", error, 1.0, "", control)
        return line.verdict, line.good

    assert verdict(1.0, False) == ("within", True)
    assert verdict(1.1, False) == verdict(np.nan, False) == verdict(np.inf, False) == ("OUT", False)
    assert verdict(1.1, True) == verdict(np.nan, True) == verdict(np.inf, True) == ("found", True)
    assert verdict(1.0, True) == ("MISSED", False)


def test_ulps_by_hand():
    assert ulps(1 + 2.0**-22, 1.0) == 2
    assert ulps(1e-40, 0.0) < 1  # a subnormal number may be flushed
    assert ulps(1 + 2.0**-22, 1.0, scale=4.0) == 0.5
    assert ulps(1 + 2.0**-22, 1.0, kind=np.float64) == 2.0**30
    assert ulps(np.nan, 1.0) == ulps([1.0, np.nan], [1.0, 1.0]) == np.inf


def test_the_report_names_what_is_bad():
    lines = [
        Line("good", 1, "ulp", 0.5, 1.0, ""),
        Line("bad", 1, "ulp", 2.0, 1.0, ""),
        Line("c", 1, "ulp", 2, 1, "", True),
    ]
    text = report(lines, 1000, 0)
    assert "1 of 2 quantities keep their limits; 1 of 1 controls are found" in text
    assert "- **bad**" in text
    assert table(lines) in text
    assert len(set(map(len, (re.findall(r"\|", row) for row in table(lines).splitlines())))) == 1


@pytest.mark.parametrize(("error", "status"), [(0.5, 0), (2.0, 1)])
def test_the_exit_status_and_the_file(monkeypatch, tmp_path, capsys, error, status):
    lines = [Line("x", 1, "ulp", error, 1.0, "")]
    monkeypatch.setattr(certify, "PARTS", {"one": lambda points, rng: lines})
    monkeypatch.setattr("sys.argv", ["certify", "--points", "1000", "--out", str(tmp_path / "report.md")])
    assert main() == status
    assert (tmp_path / "report.md").read_text() == capsys.readouterr().out
