import io

from jaxvae.fit import Progress
from jaxvae.progress import losses, show_progress


def make_history(epoch, values, seeds=(0,)):
    return [
        {"epoch": epoch, "split": "train", "beta": float(k), "seed": seed, "loss": value, "alive": value == value}
        for k, (value, seed) in enumerate(zip(values, seeds * len(values), strict=False))
    ]


def test_a_plain_line_per_epoch_where_there_is_no_terminal():
    stream = io.StringIO()
    with show_progress(2, stream=stream) as on_epoch:
        for epoch in (1, 2):
            on_epoch(Progress(epoch, None, make_history(epoch, [30.0 / epoch, 40.0])))
    first, second = stream.getvalue().splitlines()
    assert first.startswith("epoch 1/2  train loss β=0 30.00  β=1 40.00  ")
    assert second.startswith("epoch 2/2  train loss β=0 15.00")
    assert second.endswith("0 s left")


def test_a_live_bar_on_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with show_progress(2, stream=stream) as on_epoch:
        on_epoch(Progress(1, None, make_history(1, [30.0])))
        on_epoch(Progress(2, None, make_history(2, [20.0])))
    text = stream.getvalue()
    assert "\r" in text
    assert "compiling" in text
    assert "2/2" in text
    assert "β=0 20.00" in text


def test_losses_name_seeds_divergence_and_many_members():
    assert losses(make_history(1, [1.0, 2.0], seeds=(0, 1))) == "β=0/seed 0 1.00  β=1/seed 1 2.00"
    assert losses(make_history(1, [1.0, float("nan")])) == "β=0 1.00  β=1 diverged"
    assert losses(make_history(1, [float(k) for k in range(9)])) == "0.00 to 8.00 over 9 members"
    assert losses(make_history(1, [*map(float, range(8)), float("nan")])) == "0.00 to 7.00 over 8 members (1 diverged)"
    assert losses(make_history(1, [float("nan")] * 9)) == "9 members, all diverged"
