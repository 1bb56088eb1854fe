"""Data sets as two splits of uint8 images: MNIST, Fashion-MNIST, and scikit-learn's digits where neither can be had.

Importing this package is cheap: scikit-learn, tensorflow-datasets and requests are imported by the functions that need
them, and JAX not at all.
"""

from jaxvae.data.dataset import Dataset, Split
from jaxvae.data.sources import NAMES, load

__all__ = ["NAMES", "Dataset", "Split", "load"]
