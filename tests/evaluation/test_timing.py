"""Operations timed in turns."""

from treeinf.evaluation.timing import Timing, take_turns


def test_operations_take_turns_after_one_untimed_run_each():
    calls = []
    work = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = take_turns(work, 2)
    # so short a turn is repeated 8 times as often
    assert calls == ["a", "b"] * (1 + 16)
    assert len(times["a"].seconds) == len(times["b"].seconds) == 16


def test_what_is_run_once_is_not_run_before():
    calls = []
    work = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = take_turns(work, 1, once=["b"])
    assert calls.count("b") == len(times["b"].seconds) == 1
    assert calls[-1] == "b"


def test_what_prepares_is_called_before_each_turn():
    made, seen = [], []

    def prepare():
        made.append(len(made))
        return made[-1]

    take_turns({"a": seen.append}, 1, prepare={"a": prepare})
    assert seen == made == list(range(1 + 8))


def test_summary_of_times():
    timing = Timing([3.0, 1.0, 2.0])
    assert timing.median == 2.0
    assert timing.spread == (1.0, 3.0)
