"""Figures, checked by what is drawn: pixels of the tiles, data of lines and bars, colours, texts, the saved file."""

import io
import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text
from PIL import Image

from jaxvae import plots
from jaxvae.labels import label
from jaxvae.plots.curves import group_curves
from jaxvae.plots.pictures import fold
from jaxvae.plots.roofline import Point, roofline
from jaxvae.plots.style import grid_shape, padded_limits


def make_history(betas, seeds=1, epochs=3, bad=()):
    """Rows with reconstruction 100 + member, KL 10 and their loss; members in `bad` are NaN after the first epoch."""
    rows = []
    members = [(beta, seed) for beta in betas for seed in range(seeds)]
    for member, (beta, seed) in enumerate(members):
        for epoch in range(1, epochs + 1):
            reconstruction = np.nan if member in bad and epoch > 1 else 100.0 + member
            terms = {"loss": reconstruction + 10 * beta, "reconstruction": reconstruction, "kl": 10.0}
            for split in ("train", "test"):
                rows.append({"member": member, "seed": seed, "beta": beta, "epoch": epoch, "split": split, **terms})
    return rows


def make_points(betas, collapsed=()):
    return [
        {
            "beta": beta,
            "seed": 0,
            "kl": 20 / beta,
            "reconstruction": 80 + beta,
            "collapsed": beta in collapsed,
            "loss": 1,
        }
        for beta in betas
    ]


def make_images(names, *shape):
    return {name: np.random.default_rng(0).random(shape, np.float32) for name in names}


def make_points_of_plane(names):
    return {name: np.random.default_rng(0).normal(size=(5, 2)) for name in names}


def make_all(betas, channels=1):
    """Every figure of a sweep over `betas`, by name."""
    names = [label("beta", beta) for beta in betas]
    size = (6, 6, channels)
    kl = {name: np.array([0.5, 2.0, 0.0]) for name in names}
    images = make_images(names, 4, *size)
    return {
        "loss": plots.loss_curves(make_history(betas)),
        "rate": plots.rate_distortion(make_points(betas)),
        "kl": plots.kl_per_dimension(kl, {name: values > 0.1 for name, values in kl.items()}),
        "reconstructions": plots.reconstructions(images[names[0]], images),
        "samples": plots.samples(images),
        "traversals": plots.traversals(make_images(names, 3, 5, *size), np.linspace(-3, 3, 5), kl),
        "manifold": plots.manifold(make_images(names, 4, 4, *size), [0.05, 0.35, 0.65, 0.95]),
        "classes": plots.class_samples(make_images(names, 3, 5, *size), ["a", "b", "c"]),
        "lines": plots.interpolations(make_images(names, 3, 5, *size), "note"),
        "scatter": plots.scatter(make_points_of_plane(names), [0, 1, 2, 0, 1], ["a", "b", "c"], "title"),
    }


def picture(axes):
    return np.asarray(axes.get_images()[0].get_array())


def texts(figure):
    return [text.get_text() for text in figure.findobj(match=lambda artist: hasattr(artist, "get_text"))]


def read(png):
    return matplotlib.image.imread(io.BytesIO(png), format="png")


