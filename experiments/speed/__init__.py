"""How fast a model trains, beside PyTorch and beside the machine's own limit; `python -m experiments.speed`."""
