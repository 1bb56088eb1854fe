"""jaxvae: variational autoencoders in JAX, a whole hyper-parameter sweep trained as one compiled program.

The straight pass, one module each: `data` -> `batches` -> `models` (encode, reparameterize, decode) -> `losses` ->
`objective` -> `train` (gradients, update) -> `sweep` (the member axis) -> `fit` -> `metrics` -> `plots`.
"""

__version__ = "0.1.0"