class TestTile:
    def test_puts_each_pixel_in_its_place(self):
        a, b = [[0.1, 0.2], [0.3, 0.4]], [[0.5, 0.6], [0.7, 0.8]]
        grid = np.array([[a, b], [b, a]])[..., None]
        expected = [
            [0.1, 0.2, 1.0, 0.5, 0.6],
            [0.3, 0.4, 1.0, 0.7, 0.8],
            [1.0, 1.0, 1.0, 1.0, 1.0],
            [0.5, 0.6, 1.0, 0.1, 0.2],
            [0.7, 0.8, 1.0, 0.3, 0.4],
        ]
        np.testing.assert_allclose(plots.tile(grid, gap=1)[..., 0], expected, rtol=1e-6)

    def test_without_gap_and_not_square(self):
        grid = np.arange(12.0).reshape(1, 2, 2, 3, 1) / 12
        expected = np.array([[0, 1, 2, 6, 7, 8], [3, 4, 5, 9, 10, 11]]) / 12
        np.testing.assert_allclose(plots.tile(grid, gap=0)[..., 0], expected, rtol=1e-6)

    def test_keeps_channels(self):
        grid = np.zeros((1, 2, 1, 1, 3))
        grid[0, 1, 0, 0] = [0.2, 0.4, 0.6]
        np.testing.assert_allclose(plots.tile(grid)[0], [[0, 0, 0], [1, 1, 1], [0.2, 0.4, 0.6]], rtol=1e-6)

    def test_clips_and_greys_out_nan(self):
        grid = np.array([-1.0, 2.0, np.nan]).reshape(1, 3, 1, 1, 1)
        np.testing.assert_array_equal(plots.tile(grid, gap=0).ravel(), [0.0, 1.0, 0.5])

    def test_fold_fills_the_last_row_with_white(self):
        folded = fold(np.array([0.1, 0.2, 0.3]).reshape(3, 1, 1, 1), columns=2)
        np.testing.assert_allclose(folded[..., 0, 0, 0], [[0.1, 0.2], [0.3, 1.0]], rtol=1e-6)


class TestStyle:
    def test_palette_is_ordered_from_dark_to_bright_and_readable_on_white(self):
        colors = plots.palette(f"β = {beta}" for beta in range(16))
        channels = np.array([[int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)] for color in colors.values()])
        luminance = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4) @ [
            0.2126,
            0.7152,
            0.0722,
        ]
        assert (np.diff(luminance) > 0).all()
        assert 1.05 / (luminance.max() + 0.05) > 2.4  # contrast with white
        assert len(set(colors.values())) == 16

    def test_palette_counts_a_repeated_label_once(self):
        assert plots.palette(["a", "b", "a"]) == plots.palette(["a", "b"])

    @pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (4, (1, 4)), (5, (2, 3)), (8, (2, 4)), (16, (4, 4))])
    def test_grid_shape(self, count, shape):
        assert grid_shape(count) == shape

    def test_padded_limits(self):
        assert padded_limits([0.0, np.nan, 10.0], 0.1) == (-1.0, 11.0)
        assert padded_limits([100.0]) == (95.0, 105.0)
        assert padded_limits([0.0]) == (-1.0, 1.0)
        assert padded_limits([np.nan]) == (0.0, 1.0)

    def test_a_label_has_the_same_colour_in_every_figure(self):
        betas = [1.0, 2.0, 4.0]
        names = [label("beta", beta) for beta in betas]
        figures = make_all(betas)
        expected = plots.palette(names)
        legend = figures["loss"].legends[0]
        assert {
            text.get_text(): to_hex(line.get_color())
            for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
            if text.get_text() in names
        } == expected
        assert {
            text.get_text(): text.get_color() for text in figures["rate"].axes[0].texts if "β" in text.get_text()
        } == (expected)
        for name in ("samples", "traversals", "manifold"):
            assert {axes.get_title(): axes.title.get_color() for axes in figures[name].axes} == expected
        assert [axes.title.get_color() for axes in figures["kl"].axes] == list(expected.values())
        rows = figures["reconstructions"].axes[0].get_yticklabels()
        assert {row.get_text(): row.get_color() for row in rows[1:]} == expected

    def test_given_colours_win(self):
        images = make_images(["β = 2"], 4, 6, 6, 1)
        assert plots.samples(images, colors={"β = 2": "#123456"}).axes[0].title.get_color() == "#123456"


