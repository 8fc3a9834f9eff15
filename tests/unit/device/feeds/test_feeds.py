"""Feeds: everybody has a turn, whoever breaks harms nobody and comes back."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from driftline_device.config import load_config
from driftline_device.feeds.fair import FairFeeds
from driftline_device.feeds.reader import FeedPlan
from driftline_device.feeds.region import cut
from driftline_device.feeds.settings import FeedConfig
from driftline_device.program.service import check_standing
from driftline_device.program.sources import open_sources
from driftline_device.runtime.runtime import Question
from driftline_shared.errors import ConfigError, DataError
from driftline_shared.retry import Backoff
from tests.fakes.clock import FakeClock
from tests.fakes.runtime import picture
from tests.fakes.waiting import until

QUICK = Backoff(first_s=0.01, cap_s=0.02, floor_s=0.005)


@dataclass
class Pictures:
    """A source of `num` pictures; breaks after `breaks_after`, waits where `go` is not set."""

    name: str = "camera"
    num: int = 1000
    breaks_after: int | None = None
    go: threading.Event | None = None
    num_broken: int = 0

    def __iter__(self) -> Generator[Question | None, None, None]:
        for number in range(self.num):
            if number == self.breaks_after:
                raise DataError("it is gone")
            while self.go is not None and not self.go.wait(0.01):
                yield None
            yield Question(image=picture(number), text="its own", place=f"{self.name}#{number}")


def plan(name: str, source: Pictures | None = None, **changes: object) -> FeedPlan:
    made = source or Pictures(name)
    values = {"texts": ("what?",), **changes}
    return FeedPlan(name=name, open=lambda: made, **values)  # type: ignore[arg-type]


def feeds(*plans: FeedPlan) -> FairFeeds:
    return FairFeeds(plans, backoff=QUICK)


def questions(source: FairFeeds) -> Iterator[Question]:
    return (row for row in source if row is not None)


def test_all_have_their_turn_whoever_is_quicker() -> None:
    """In a round, which None ends, each has one turn at most; in the end nobody was passed over."""
    names = ("one", "two", "three")
    rounds: list[list[str]] = [[]]
    for row in feeds(*(plan(name, Pictures(name, num=50)) for name in names)):
        if row is None:
            rounds.append([])
        else:
            rounds[-1].append(row.feed)
    assert all(len(set(each)) == len(each) for each in rounds)
    assert Counter(itertools.chain(*rounds)) == dict.fromkeys(names, 50)


def test_one_that_has_nothing_holds_nobody_up() -> None:
    stalled = Pictures("stalled", go=threading.Event())
    with closing(iter(feeds(plan("stalled", stalled), plan("live")))) as rows:
        asked = [row.feed for row in itertools.islice((r for r in rows if r is not None), 50)]
    assert asked == ["live"] * 50


def test_all_questions_of_a_picture_come_together_with_its_feed() -> None:
    given_plan = plan("door", Pictures("camera:0", num=3), texts=("open?", "who?"))
    found = list(questions(feeds(given_plan)))
    assert [each.text for each in found] == ["open?", "who?"] * 3
    assert [each.place for each in found[::2]] == [f"camera:0#{n}" for n in range(3)]
    assert {(each.feed, each.source, each.domain) for each in found} == {
        ("door", "camera:0", "door")
    }
    assert found[0].image is found[1].image


def test_rows_of_a_data_set_bring_their_own_questions() -> None:
    (found,) = questions(feeds(plan("data", Pictures(num=1), texts=())))
    assert found.text == "its own"


def test_one_that_breaks_is_opened_again_and_named_once() -> None:
    opened: list[Pictures] = []

    def open_it() -> Pictures:
        opened.append(Pictures("bad", num=5, breaks_after=None if len(opened) == 6 else 2))
        if len(opened) in (2, 3):
            raise DataError("it is not there")
        return opened[-1]

    bad = FeedPlan(name="bad", open=open_it, texts=("what?",))
    with capture_logs() as logs:
        found = [each.feed for each in questions(feeds(bad, plan("good", Pictures(num=40))))]
    assert found.count("good") == 40
    assert found.count("bad") == 4 * 2 + 5
    events = [each["event"] for each in logs]
    assert events.count("feed.lost") == 1 and events.count("feed.back") == 1


def test_of_a_camera_only_the_newest_picture_waits() -> None:
    source = Pictures(num=20)
    reader = feeds(plan("door", source, newest_only=True))
    with closing(iter(reader)) as rows:
        first = next(row for row in rows if row is not None)
        until(lambda: reader._readers[0]._over)
        rest = [row.place for row in rows if row is not None]
    assert [first.place, *rest][-1] == "camera#19" and len(rest) <= 1


def test_stopping_ends_every_thread() -> None:
    with closing(iter(feeds(plan("one"), plan("two", Pictures(go=threading.Event()))))) as rows:
        next(rows)
    assert not [each for each in threading.enumerate() if each.name.startswith("driftline-feed")]


SHARES = st.floats(0.0, 0.999)


@settings(max_examples=50)
@given(
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    corner=st.tuples(SHARES, SHARES),
    extent=st.tuples(st.floats(0.001, 1.0), st.floats(0.001, 1.0)),
)
def test_a_region_is_inside_and_covers_what_was_asked_for(
    size: tuple[int, int], corner: tuple[float, float], extent: tuple[float, float]
) -> None:
    region = (*corner, min(extent[0], 1 - corner[0]), min(extent[1], 1 - corner[1]))
    rows, columns = np.mgrid[: size[0], : size[1]]
    image = np.stack([rows, columns, rows], axis=2).astype(np.uint8)
    part = cut(image, region)
    assert part.size and part.flags.owndata
    for axis, (begin, length) in enumerate(((corner[1], region[3]), (corner[0], region[2]))):
        lowest, highest = int(part[..., axis].min()), int(part[..., axis].max()) + 1
        assert lowest <= begin * size[axis] + 1e-5
        assert highest >= min(size[axis], (begin + length) * size[axis]) - 1e-5
        assert highest - lowest <= length * size[axis] + 2


def test_a_half_is_exactly_half() -> None:
    image = np.zeros((480, 640, 3), dtype=np.uint8)
    assert cut(image, (0.5, 0.0, 0.5, 1.0)).shape == (480, 320, 3)
    assert cut(image, (0.1, 0.2, 0.3, 0.4)).shape == (192, 192, 3)
    assert cut(image, (0.0, 0.0, 1.0, 1.0)).shape == image.shape


@pytest.mark.parametrize(
    "region", [(0, 0, 0, 1), (1, 0, 0.1, 1), (-0.1, 0, 1, 1), (0.5, 0, 0.6, 1), (0, 0, 640, 480)]
)
def test_a_region_past_the_picture_is_refused(region: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="picture"):
        FeedConfig.model_validate({"name": "a", "source": "camera:0", "region": region})


def test_a_feed_that_never_was_is_tried_ever_more_seldom_and_says_so() -> None:
    clock, tries = FakeClock(), 0

    def open_() -> Pictures:
        nonlocal tries
        tries += 1
        # A video that opens and breaks at once is no better than one that is not there.
        return Pictures("gone", breaks_after=0)

    source = FairFeeds([FeedPlan(name="gone", open=open_, texts=("what?",))], clock=clock)
    with closing(iter(source)) as rows:
        until(lambda: next(rows) is None and tries >= 60)
        state = source.states()["gone"]
    assert (state["state"], state["num_pictures"], state["error"]) == ("away", 0, "it is gone")
    assert sum(clock.waits[40:60]) / 20 > 60, "minutes between tries, in the mean"


def test_source_and_feeds_together_are_an_error_with_a_fix(tmp_path: Path) -> None:
    config = load_config(
        overrides={"feeds": [{"name": "door", "source": str(tmp_path), "questions": ["open?"]}]},
        environment={},
    )
    with pytest.raises(ConfigError, match="door"):
        open_sources([str(tmp_path)], config)
    assert [each.name for each in open_sources([], config)] == ["feeds"]


def test_a_question_that_never_fits_the_model_is_a_wrong_setting() -> None:
    class Short:
        def check_question(self, text: str) -> None:
            if len(text) > 5:
                raise DataError("the question ends at position 663", fix="ask a shorter one")

    with pytest.raises(ConfigError, match="yard: the question ends at position 663"):
        check_standing(Short(), [("door", "open?"), ("yard", "what is in it?")])  # type: ignore[arg-type]
