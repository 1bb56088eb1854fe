"""The benchmark's models in PyTorch: the documents' networks with jaxvae's initial weights.

Images are [B, 1, 28, 28], labels [B]. A decoder returns logits; the loops say what becomes of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

Params = Mapping[str, Any]
"""The parameters of a `jaxvae.models.VAE`, NumPy arrays."""


@dataclass(frozen=True)
class Network:
    """The parts of a model."""

    encoder: nn.Sequential
    decoder: nn.Sequential
    features: int
    latent_dim: int = 20
    num_classes: int = 0


def mlp() -> Network:
    """Document 004's MLP."""
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 400), nn.ReLU())
    decoder = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784), nn.Unflatten(1, (1, 28, 28)))
    return Network(encoder, decoder, 400)


def conv() -> Network:
    """Document 001's conv VAE."""
    encoder = nn.Sequential(
        *(nn.Conv2d(1, 6, 3, 1, 1), nn.ReLU()),
        *(nn.Conv2d(6, 16, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(16, 4, 3, 1, 1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(784, 128), nn.ReLU()),
    )
    decoder = nn.Sequential(
        *(nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 784), nn.ReLU(), nn.Linear(784, 784)),
        nn.Unflatten(1, (1, 28, 28)),
    )
    return Network(encoder, decoder, 128)


def conv_32_64() -> Network:
    """Document 002's conv CVAE; the label enters as ten planes and beside z."""
    encoder = nn.Sequential(
        *(nn.Conv2d(11, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(), nn.Flatten()),
    )
    decoder = nn.Sequential(
        *(nn.Linear(74, 3136), nn.Unflatten(1, (64, 7, 7))),
        *(nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 2, 1)),
    )
    return Network(encoder, decoder, 3136, 64, num_classes=10)


def leaky_conv() -> Network:
    """Document 003's conv VAE."""
    encoder = nn.Sequential(
        *(nn.Conv2d(1, 32, 3, 2, 1), nn.LeakyReLU(0.01)),
        *(nn.Conv2d(32, 64, 3, 2, 1), nn.LeakyReLU(0.01)),
        *(nn.Conv2d(64, 128, 3, 2, 1), nn.LeakyReLU(0.01), nn.Flatten()),
    )
    decoder = nn.Sequential(
        *(nn.Linear(20, 2048), nn.Unflatten(1, (128, 4, 4))),
        *(nn.ConvTranspose2d(128, 64, 3, 2, 1, 0), nn.LeakyReLU(0.01)),
        *(nn.ConvTranspose2d(64, 32, 3, 2, 1, 1), nn.LeakyReLU(0.01)),
        nn.ConvTranspose2d(32, 1, 3, 2, 1, 1),
    )
    return Network(encoder, decoder, 2048)


NETWORKS = {"mlp": mlp, "conv": conv, "conv_32_64": conv_32_64, "leaky_conv": leaky_conv}


class TorchVAE(nn.Module):
    """Encoder, two heads, decoder."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.encoder, self.decoder = network.encoder, network.decoder
        self.mean = nn.Linear(network.features, network.latent_dim)
        self.logvar = nn.Linear(network.features, network.latent_dim)
        self.num_classes = network.num_classes

    def encode(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance [B, Z] of the posterior."""
        if self.num_classes:
            planes = functional.one_hot(label, self.num_classes).to(image.dtype)[:, :, None, None]
            image = torch.cat([image, planes.expand(-1, -1, *image.shape[2:])], dim=1)
        features = self.encoder(image)
        return self.mean(features), self.logvar(features)

    def decode(self, z: Tensor, label: Tensor) -> Tensor:
        """Logits [B, 1, 28, 28] of latents [B, Z]."""
        if self.num_classes:
            z = torch.cat([z, functional.one_hot(label, self.num_classes).to(z.dtype)], dim=1)
        return self.decoder(z)

    def forward(self, image: Tensor, label: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the posterior sample that standard normal `noise` [B, Z] gives, mean and log-variance."""
        mean, logvar = self.encode(image, label)
        z = mean + torch.exp(0.5 * logvar) * noise
        return self.decode(z, label), mean, logvar


def build(architecture: str, params: Params) -> TorchVAE:
    """The model that `jaxvae.models` has under this name, with its parameters."""
    network = NETWORKS[architecture]()
    model = TorchVAE(network)
    encoder, decoder = params["encoder"], params["decoder"]
    convolutions = [encoder[name] for name in sorted(encoder) if name.startswith("Conv")]
    dense = [encoder[name] for name in sorted(encoder) if name.startswith("Dense")]
    heads = zip(*(np.split(params["heads"][name], 2, axis=-1) for name in ("kernel", "bias")), strict=True)
    fill(model.encoder, [*convolutions, *dense])
    fill(nn.Sequential(model.mean, model.logvar), [{"kernel": kernel, "bias": bias} for kernel, bias in heads])
    dense = [decoder[name] for name in sorted(decoder) if name.startswith("Dense")]
    transposed = [decoder[name] for name in sorted(decoder) if name.startswith("ConvTranspose")]
    fill(model.decoder, [*dense, *transposed])
    return model


def fill(layers: nn.Sequential, params: Sequence[Params]) -> None:
    """Copy the parameters, in their order, into the layers that have some."""
    axes = {nn.Linear: (1, 0), nn.Conv2d: (3, 2, 0, 1), nn.ConvTranspose2d: (2, 3, 0, 1)}
    with_weights = [layer for layer in layers if type(layer) in axes]
    for layer, values in zip(with_weights, params, strict=True):
        kernel = np.array(values["kernel"]).transpose(axes[type(layer)])
        state = {"weight": torch.from_numpy(kernel.copy()), "bias": torch.from_numpy(np.array(values["bias"]))}
        layer.load_state_dict(state)