class TestLossCurves:
    def test_groups_members_by_value_and_split(self):
        curves = group_curves(make_history([4.0, 1.0], seeds=2), "beta", "reconstruction")
        assert [(curve.label, curve.split) for curve in curves] == [
            ("β = 1", "train"),
            ("β = 1", "test"),
            ("β = 4", "train"),
            ("β = 4", "test"),
        ]
        np.testing.assert_array_equal(curves[0].epochs, [1, 2, 3])
        np.testing.assert_array_equal(curves[0].values, [[102.0] * 3, [103.0] * 3])

    def test_draws_the_mean_and_the_range_of_the_seeds(self):
        axes = plots.loss_curves(make_history([1.0], seeds=3)).axes[1]
        train, test = axes.get_lines()
        np.testing.assert_array_equal(train.get_xydata(), [[1, 101], [2, 101], [3, 101]])
        assert (train.get_linestyle(), test.get_linestyle()) == ("-", "--")
        heights = axes.collections[0].get_paths()[0].vertices[:, 1]
        assert (heights.min(), heights.max()) == (100, 102)

    def test_the_note_counts_the_seeds_of_a_mean(self):
        figure = plots.loss_curves(make_history([1.0, 2.0], seeds=5, bad={0}))
        assert figure.get_supxlabel().startswith("Mean over 4 or 5 seeds;")

    def test_one_line_per_group_and_split_and_bands_only_for_several_seeds(self):
        figure = plots.loss_curves(make_history([1.0, 2.0, 3.0, 4.0]))
        assert [len(axes.get_lines()) for axes in figure.axes] == [8, 8, 8]
        assert [len(axes.collections) for axes in figure.axes] == [0, 0, 0]

    def test_axes_have_units(self):
        figure = plots.loss_curves(make_history([1.0]))
        assert [axes.get_title() for axes in figure.axes] == ["Loss", "Reconstruction", "KL"]
        assert {axes.get_ylabel() for axes in figure.axes} == {"nats per image"}
        assert {axes.get_xlabel() for axes in figure.axes} == {"epoch"}

    def test_a_diverged_member_leaves_the_mean_and_ends_with_a_cross(self):
        figure = plots.loss_curves(make_history([1.0], seeds=2, bad={1}))
        axes = figure.axes[1]
        means = [line for line in axes.get_lines() if line.get_linewidth() == 1.8]
        crosses = [line for line in axes.get_lines() if line.get_marker() == "x"]
        np.testing.assert_array_equal(means[0].get_ydata(), [100, 100, 100])
        assert figure.get_supxlabel() == ""
        assert [cross.get_xydata().tolist() for cross in crosses] == [[[1, 101]], [[1, 101]]]
        assert "1 of 2 diverged" in [text.get_text() for text in figure.legends[0].get_texts()]

    @pytest.mark.parametrize(("steps", "text"), [((1, 9), "after 1 to 9 steps"), ((1, 1), "after 1 step")])
    def test_the_legend_says_after_how_many_steps_members_diverged(self, steps, text):
        history = make_history([1.0], seeds=3, bad={1, 2})
        history = [row | {"steps": 99 if row["member"] == 0 else steps[row["member"] - 1]} for row in history]
        texts = [text.get_text() for text in plots.loss_curves(history).legends[0].get_texts()]
        assert texts[-1] == f"2 of 3 diverged\n{text}"

    def test_a_member_that_is_not_alive_has_diverged_though_its_values_are_finite(self):
        history = [row | {"alive": row["member"] != 1 or row["epoch"] < 3} for row in make_history([1.0], seeds=2)]
        train = group_curves(history, "beta", "reconstruction")[0]
        np.testing.assert_array_equal(train.values, [[100, 100, 100], [101, 101, np.nan]])
        np.testing.assert_array_equal(train.survived, [True, False])

    def test_an_explosion_does_not_set_the_scale(self):
        history = make_history([1.0, 2.0], bad={1})
        history = [row | {"reconstruction": 1e9} if row["beta"] == 2 and row["epoch"] == 1 else row for row in history]
        axes = plots.loss_curves(history).axes[1]
        top = axes.get_ylim()[1]
        crosses = [line for line in axes.get_lines() if line.get_marker() == "x"]
        assert top < 200
        assert [cross.get_ydata()[0] for cross in crosses] == [top, top]

    def test_nothing_but_nan(self):
        history = [row | {"loss": np.nan} for row in make_history([1.0])]
        assert plots.png(plots.loss_curves(history))

    def test_one_epoch_shows_markers_at_epoch_one(self):
        axes = plots.loss_curves(make_history([1.0, 2.0], seeds=2, epochs=1)).axes[0]
        assert {line.get_marker() for line in axes.get_lines()} == {"o"}
        assert [tick for tick in axes.get_xticks() if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]] == [1]

    def test_many_epochs_show_no_markers(self):
        axes = plots.loss_curves(make_history([1.0], epochs=100)).axes[0]
        assert {line.get_marker() for line in axes.get_lines()} == {"None"}

    def test_groups_by_another_hyperparameter(self):
        history = [row | {"learning_rate": 0.001} for row in make_history([1.0])]
        assert "lr = 0.001" in texts(plots.loss_curves(history, by="learning_rate"))

    def test_groups_by_texts_in_their_order(self):
        history = make_history([2.0, 1.0])
        rows = [row | {"label": "later" if row["beta"] == 1 else "a, first"} for row in reversed(history)]
        assert [curve.label for curve in group_curves(rows, "label", "loss")] == [
            "later",
            "later",
            "a, first",
            "a, first",
        ]

    def test_a_document_s_values_are_dots_in_the_panels_that_they_are_printed_for(self):
        printed = {"β = 1": [{"epoch": 1, "loss": 111.0}, {"epoch": 3, "loss": 105.0}]}
        figure = plots.loss_curves(make_history([1.0]), printed=printed)
        dots = [[line for line in axes.get_lines() if line.get_marker() == "D"] for axes in figure.axes]
        np.testing.assert_array_equal(dots[0][0].get_xydata(), [[1, 111], [3, 105]])
        assert all(len(line.get_xydata()) == 0 for panel in dots[1:] for line in panel)
        assert "document" in texts(figure)

    @pytest.mark.parametrize(
        ("epochs", "shown"), [(25, [*range(1, 26)]), (26, [*range(2, 27, 2)]), (100, [*range(4, 101, 4)])]
    )
    def test_of_a_long_trace_only_some_are_marked_and_always_the_last(self, epochs, shown):
        printed = {"β = 1": [{"epoch": epoch, "loss": 100.0} for epoch in range(1, epochs + 1)]}
        figure = plots.loss_curves(make_history([1.0]), printed=printed)
        (dots, *_) = [line for line in figure.axes[0].get_lines() if line.get_marker() == "D"]
        assert sorted(dots.get_xdata()) == shown


