"""Fifty steps of sweeps in one or several processes: `losses_of_processes.py FOLDER SWEEP... [the flags to meet]`."""

import argparse
from pathlib import Path

import numpy as np

from jaxvae.config import Config
from jaxvae.data import Dataset, Split, load
from jaxvae.fit import Sweep
from jaxvae.flags import ComputeFlags
from jaxvae.parallel import to_host
from jaxvae.processes import is_writer, join
from jaxvae.sweep import grid

CASES = {
    "mlp": ("mlp", grid(), "device"),
    "fed_mlp": ("mlp", grid(), "host"),
    "three_fed_mlps": ("mlp", grid(beta=(1.0, 2.0, 4.0)), "host"),
    "two_convs": ("conv", grid(seeds=(0, 1)), "device"),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("sweeps", nargs="+", choices=CASES)
    parser.add_argument("--coordinator")
    parser.add_argument("--num-processes", type=int)
    parser.add_argument("--process-id", type=int)
    flags = parser.parse_args()
    join(ComputeFlags(coordinator=flags.coordinator, num_processes=flags.num_processes, process_id=flags.process_id))
    digits = load("digits", None)
    train, test = (Split(*(x[:100] for x in split)) for split in (digits.train, digits.test))
    dataset = Dataset("digits", train, test, digits.source)
    found = {}
    for name in flags.sweeps:
        architecture, members, where = CASES[name]
        config = Config(architecture, latent_dim=3, conditional=True)
        sweep = Sweep(config, dataset, members, batch_size=23, data_on=where)
        state, losses = sweep.start().state, []
        for epoch in range(1, 11):
            state, terms = sweep.train_epoch(state, epoch)
            losses.append(to_host(terms.loss))
        found[name] = np.concatenate(losses, axis=1)
    if is_writer():
        np.savez(flags.folder / "losses.npz", **found)


if __name__ == "__main__":
    main()
