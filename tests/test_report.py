"""A report keeps every figure on its way through JSON, and says what it is asked."""

import msgspec
import pytest
from app.report import (
    Agreement,
    Interval,
    Latency,
    Machine,
    Quality,
    Report,
    Size,
    Slice,
    Verdict,
)
from hypothesis import given
from hypothesis import strategies as st

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
INTERVALS = st.builds(Interval, FLOATS, FLOATS, FLOATS)
COUNTS = st.integers(0, 2**53)
REPORTS = st.builds(
    Report,
    quality=st.none()
    | st.builds(
        Quality,
        rows=COUNTS,
        users=COUNTS,
        auc=INTERVALS,
        auc_ratio=INTERVALS,
        gauc=FLOATS,
        log_loss=FLOATS,
        normalized_entropy=FLOATS,
        calibration_error=FLOATS,
        ndcg_at_10=INTERVALS,
        ndcg_at_10_ratio=INTERVALS,
        hit_rate_at_10=INTERVALS,
    ),
    agreement=st.none() | st.builds(Agreement, *[FLOATS] * 6),
    slices=st.lists(st.builds(Slice, st.text(), COUNTS, FLOATS, FLOATS), max_size=2),
    size=st.builds(Size, COUNTS, COUNTS, FLOATS),
    latency=st.lists(st.builds(Latency, COUNTS, COUNTS, FLOATS, FLOATS, FLOATS), max_size=3),
    machine=st.builds(
        Machine, st.text(), st.lists(st.text(), max_size=2), COUNTS, COUNTS, st.text(), st.text()
    ),
    seconds=FLOATS,
)
SMALL = Report(
    quality=None,
    agreement=None,
    slices=[],
    size=Size(10, 2, 4.0),
    latency=[Latency(1, 600, 0.1, 0.2, 1.5), Latency(100, 600, 1.0, 2.0, 2.5)],
    machine=Machine("a processor", ["avx2"], 2, 2**30, "6.1", "1.32"),
    seconds=1.0,
)


@given(report=REPORTS)
def test_a_report_comes_back_from_json_as_it_was(report: Report) -> None:
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


def test_latency_is_found_by_the_number_of_candidates() -> None:
    assert SMALL.latency_at(100) == SMALL.latency[1]
    assert SMALL.latency_at(10) is None


@pytest.mark.parametrize(
    ("outcome", "may_serve"), [("baseline", True), ("passed", True), ("rejected", False)]
)
def test_auto_may_choose_what_was_not_rejected(outcome: str, may_serve: bool) -> None:
    verdict = msgspec.convert({"outcome": outcome, "reason": "because"}, Verdict)
    assert verdict.may_serve is may_serve


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"seconds":1.0', b'"seconds":"1"'),
        (b'"seconds":1.0', b'"seconds":null'),
        (b'"seconds":1.0', b'"seconds":1.0,"extra":1'),
        (b'"compression_ratio":4.0', b'"ratio":4.0'),
        (b'"quality":null,', b""),
    ],
)
def test_a_foreign_report_is_refused(before: bytes, after: bytes) -> None:
    data = msgspec.json.encode(SMALL)
    assert before in data
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(data.replace(before, after), type=Report)


def test_a_verdict_has_one_of_three_outcomes() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"outcome": "maybe", "reason": ""}', type=Verdict)
