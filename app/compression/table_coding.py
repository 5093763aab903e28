"""From a table of floats to its form in small codes, some rows at a time.

The table is read twice: once for its ranges, which are small, and once for its codes, which go where they will stay.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from app.compression.row_codes import Ranges, codes_of, fit_in_fp16, ranges_of
from app.compression.table_forms import Encoding, Form, block_of
from app.compression.table_trial import Trial, fastest, fault_of, make_trial
from app.encoding import Array
from app.errors import CompressionFailed
from app.training.weights import NewWeight

CHUNK_BYTES = 1 << 21
_SAMPLE = 256

Chunks = Callable[[], Iterator[tuple[int, Array]]]
"""Gives all rows from the start, some at a time: the first row's index, and float32 [rows, dimension]."""


@dataclass(frozen=True)
class Coding:
    """How tables are coded."""

    bits: int
    granularity: str
    block: int
    search: bool
    symmetric: bool
    encoding: Literal["auto", "standard", "contrib"]
    ranges: Literal["auto", "fp16", "fp32"]
    seed: int
    opset: int
    """Version of ONNX's operators in the graph."""
    folder: Path | None
    """Where the new weights are written; without one they are kept in memory."""


@dataclass(frozen=True)
class Rows:
    """Rows of floats to be coded."""

    name: str
    count: int
    dimension: int
    chunks: Chunks


@dataclass(frozen=True)
class Coded:
    """A coded table."""

    form: Form
    weights: tuple[onnx.TensorProto, ...]
    ranges: Ranges

    def values(self, start: int, rows: Array) -> Array:
        """What the graph gives for the float32 `rows`, which stand from `start` on: float32 [len(rows), dimension]."""
        ranges = self.ranges.of(slice(start, start + len(rows)))
        return self.form.values(codes_of(rows, ranges, self.form.bits), ranges)


def code_rows(rows: Rows, coding: Coding) -> Coded:
    """Code all rows. Raises CompressionFailed when a value is not finite, or onnxruntime refuses the form."""
    block = block_of(rows.dimension, coding.granularity, coding.block)
    ranges = _ranges(rows, coding, block)
    fp16 = fit_in_fp16(ranges, coding.bits) if coding.ranges == "auto" else coding.ranges == "fp16"
    if fp16:
        ranges = ranges.stored_as(np.float16, coding.bits)
        if not (np.isfinite(ranges.low) & np.isfinite(ranges.step)).all():
            raise CompressionFailed(f"the table {rows.name!r} has values that fp16 cannot hold")
    forms = [
        Form(
            name=rows.name,
            encoding=encoding,
            bits=coding.bits,
            dimension=rows.dimension,
            block=block,
            ranges_type=np.float16 if fp16 else np.float32,
            symmetric=coding.symmetric,
        )
        for encoding in _encodings(coding, rows)
    ]
    return _chosen(_stored(rows, ranges, forms, coding), rows.count, coding)


def _encodings(coding: Coding, rows: Rows) -> list[Encoding]:
    # GatherBlockQuantized takes whole bytes for whole rows: it has no way to say that codes at the end are padding.
    whole = rows.dimension * coding.bits % 8 == 0
    if coding.encoding == "contrib" and not whole:
        raise CompressionFailed(
            f"{rows.name!r}: GatherBlockQuantized needs rows that fill whole bytes, and a row has {rows.dimension} "
            f"values of {coding.bits} bits; set encoding = 'standard'"
        )
    wanted: list[Encoding] = ["standard", "contrib"] if coding.encoding == "auto" else [coding.encoding]
    return [one for one in wanted if whole or one == "standard"]


def _ranges(rows: Rows, coding: Coding, block: int) -> Ranges:
    low = np.empty((rows.count, rows.dimension // block), dtype=np.float32)
    step = np.empty_like(low)
    for start, values in rows.chunks():
        if not np.isfinite(values).all():
            raise CompressionFailed(f"the table {rows.name!r} has values that are not finite numbers")
        found = ranges_of(values, coding.bits, block, search=coding.search, symmetric=coding.symmetric)
        low[start : start + len(values)] = found.low
        step[start : start + len(values)] = found.step
    return Ranges(low, step, coding.symmetric)


@dataclass(frozen=True)
class _Candidate:
    coded: Coded
    sample: Array
    """Indices, int64 [sample]."""
    expected: Array
    """What these rows are, float32 [sample, dimension]."""


def _stored(rows: Rows, ranges: Ranges, forms: list[Form], coding: Coding) -> list[_Candidate]:
    """The table in each of the forms, with some rows of which it is known what they should give."""
    drawn = np.random.default_rng(coding.seed).integers(rows.count, size=_SAMPLE)
    sample = np.unique(np.concatenate([[0, rows.count - 1], drawn]))
    weights: list[dict[str, NewWeight]] = [{} for _ in forms]
    expected: list[list[Array]] = [[] for _ in forms]
    for start, values in rows.chunks():
        here = ranges.of(slice(start, start + len(values)))
        codes = codes_of(values, here, coding.bits)
        picked = sample[(sample >= start) & (sample < start + len(values))] - start
        for form, made, rows_expected in zip(forms, weights, expected, strict=True):
            rows_expected.append(form.values(codes[picked], here.of(picked)))
            for name, stored in form.stored(codes, here).items():
                if name not in made:
                    shape = (rows.count, stored.shape[1])
                    made[name] = NewWeight(name, shape, stored.dtype.type, coding.folder)
                made[name].append(stored)
    return [
        _Candidate(
            Coded(form, tuple(one.tensor() for one in made.values()), ranges),
            sample,
            np.concatenate(rows_expected),
        )
        for form, made, rows_expected in zip(forms, weights, expected, strict=True)
    ]


def _chosen(candidates: list[_Candidate], rows: int, coding: Coding) -> Coded:
    """The form that works, and is the fastest where several do."""
    trials: dict[str, Trial] = {}
    faults = []
    for one in candidates:
        form = one.coded.form
        try:
            trial = make_trial(form, one.coded.weights, coding.opset)
            fault = fault_of(trial, one.sample, one.expected)
        except RuntimeError as error:
            fault = f"onnxruntime cannot load it: {error}"
        if fault is None:
            trials[form.encoding] = trial
        else:
            faults.append(f"the {form.encoding} form of {form.name!r}: {fault}")
    if not trials:
        raise CompressionFailed("; ".join(faults))
    best = next(iter(trials)) if len(trials) == 1 else fastest(trials, rows, coding.seed)
    return next(one.coded for one in candidates if one.coded.form.encoding == best)