class TestRateDistortion:
    def test_one_marker_per_member_and_the_means_joined(self):
        points = make_points([1.0, 2.0, 1.0]) + make_points([4.0])
        points[2]["kl"] = 30.0
        lines = plots.rate_distortion(points).axes[0].get_lines()
        markers = sorted(tuple(line.get_xydata()[0]) for line in lines if line.get_marker() == "o")
        assert markers == [(5, 84), (10, 82), (20, 81), (30, 81)]
        (joined,) = [line for line in lines if len(line.get_xdata()) == 3]
        np.testing.assert_array_equal(joined.get_xydata(), [[25, 81], [10, 82], [5, 84]])

    def test_collapsed_members_are_hollow_and_explained(self):
        figure = plots.rate_distortion(make_points([1.0, 4.0], collapsed={4.0}))
        faces = [line.get_markerfacecolor() for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
        assert (faces[0] == "white", faces[1] == "white") == (False, True)
        assert "Hollow: posterior collapse" in figure.get_supxlabel()

    @pytest.mark.parametrize("sign", [{"kl": np.nan}, {"alive": False}])
    def test_a_diverged_member_is_counted_not_drawn(self, sign):
        points = make_points([1.0, 2.0])
        points[1].update(sign)
        figure = plots.rate_distortion(points)
        assert len([line for line in figure.axes[0].get_lines() if line.get_marker() == "o"]) == 1
        assert "Not shown: 1 diverged." in figure.get_supxlabel()

    def test_names_that_would_overlap_share_a_text(self):
        points = make_points([1.0, 8.0, 16.0])
        for point in points[1:]:
            point.update(kl=0.0, reconstruction=200.0)
        names = [text for text in texts(plots.rate_distortion(points)) if "β" in text]
        assert names == ["β = 1", "β = 8, β = 16"]

    def test_a_diagonal_label_is_the_sum_of_its_coordinates(self):
        axes = plots.rate_distortion(make_points([1.0, 2.0, 4.0])).axes[0]
        sums = [text for text in axes.texts if "β" not in text.get_text()]
        assert sums
        assert all(float(text.get_text()) == pytest.approx(sum(text.xy)) for text in sums)

    def test_axes_have_units(self):
        axes = plots.rate_distortion(make_points([1.0])).axes[0]
        assert axes.get_xlabel() == "rate: KL (nats per image)"
        assert axes.get_ylabel() == "distortion: reconstruction (nats per image)"

    def test_all_members_diverged(self):
        points = [point | {"kl": np.nan} for point in make_points([1.0, 2.0])]
        assert plots.png(plots.rate_distortion(points))


class TestRoofline:
    def draw(self):
        points = [Point("a", "xla", 0.1, 1e8), Point("a", "pallas", 10.0, 5e10), Point("b", "xla", 100.0, 9e10)]
        return roofline(points, 1e9, {"float32": 1e11, "bfloat16": 5e10}, "Kernels on a device")

    def test_the_roof_is_the_lower_of_memory_and_arithmetic(self):
        (axes,) = self.draw().axes
        for line, peak in zip(axes.lines, (1e11, 5e10), strict=True):
            x, y = line.get_data()
            np.testing.assert_allclose(y, np.minimum(1e9 * x, peak))
            assert x[0] < 0.1
            assert x[-1] > 100.0

    def test_points_and_what_they_are(self):
        figure = self.draw()
        (axes,) = figure.axes
        drawn = [tuple(points.get_offsets()[0]) for points in axes.collections if len(points.get_offsets())]
        assert drawn == [(0.1, 1e8), (10.0, 5e10), (100.0, 9e10)]
        first, second, third = (points.get_facecolor()[0] for points in axes.collections[:3])
        np.testing.assert_array_equal(first, second)
        assert not np.array_equal(first, third)
        legend = [text.get_text() for text in axes.get_legend().get_texts()]
        assert legend == ["a", "b", "xla", "pallas"]
        assert {"copy: 1.0 GB/s", "float32 product: 100 GFLOP/s", "bfloat16 product: 50 GFLOP/s"} <= set(texts(figure))


class TestKlPerDimension:
    def test_bars_are_sorted_and_the_active_ones_filled(self):
        figure = plots.kl_per_dimension({"β = 1": [0.0, 3.0, 0.2, 1.0]}, {"β = 1": [False, True, False, True]})
        (axes,) = figure.axes
        color, grey = plots.palette(["β = 1"])["β = 1"], "#cccccc"
        assert [bar.get_height() for bar in axes.patches] == [3.0, 1.0, 0.2, 0.0]
        assert [to_hex(bar.get_facecolor()) for bar in axes.patches] == [color, color, grey, grey]
        assert axes.get_title() == "β = 1: 2 of 4 active"
        assert axes.get_ylabel() == "KL (nats per image)"

    def test_members_share_the_scale(self):
        kl = {"β = 1": [5.0, 1.0], "β = 4": [1.0, 0.0]}
        figure = plots.kl_per_dimension(kl, {name: [True, True] for name in kl})
        assert len({axes.get_ylim() for axes in figure.axes}) == 1

    def test_nan_draws_nothing(self):
        figure = plots.kl_per_dimension({"β = 1": [np.nan, np.nan]}, {"β = 1": [False, False]})
        assert plots.png(figure)


class TestPictures:
    def test_reconstructions_stand_below_their_originals(self):
        original = np.zeros((3, 2, 2, 1))
        figure = plots.reconstructions(original, {"a": original + 0.25, "b": original + 0.75})
        (axes,) = figure.axes
        expected = [0.0, 0.0, 1.0, 0.25, 0.25, 1.0, 0.75, 0.75]
        np.testing.assert_allclose(picture(axes)[:, 0], expected)
        assert [text.get_text() for text in axes.get_yticklabels()] == ["original", "a", "b"]
        np.testing.assert_allclose(axes.get_yticks(), [0.5, 3.5, 6.5])

    def test_samples_make_a_square(self):
        images = np.arange(36.0).reshape(36, 1, 1, 1) / 36
        (axes,) = plots.samples({"a": images}).axes
        np.testing.assert_allclose(picture(axes)[::2, ::2], images.reshape(6, 6), rtol=1e-6)

    def test_traversals_print_positions_and_kl(self):
        images = {"a": np.zeros((2, 3, 4, 4, 1)), "b": np.zeros((2, 3, 4, 4, 1))}
        figure = plots.traversals(images, [-3, 0, 3], {"a": [5.125, 0.5], "b": [4, 0]})
        first, second = figure.axes
        assert [text.get_text() for text in first.get_xticklabels()] == ["−3", "0", "3"]
        assert [text.get_text() for text in first.get_yticklabels()] == ["5.12", "0.50"]
        assert [text.get_text() for text in second.get_yticklabels()] == ["4.00", "0.00"]

    def test_manifold_grows_to_the_right_and_upwards(self):
        images = np.arange(4.0).reshape(2, 2, 1, 1, 1) / 4  # [z2, z1]
        (axes,) = plots.manifold({"a": images}, [0.1, 0.9]).axes
        np.testing.assert_allclose(picture(axes)[::2, ::2], [[0.5, 0.75], [0.0, 0.25]])
        places = {text.get_text(): tick for tick, text in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)}
        assert places == {"10%": 2, "90%": 0}  # image rows count downwards
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("z₁", "z₂")

    def test_grey_images_are_white_ink_on_black(self):
        (axes,) = plots.samples({"a": np.zeros((1, 4, 4, 1))}).axes
        image = axes.get_images()[0]
        assert image.get_cmap().name == "gray"
        assert image.get_clim() == (0, 1)

    def test_colour_images_keep_their_colour(self):
        (axes,) = plots.samples({"a": np.full((1, 4, 4, 3), [0.25, 0.5, 0.75])}).axes
        np.testing.assert_allclose(picture(axes)[0, 0], [0.25, 0.5, 0.75])

    def test_classes_name_their_rows(self):
        (axes,) = plots.class_samples(make_images(["a"], 3, 5, 4, 4, 1), ["boot", "bag", "coat"]).axes
        assert [text.get_text() for text in axes.get_yticklabels()] == ["boot", "bag", "coat"]


