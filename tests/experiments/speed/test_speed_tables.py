"""The benchmark's tables and picture, from made-up epochs."""

import csv

import pytest

from experiments.speed import costs, devices, members, profile, tables, variants
from experiments.speed.ours import Epoch
from experiments.speed.picture import draw
from experiments.speed.profile import operations, rows
from experiments.speed.rounds import Round, Rounds
from experiments.speed.training import Result


def make_result(model="A", losses=(100.0, 90.0)):
    def epochs(seconds, factor=1.0):
        first = Epoch(200.0, 99.0, (600.0, 500.0))
        return [first] + [Epoch(factor * loss, s, (1.0, 1.0), 0.25) for loss, s in zip(losses, seconds, strict=True)]

    return Result(
        model,
        batch_size=128,
        images=1000,
        epochs={
            "jaxvae": epochs((1.0, 2.0)),
            "PyTorch, tuned": epochs((2.0, 6.0), 1.005),
            "PyTorch, as written": epochs((8.0, 8.0)),
        },
        counted=[1, 2],
        started={"jaxvae, cold": 5.0, "jaxvae": 4.0, "PyTorch, tuned": 3.0, "PyTorch, as written": 2.0},
        memory={"jaxvae": 2**20, "PyTorch, tuned": 2**21, "PyTorch, as written": 2**22},
        compilation={"cold": 3.0, "warm": 0.5},
        variant="eager",
        tried={"eager": 0.01, "compiled": "failed: Broken"},
        peaks={"jaxvae": 1e9, "PyTorch, tuned": 0.5e9},
        flops=300_000.0,
        bytes=2000.0,
        environment={"jaxvae": {"device": "cpu"}},
    )


def test_ratios_are_of_epochs_side_by_side_and_the_first_is_not_timed():
    result = make_result()
    assert result.seconds("jaxvae") == 1.5
    assert result.times("PyTorch, tuned") == 2.5  # the median of 2 and 3
    assert result.times("PyTorch, as written") == 6.0
    assert result.share_of_peak("jaxvae") == pytest.approx(0.2)


def test_rounds_that_do_not_count_are_not_timed():
    result = make_result()._replace(counted=[2])
    assert result.seconds("jaxvae") == 2.0
    assert result.times("PyTorch, tuned") == 3.0
    assert tables.spread(result, "PyTorch, tuned") == "6.00 (6.00 to 6.00)"
    assert tables.training_row(result)[-1] == "1 of 2"


def test_losses_are_compared():
    result = make_result()
    assert tables.agreement(result) == ("agree: 0e+00 (0e+00)", "0.00% (0.00%)", "0.50% (0.50%)")
    result.epochs["PyTorch, tuned"][0] = Epoch(202.0, 8.0, (600.0, 500.0025))
    assert tables.agreement(result) == ("agree: 5e-06 (5e-06)", "1.00% (0.99%)", "0.50% (0.50%)")


@pytest.mark.parametrize("losses", [(600.0, 500.01), (600.0, 499.99), (600.0, float("nan")), (1e999, 500.0)])
def test_first_steps_that_differ_are_marked(losses):
    differ = make_result()
    differ.epochs["PyTorch, as written"][0] = Epoch(200.0, 8.0, losses)
    assert tables.agreement(differ)[0].startswith("DIFFER")


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_marked(loss):
    differ = make_result()
    differ.epochs["PyTorch, tuned"][2] = Epoch(loss, 8.0, ())
    assert tables.agreement(differ)[0].startswith("DIFFER")


def test_stolen_time_may_not_be_known():
    assert tables.stolen(make_result().epochs["jaxvae"][:1]) == "not known"


