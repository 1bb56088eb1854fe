"""One epoch of training in PyTorch: in the documents' loop, and tuned.

Both minimize what jaxvae minimizes: reconstruction summed over pixels plus beta KL summed over latents, averaged over
the batch, with Adam; both take an epoch's order and noise as jaxvae drew them, which spares PyTorch some milliseconds,
and return the loss of each step, nats per image.
"""

import copy
from collections.abc import Callable
from statistics import median
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from experiments.speed.ours import Draws
from experiments.speed.torch_models import TorchVAE
from jaxvae.config import ReconstructionName

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(logits, image, mean, logvar) -> the mean over the batch."""
ROUNDS, TURN = 4, 0.5  # each variant is timed for so many turns of so many seconds


def loss_function(reconstruction: ReconstructionName, variance: float, *, from_logits: bool) -> Loss:
    """The loss; Bernoulli from logits, or as the documents have it, from a sigmoid's output."""

    def loss(logits: Tensor, image: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
        if reconstruction == "bernoulli" and from_logits:
            error = functional.binary_cross_entropy_with_logits(logits, image, reduction="sum")
        elif reconstruction == "bernoulli":
            error = functional.binary_cross_entropy(torch.sigmoid(logits), image, reduction="sum")
        else:
            error = functional.mse_loss(torch.sigmoid(logits), image, reduction="sum") / (2 * variance)
        kl = -0.5 * torch.sum(1 + logvar - mean.pow(2) - logvar.exp())
        return (error + kl) / len(image)

    return loss


class Images(Dataset):
    """Image and label, one at a time: from uint8 by way of PIL to a tensor, as torchvision's MNIST and ToTensor do."""

    def __init__(self, image: NDArray[np.uint8], label: NDArray[np.integer]) -> None:
        self.image, self.label = torch.from_numpy(image.copy()), torch.from_numpy(label.astype(np.int64))

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = Image.fromarray(self.image[index].numpy(), mode="L")
        pixels = torch.from_numpy(np.array(picture, np.uint8, copy=True)).view(1, *picture.size[::-1])
        return pixels.to(torch.float32).div(255), int(self.label[index])


class AsWritten:
    """The documents' loop: a DataLoader that converts image by image, Adam, `.item()` after every step.

    It is that of documents 001 and 004, without what either adds (004 flattens each image and calls `.item()` three
    times a step); documents 002 and 003 print none.
    """

    def __init__(self, model: TorchVAE, data: Images, loss: Loss, batch_size: int, learning_rate: float) -> None:
        self.model, self.data, self.loss, self.batch_size = model, data, loss, batch_size
        self.optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)

    def epoch(self, draws: Draws) -> NDArray[np.float32]:
        """Train one epoch and return the losses of its steps [S]."""
        loader = DataLoader(self.data, batch_size=self.batch_size, sampler=draws.order.tolist())
        noises, losses = torch.from_numpy(draws.noise).split(self.batch_size), []
        for (image, label), noise in zip(loader, noises, strict=True):
            self.optimizer.zero_grad()
            logits, mean, logvar = self.model(image, label, noise)
            loss = self.loss(logits, image, mean, logvar)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        return np.array(losses, np.float32)


class Tuned:
    """All images in memory as floats, fused Adam, no `.item()`; and the fastest of some variants.

    The variants are eager and `torch.compile`, each with images in the usual order or channels-last. Where none is
    asked for, steps of each are timed in turns, on copies of the model; one that fails is left out.
    """

    def __init__(
        self,
        model: TorchVAE,
        data: Images,
        loss: Loss,
        batch_size: int,
        learning_rate: float,
        *,
        variant: str | None = None,
    ) -> None:
        self.image = data.image[:, None].to(torch.float32).div(255)
        self.label, self.loss, self.batch_size, self.learning_rate = data.label, loss, batch_size, learning_rate
        self.tried = self.compare(model) if variant is None else {}  # seconds a step, or why there is none
        times = {name: seconds for name, seconds in self.tried.items() if isinstance(seconds, float)}
        self.variant = variant or min(times, key=lambda name: times[name])
        self.step = self.step_function(model, self.variant)

    def compare(self, model: TorchVAE) -> dict[str, float | str]:
        """The median step of each variant."""
        batch = torch.arange(min(self.batch_size, len(self.image)))
        noise = torch.randn(len(batch), model.mean.out_features)
        steps, found = {}, {}
        for name in variants(model):
            try:
                steps[name] = self.step_function(copy.deepcopy(model), name)
                steps[name](batch, noise)  # compiles
            except RuntimeError as error:  # that of `torch.compile` is one
                steps.pop(name, None)
                found[name] = f"failed: {type(error).__name__}"
        seconds = {name: [] for name in steps}
        for _ in range(ROUNDS):
            for name, step in steps.items():
                end = perf_counter() + TURN
                while perf_counter() < end:
                    start = perf_counter()
                    step(batch, noise)
                    seconds[name].append(perf_counter() - start)
        return found | {name: median(times) for name, times in seconds.items()}

    def step_function(self, model: TorchVAE, variant: str) -> Callable[[Tensor, Tensor], Tensor]:
        """A step on the images of an index, with noise for each, that returns its loss."""
        layout = torch.channels_last if "channels-last" in variant else torch.contiguous_format
        model = model.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
        optimizer = torch.optim.Adam(model.parameters(), lr=self.learning_rate, fused=True)

        def forward(image: Tensor, label: Tensor, noise: Tensor) -> Tensor:
            logits, mean, logvar = model(image, label, noise)
            return self.loss(logits, image, mean, logvar)

        if "compiled" in variant:
            forward = torch.compile(forward, dynamic=False)  # an epoch's last batch is compiled on its own

        def step(index: Tensor, noise: Tensor) -> Tensor:
            image = self.image[index].contiguous(memory_format=layout)
            loss = forward(image, self.label[index], noise)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            return loss.detach()

        return step

    def epoch(self, draws: Draws) -> NDArray[np.float32]:
        """Train one epoch and return the losses of its steps [S]."""
        parts = (torch.from_numpy(drawn).split(self.batch_size) for drawn in draws)
        return torch.stack([self.step(index, noise) for index, noise in zip(*parts, strict=True)]).numpy()


def variants(model: TorchVAE) -> list[str]:
    """What is tried; a memory format matters to convolutions only."""
    convolutional = any(isinstance(module, torch.nn.Conv2d) for module in model.modules())
    layouts = ("", " channels-last") if convolutional else ("",)
    return [f"{way}{layout}" for way in ("eager", "compiled") for layout in layouts]