class TestScatter:
    def test_points_have_the_colour_of_their_class(self):
        (axes,) = plots.scatter({"m": [[0, 1], [2, 3], [4, 5]]}, [1, 0, 1], ["a", "b"], "t").axes
        points = axes.collections[0]
        np.testing.assert_array_equal(points.get_offsets(), [[0, 1], [2, 3], [4, 5]])
        first, second, third = points.get_facecolors()[:, :3]
        assert (first == third).all()
        assert (first != second).any()

    def test_the_prior_s_circles_hold_their_share(self):
        (axes,) = plots.scatter({"m": np.zeros((3, 2))}, [0, 0, 0], ["a"], "t", prior=True).axes
        radii = [circle.get_radius() for circle in axes.patches]
        sample = np.linalg.norm(np.random.default_rng(0).normal(size=(200_000, 2)), axis=1)
        np.testing.assert_allclose([(sample < radius).mean() for radius in radii], [0.5, 0.95], atol=0.005)


OVERLAP = 2  # pixels
OUTSIDE = 0.1 * plots.style.DPI  # pixels; `plots.png` crops to what is drawn
THREE = "lr = 0.005, warm-up = {}, σ² = 0.5"
WORDS = "Squared error summed over all the pixels of run {}"
SEVEN = "lr = 0.005, warm-up = {}, β = 1.5, σ² = 0.25, white above = 0.5, white weight = 1.5, black = 1"


