"""Fifty steps of three sweeps in one or several processes: `losses_of_processes.py FOLDER [the flags to meet]`."""

import argparse
from pathlib import Path

import numpy as np

from jaxvae.config import Config
from jaxvae.data import Dataset, Split, load
from jaxvae.fit import Sweep
from jaxvae.parallel import to_host
from jaxvae.processes import is_writer, join
from jaxvae.sweep import grid

CASES = {
    "one MLP": ("mlp", grid(), "device"),
    "three MLPs fed from the host": ("mlp", grid(beta=(1.0, 2.0, 4.0)), "host"),
    "two conv nets": ("conv", grid(seeds=(0, 1)), "device"),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--coordinator")
    parser.add_argument("--num-processes", type=int)
    parser.add_argument("--process-id", type=int)
    flags = parser.parse_args()
    join(flags.coordinator, flags.num_processes, flags.process_id)
    digits = load("digits", None)
    train, test = (Split(*(x[:100] for x in split)) for split in (digits.train, digits.test))
    dataset = Dataset("digits", train, test, digits.source)
    found = {}
    for name, (architecture, members, where) in CASES.items():
        sweep = Sweep(Config(architecture, latent_dim=3), dataset, members, batch_size=23, data_on=where)
        state, losses = sweep.start().state, []
        for epoch in range(1, 11):
            state, terms = sweep.train_epoch(state, epoch)
            losses.append(to_host(terms.loss))
        found[name] = np.concatenate(losses, axis=1)
    if is_writer():
        np.savez(flags.folder / "losses.npz", **found)


if __name__ == "__main__":
    main()