def test_files(tmp_path):
    tables.write([make_result("A"), make_result("B")], tmp_path)
    with (tmp_path / "speed.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 2 * 3 * 3
    first = {"model": "A", "contestant": "jaxvae", "epoch": "1", "seconds": "1.0000", "loss": "100.0000"}
    assert found[1] == {**first, "stolen": "0.2500", "counted": "1"}
    assert found[0]["stolen"] == ""
    text = (tmp_path / "speed.md").read_text()
    assert (
        "| A | 128 | 1.50 (1.00 to 2.00) | 4.00 (2.00 to 6.00) | 8.00 (8.00 to 8.00) | 2.50 | 6.00 | 20% | 8% |" in text
    )
    assert text.count("| 25%, 25%, 25% | 2 of 2 |") == 2
    assert "| B | 3.0 s | 0.5 s | 5.0 s | 4.0 s | 3.0 s | 2.0 s | 1 MiB | 2 MiB | 4 MiB | 0.30 | 2 |" in text
    assert (tmp_path / "speed.png").stat().st_size > 10_000


@pytest.mark.parametrize("count", [1, 4])
def test_the_picture_has_a_panel_for_each_model(count):
    figure = draw([make_result(name) for name in "ABCD"[:count]])
    assert [axes.get_title() for axes in figure.axes] == [f"{name}, batch 128" for name in "ABCD"[:count]]
    bars = [patch.get_height() for patch in figure.axes[0].patches]
    assert bars == [1.5, 4.0, 8.0]


def test_costs_as_a_row():
    def rounds(numbers, *found):
        return Rounds([Round(seconds, processor, stolen) for seconds, processor, stolen in found], numbers)

    evaluation = rounds(
        [0, 1], ((2.0, 2.5), (4.0, 4.4), 0.04), ((2.0, 2.2), (4.0, 4.4), None), ((1.0, 9.0), (1.0, 9.0), 0.5)
    )
    files = rounds([0], ((10.0, 10.5), (20.0, 20.4), None))
    sweep = rounds(
        [0, 1, 2],
        *(((5.0, 30.0), (9.0, 54.0), 0.0), ((4.0, 20.0), (9.0, 45.0), 0.01), ((5.0, 35.0), (9.0, 54.0), 0.02)),
    )
    found = costs.Costs(evaluation, files, sweep, 2, (1.0, 1.5, 2.0, 2.5))
    assert dict(zip(costs.HEADER, costs.row("A", found), strict=True)) == {
        "model": "A",
        "training, s/epoch": "2.00 (2.00 to 2.00)",
        "evaluation": "17.5% (10.0% to 25.0%)",
        "evaluation, processor time": "10.0% (10.0% to 10.0%)",
        "files and progress": "5.0% (5.0% to 5.0%)",
        "files and progress, processor time": "2.0% (2.0% to 2.0%)",
        "6 members, s/epoch": "15.00 (10.00 to 17.50)",
        "times one's": "6.00 (5.00 to 7.00)",
        "times one's processor time": "6.00 (5.00 to 6.00)",
        "stolen": "4%, not known, 2%",
        "rounds that count": "2 of 3, 1 of 1, 3 of 3",
        "compile 1": "1.0 s",
        "compile 4": "1.5 s",
        "compile 16": "2.0 s",
        "compile 64": "2.5 s",
    }


def test_a_profile_says_what_its_epoch_took():
    found = profile.Profile([profile.Operation("dot", "f32[2]", "here", 4, 3.0)], 128, 2.0, 0.25)
    text = profile.page(found)
    assert "| dot | f32[2] | here | 4 | 750000 | 100.0% |" in text
    assert "of 128 images took 2.00 s; its operations add up to 3.00 s" in text
    assert text.endswith("meanwhile was 25%.\n")
    assert profile.page(found._replace(stolen=None)).endswith("meanwhile is not known.\n")


def test_members_and_variants_as_rows():
    found = members.rows("A", [members.Measured(1, 1, 0.5), members.Measured(4, 4, 0.75)])
    assert found[1] == ("A", "4", "4", "0.750", "0.1875", "1.50")
    assert variants.rows("A", [variants.Measured("gemm", "float32", 0.5, 99.0)]) == [
        ("A", "gemm", "float32", "0.500", "99.000")
    ]


def test_a_trace_is_added_up_by_operation():
    compiled = """
  %dot.1 = f32[8,4]{1,0} dot(%a, %b), metadata={op_name="jit(f)/while/body/closed_call/encoder/Dense_0/dot_general"}
  ROOT fusion.2 = f32[4]{0} fusion(%dot.1), kind=kLoop
  %sort.3 = (u32[4]{0}, s32[4]{0}) sort(%a, %b), dimensions={0}
"""
    events = [
        {"ph": "X", "dur": 10.0, "args": {"hlo_op": "dot.1"}},
        {"ph": "X", "dur": 30.0, "args": {"hlo_op": "dot.1"}},
        {"ph": "X", "dur": 10.0, "args": {"hlo_op": "fusion.2"}},
        {"ph": "X", "dur": 5.0, "args": {"hlo_op": "sort.3"}},
        {"ph": "X", "dur": 99.0, "args": {"hlo_op": "while.3"}},  # its time is that of what it calls
        {"ph": "M", "dur": 99.0, "args": {"hlo_op": "dot.1"}},
        {"ph": "X", "dur": 99.0},
    ]
    found = operations(events, compiled)
    assert [(o.name, o.result, o.source, o.calls) for o in found] == [
        ("dot.1", "f32[8,4]", "encoder/Dense_0/dot_general", 2),
        ("fusion.2", "f32[4]", "", 1),
        ("sort.3", "(u32[4]{0}, s32[4]{0})", "", 1),
    ]
    assert found[0].seconds == pytest.approx(40e-6)
    shown = rows(found, count=1)
    assert shown[0][3:] == ("2", "20", "72.7%")
    assert shown[1] == ("2 more", "", "", "2", "7", "27.3%")


def test_devices_are_compared_with_one_in_the_same_round():
    names = devices.ways(2)
    assert len(names) == 7  # one and two devices by mesh and pmap, data on the host; eight members on one and two
    two = [tuple(1.0 + at for at in range(7)), tuple(2.0 * (1.0 + at) for at in range(7))]
    table = devices.rows("A", (names, Rounds([Round(seconds, seconds, 0.01) for seconds in two], [0, 1])))
    at = {row[1:4]: row[4:] for row in table}
    assert at["1", "1", "mesh"] == ("1.50", "", "1%", "2 of 2")
    assert at["1", "2", "pmap"] == ("6.00", "4.00 (4.00 to 4.00)", "1%", "2 of 2")
    assert at["1", "1", "mesh, data on the host"][:2] == ("7.50", "5.00 (5.00 to 5.00)")
    assert at["8", "1", "mesh"][1] == ""
    assert at["8", "2", "mesh"][1] == "1.17 (1.17 to 1.17)"  # 7 / 6