def long_named(kind, names):
    """A figure of `kind` whose members have these names."""
    image, rows = np.zeros((12, 8, 8, 1)), np.zeros((10, 9, 8, 8, 1))
    images, blocks = dict.fromkeys(names, image), dict.fromkeys(names, rows)
    points = [{**point, "label": name} for point, name in zip(make_points(np.arange(1.0, 17)), names, strict=False)]
    history = [{**row, "label": names[int(row["beta"])]} for row in make_history(np.arange(len(names)), seeds=2)]
    builders = {
        "curves": lambda: plots.loss_curves(history, "label"),
        "rate": lambda: plots.rate_distortion(points, "label"),
        "kl": lambda: plots.kl_per_dimension(
            dict.fromkeys(names, np.arange(20.0)), dict.fromkeys(names, np.arange(20) > 1)
        ),
        "samples": lambda: plots.samples(dict.fromkeys(names, np.zeros((36, 8, 8, 1)))),
        "reconstructions": lambda: plots.reconstructions(image, images),
        "class samples": lambda: plots.class_samples(dict.fromkeys(names, rows[:, :8]), [f"c{k}" for k in range(10)]),
        "interpolations": lambda: plots.interpolations(dict.fromkeys(names, rows[:6]), "note"),
        "traversals": lambda: plots.traversals(blocks, np.linspace(-3, 3, 9), dict.fromkeys(names, np.ones(10))),
        "manifold": lambda: plots.manifold(
            dict.fromkeys(names, np.zeros((16, 16, 8, 8, 1))), np.linspace(0.1, 0.9, 16)
        ),
        "scatter": lambda: plots.scatter(dict.fromkeys(names, np.zeros((2, 2))), [0, 1], ["a", "b"], "title"),
    }
    return builders[kind]()


