"""Figures: pure functions from arrays and table rows to a matplotlib `Figure`. The only importer of matplotlib.

Every figure compares the members of a sweep by label, such as "β = 3". A label keeps its colour in all figures that are
given the same labels in the same order, or the same `colors`, which `palette` makes once for a run.
"""

from jaxvae.plots.curves import loss_curves
from jaxvae.plots.information import kl_per_dimension, rate_distortion
from jaxvae.plots.pictures import (
    class_samples,
    interpolations,
    manifold,
    reconstructions,
    samples,
    tile,
    traversals,
)
from jaxvae.plots.scatter import scatter
from jaxvae.plots.style import Figure, palette, png, save, shrink

__all__ = [
    "Figure",
    "class_samples",
    "interpolations",
    "kl_per_dimension",
    "loss_curves",
    "manifold",
    "palette",
    "png",
    "rate_distortion",
    "reconstructions",
    "samples",
    "save",
    "scatter",
    "shrink",
    "tile",
    "traversals",
]
