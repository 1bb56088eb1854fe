"""The benchmark's picture: seconds per epoch of each contestant, a panel for each model."""

from collections.abc import Sequence

from experiments.speed.training import Result
from jaxvae.plots.style import LIGHT, TEXT, Figure, new_figure, palette, style_panel


def draw(results: Sequence[Result]) -> Figure:
    """Bars of the median epoch, dots of every one, and how many times as long as jaxvae's it is."""
    note = (
        "Bars: the median epoch. Dots: every epoch that counts. Each library trained one epoch while the others waited."
    )
    figure = new_figure(2.6 * max(len(results), 2), 4.2, "Seconds to train an epoch; lower is better", note)
    for number, result in enumerate(results):
        axes = figure.add_subplot(1, max(len(results), 2), number + 1)
        colors = palette(result.epochs)
        for place, name in enumerate(result.epochs):
            seconds = [epoch.seconds for epoch in result.timed(name)]
            axes.bar(place, result.seconds(name), color=colors[name], alpha=0.75, width=0.7)
            axes.scatter([place] * len(seconds), seconds, s=12, color="white", edgecolors="black", linewidths=0.6)
            times = "" if name == "jaxvae" else f"{result.times(name):.2f}\N{MULTIPLICATION SIGN}"
            axes.annotate(times, (place, max(seconds)), (0, 6), textcoords="offset points", ha="center", fontsize=TEXT)
        title = f"{result.model}, batch {result.batch_size}"
        style_panel(axes, title, "", "seconds" if number == 0 else "")
        names = [name.replace(", ", ",\n") for name in result.epochs]
        axes.set_xticks(range(len(names)), names, fontsize=TEXT - 2)
        axes.spines["bottom"].set_color(LIGHT)
        axes.margins(y=0.15)
    return figure