class TestLongNames:
    """Members that differ in several scalars have long names; no figure may let them overlap or leave the picture."""

    @pytest.mark.parametrize("count", [3, 8, 16])
    @pytest.mark.parametrize("name", [THREE, SEVEN, WORDS], ids=["three", "seven", "words"])
    @pytest.mark.parametrize(
        "kind",
        [
            *("curves", "rate", "kl", "samples", "reconstructions"),
            *("class samples", "interpolations", "traversals", "manifold", "scatter"),
        ],
    )
    def test_no_two_texts_overlap(self, kind, name, count):
        names = [name.format(100 * k) for k in range(count)]
        figure = long_named(kind, names)
        figure.draw_without_rendering()
        renderer = FigureCanvasAgg(figure).get_renderer()
        words = [text for text in figure.findobj(Text) if any(map(str.isalpha, text.get_text()))]  # no numbers of axes
        shown = [text for text in words if text.get_visible()]
        boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in shown]
        assert sum(name[:2] in text for text, _ in boxes) == count
        for index, (one, box) in enumerate(boxes):
            assert box.x0 > -OUTSIDE, one
            assert box.y0 > -OUTSIDE, one
            assert box.x1 < figure.bbox.x1 + OUTSIDE, one
            assert box.y1 < figure.bbox.y1 + OUTSIDE, one
            for other, another in boxes[index + 1 :]:
                across = min(box.x1, another.x1) - max(box.x0, another.x0)
                down = min(box.y1, another.y1) - max(box.y0, another.y0)
                assert across < OVERLAP or down < OVERLAP, (one, other)

    def test_points_of_no_order_are_not_joined(self):
        points = [{**point, "label": f"beta {point['beta']}"} for point in make_points([4.0, 1.0, 2.0])]
        ordered, unordered = (plots.rate_distortion(points, by) for by in ("beta", "label"))
        lines = [line for line in ordered.axes[0].get_lines() if len(line.get_xdata()) == 3]
        np.testing.assert_allclose(lines[0].get_xdata(), [20, 10, 5])  # by beta, whatever the order of the points
        assert not [line for line in unordered.axes[0].get_lines() if len(line.get_xdata()) == 3]
        assert "Line:" not in " ".join(texts(unordered))


class TestFiles:
    @pytest.mark.parametrize(
        ("betas", "channels"), [([1.0], 1), ([1.0, 4.0], 3), (np.linspace(0.25, 4, 16), 1)], ids=["one", "rgb", "16"]
    )
    def test_every_figure_saves_at_a_readable_size(self, tmp_path, betas, channels):
        for name, figure in make_all(betas, channels).items():
            path = tmp_path / f"{name}.png"
            plots.save(figure, path)
            height, width, _ = matplotlib.image.imread(path).shape
            assert 400 <= width <= 1700, name
            assert 150 <= height <= 2600, name
        assert len(list(tmp_path.iterdir())) == 10  # no temporary file stays

    def test_the_border_is_white_so_nothing_is_cut(self):
        for name, figure in make_all([1.0, 4.0]).items():
            image = read(plots.png(figure))
            edges = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
            assert (edges == 1).all(), name

    def test_save_replaces_the_old_file(self, tmp_path):
        path = tmp_path / "figure.png"
        path.write_bytes(b"old")
        plots.save(plots.rate_distortion(make_points([1.0])), path)
        assert path.read_bytes().startswith(b"\x89PNG")

    def test_shrink_keeps_the_picture_and_the_aspect(self):
        whole = read(data := plots.png(plots.samples({"a": np.random.default_rng(0).random((9, 8, 8, 1))})))
        small = plots.shrink(data, 300)
        image = read(small)
        assert image.shape[1] == 300
        np.testing.assert_allclose(image.shape[0] / 300, whole.shape[0] / whole.shape[1], rtol=0.01)
        np.testing.assert_allclose(image[..., :3].mean(), whole[..., :3].mean(), atol=0.01)
        assert read(plots.shrink(data, 10_000)).shape[1] == whole.shape[1]  # never enlarged

    def test_shrink_keeps_the_colours_of_few_pixels(self):
        picture = np.repeat(np.random.default_rng(0).integers(0, 256, (200, 200, 1), np.uint8), 3, axis=2)
        colours = np.round(255 * np.array([to_rgb(f"C{k}") for k in range(10)])).astype(np.uint8)
        picture[:4, :40] = np.repeat(colours, 4, axis=0)  # ten squares of 4 x 4 pixels among 40,000 grey ones
        data = io.BytesIO()
        Image.fromarray(picture).save(data, "PNG")
        small = read(plots.shrink(data.getvalue(), 800))
        np.testing.assert_allclose(small[1, 1:40:4, :3], colours / 255, atol=0.12)

    def test_a_notebook_shows_the_figure(self):
        assert plots.rate_distortion(make_points([1.0]))._repr_png_().startswith(b"\x89PNG")

    def test_imports_neither_pyplot_nor_jax(self):
        code = "import sys, jaxvae.plots; print('matplotlib.pyplot' in sys.modules, 'jax' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["False", "False"]
