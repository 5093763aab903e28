"""From raw values to the arrays a graph eats: the one place where ids become indices.

An Encoder is a FeatureSchema and what was fitted on the training rows (vocabularies, means, deviations). Training,
calibration, evaluation and serving encode with the same Encoder, so they cannot disagree.
"""

import hashlib
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Self

import msgspec
import numpy as np
import numpy.typing as npt

from app.errors import ArtifactCorrupt, InvalidInput
from app.schema import (
    CategoricalFeature,
    Feature,
    FeatureSchema,
    HistoryFeature,
    MultiFeature,
    NumberFeature,
    VectorFeature,
    is_id,
    trailing_shape,
)

Array = npt.NDArray[Any]
FLOAT32_MAX = float(np.finfo(np.float32).max)
_TEXT = {str}
_MOST_LOOKED_AT = 10_000


class Scale(msgspec.Struct, frozen=True):
    """Mean and standard deviation of a number feature after its transform (`deviation` > 0)."""

    mean: float
    deviation: float


class _EncoderFile(msgspec.Struct, frozen=True):
    schema: dict[str, Any]
    vocabularies: dict[str, list[str]]
    scales: dict[str, Scale]


class Encoder:
    """Turns raw values of a schema's features into arrays.

    `vocabularies` has, for each feature with a vocabulary, its known raw ids; the id at position p has index p + 1.
    `scales` has a Scale for each number feature whose transform is not "none". Raises InvalidInput when a raw value
    does not fit its feature.
    """

    def __init__(
        self, schema: FeatureSchema, vocabularies: Mapping[str, Sequence[str]], scales: Mapping[str, Scale]
    ) -> None:
        self.schema = schema
        self.vocabularies = {name: list(ids) for name, ids in vocabularies.items()}
        self.scales = dict(scales)
        self._index = {
            name: {raw: position for position, raw in enumerate(ids, start=1)}
            for name, ids in self.vocabularies.items()
        }
        self._check_complete()

    def _check_complete(self) -> None:
        for feature in self.schema.features:
            table = (
                isinstance(feature, CategoricalFeature | MultiFeature) and feature.encoding == "vocabulary"
            )
            if table and feature.name not in self.vocabularies:
                raise InvalidInput(f"feature {feature.name!r} has no vocabulary")
            scaled = isinstance(feature, NumberFeature) and feature.transform != "none"
            if scaled and feature.name not in self.scales:
                raise InvalidInput(f"feature {feature.name!r} has no fitted scale")
            if scaled and not self.scales[feature.name].deviation > 0:
                raise InvalidInput(f"feature {feature.name!r} has a scale whose deviation is not above 0")

    def cardinality(self, name: str) -> int:
        """Number of indices of an id feature, index 0 included: the rows its embedding table needs."""
        feature = self.schema[name]
        if isinstance(feature, HistoryFeature):
            return self.cardinality(feature.of)
        if not isinstance(feature, CategoricalFeature | MultiFeature):
            raise InvalidInput(f"feature {name!r} is a {feature.kind}, which has no indices")
        return (feature.buckets if feature.buckets is not None else len(self.vocabularies[name])) + 1

    def knows(self, name: str, raw: str) -> bool:
        """Whether the raw id has an index of its own (where ids are hashed, every id does but an empty one)."""
        return self.index(name, raw) != 0

    def index(self, name: str, raw: str) -> int:
        """The index of one raw id of an id feature; 0 when it is out of vocabulary or empty, which means none."""
        feature = self.schema[name]
        if isinstance(feature, HistoryFeature):
            return self.index(feature.of, raw)
        if isinstance(feature, CategoricalFeature | MultiFeature) and feature.buckets is not None:
            # CRC-32 is stable across processes and versions, and spreads well enough for buckets.
            return zlib.crc32(raw.encode(errors="surrogatepass")) % feature.buckets + 1 if raw else 0
        return self._index[name].get(raw, 0)

    def encode(self, name: str, values: Sequence[Any], first: int = 0) -> Array:
        """Encode raw values of one feature: [n, *trailing_shape], int64 for ids and float32 otherwise.

        `None` stands for a missing value. Raises InvalidInput naming the feature and the value's position, which is
        counted from `first` on.
        """
        feature = self.schema[name]
        try:
            return self._encoders[feature.kind](self, feature, values)
        except _BadValueError as bad:
            position = first + bad.position
            raise InvalidInput(
                f"feature {name!r}, value {position}: {bad.reason}", feature=name, position=position
            ) from None

    def missing(self, name: str, rows: int) -> Array:
        """What a feature that was not sent encodes to: index 0, or the mean, or a vector of zeros."""
        feature = self.schema[name]
        dtype = np.int64 if is_id(feature) else np.float32
        return np.zeros((rows, *trailing_shape(feature)), dtype=dtype)

    def _encode_ids(self, feature: Feature, values: Sequence[Any]) -> Array:
        if isinstance(feature, CategoricalFeature) and feature.buckets is None:
            table = self._index[feature.name]
            raw = [_raw_id(value, position) for position, value in enumerate(values)]
            return np.fromiter((table.get(value, 0) for value in raw), dtype=np.int64, count=len(raw))
        indices = (
            self.index(feature.name, _raw_id(value, position)) for position, value in enumerate(values)
        )
        return np.fromiter(indices, dtype=np.int64, count=len(values))

    def _encode_lists(self, feature: Feature, values: Sequence[Any]) -> Array:
        assert isinstance(feature, MultiFeature | HistoryFeature)
        length = feature.max_length
        # A history keeps its newest items, which stand last; a set of ids keeps its first ones.
        kept = slice(-length, None) if isinstance(feature, HistoryFeature) else slice(length)
        index_of = self._index_of(feature)
        lists = [
            [index for one in _ids_of(feature, value, position) if (index := index_of(one, 0))][kept]
            for position, value in enumerate(values)
        ]
        counts = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
        out = np.zeros((len(lists), length), dtype=np.int64)
        out[np.arange(length) < counts[:, None]] = list(chain.from_iterable(lists))
        return out

    def _index_of(self, feature: MultiFeature | HistoryFeature) -> Callable[[str, int], int]:
        """What gives the index of a raw id, found once for all of them: candidates may bring 100,000."""
        ids = self.schema[feature.of] if isinstance(feature, HistoryFeature) else feature
        if isinstance(ids, CategoricalFeature | MultiFeature) and ids.buckets is not None:
            return lambda raw, _: self.index(ids.name, raw)
        return self._index[ids.name].get

    def _encode_numbers(self, feature: Feature, values: Sequence[Any]) -> Array:
        assert isinstance(feature, NumberFeature)
        scale = self.scales.get(feature.name, Scale(0.0, 1.0))
        numbers = np.array(
            [_number(value, position) for position, value in enumerate(values)], dtype=np.float64
        )
        if feature.transform == "log1p":
            negative = np.flatnonzero(numbers < 0)
            if negative.size:
                raise _BadValueError(
                    int(negative[0]), "expected a number of at least 0 (the feature is log-scaled)"
                )
            numbers = np.log1p(numbers)
        with np.errstate(over="ignore"):  # an infinity is bounded below, like every large number
            scaled = (numbers - scale.mean) / scale.deviation
        # A missing number (NaN here) takes the mean, which is 0 after scaling.
        return np.clip(np.nan_to_num(scaled, nan=0.0), -FLOAT32_MAX, FLOAT32_MAX).astype(np.float32)

    def _encode_vectors(self, feature: Feature, values: Sequence[Any]) -> Array:
        assert isinstance(feature, VectorFeature)
        out = np.zeros((len(values), feature.dimension), dtype=np.float32)
        for position, value in enumerate(values):
            if value is None:
                continue
            if not isinstance(value, list | tuple | np.ndarray) or len(value) != feature.dimension:
                raise _BadValueError(position, f"expected a list of {feature.dimension} numbers")
            numbers = [_number(one, position) for one in value]
            if any(math.isnan(one) or abs(one) > FLOAT32_MAX for one in numbers):
                raise _BadValueError(position, "expected finite numbers of 32 bits")
            out[position] = numbers
        return out

    _encoders: Mapping[str, Callable[["Encoder", Any, Sequence[Any]], Array]] = {
        "categorical": _encode_ids,
        "multi": _encode_lists,
        "history": _encode_lists,
        "number": _encode_numbers,
        "vector": _encode_vectors,
    }

    def to_json(self) -> bytes:
        """The encoder as JSON: equal encoders give equal bytes."""
        content = _EncoderFile(self.schema.model_dump(mode="json"), self.vocabularies, self.scales)
        return msgspec.json.encode(content, order="sorted")

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read what `to_json` wrote. Raises ArtifactCorrupt when it is something else."""
        try:
            content = msgspec.json.decode(data, type=_EncoderFile)
            return cls(FeatureSchema.model_validate(content.schema), content.vocabularies, content.scales)
        except (msgspec.MsgspecError, ValueError, InvalidInput) as error:
            raise ArtifactCorrupt(f"this is not an encoder: {error}") from error

    @property
    def sha256(self) -> str:
        """Fingerprint: variants with the same one encode alike and can share a catalog."""
        return hashlib.sha256(self.to_json()).hexdigest()


class _BadValueError(Exception):
    def __init__(self, position: int, reason: str) -> None:
        super().__init__(reason)
        self.position = position
        self.reason = reason


def _kind(value: Any) -> str:
    names = {
        str: "text",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        dict: "an object",
        list: "a list",
    }
    return names.get(type(value), type(value).__name__)


def _ids_of(feature: MultiFeature | HistoryFeature, value: Any, position: int) -> Sequence[str]:
    if value is None:
        return ()
    most = max(_MOST_LOOKED_AT, feature.max_length)  # one list must not hold whoever encodes it
    if isinstance(value, str) and isinstance(feature, MultiFeature) and feature.separator:
        return value.split(feature.separator, most)[:most]
    if not isinstance(value, list | tuple):
        raise _BadValueError(position, f"expected a list of ids, got {_kind(value)}")
    ids: Sequence[Any] = value[-most:] if isinstance(feature, HistoryFeature) else value[:most]
    if set(map(type, ids)) <= _TEXT:  # the usual case
        return ids
    return [_raw_id(one, position) for one in ids]


def _raw_id(value: Any, position: int) -> str:
    if type(value) is str:
        return value
    if value is None:
        return ""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(value)
    raise _BadValueError(position, f"expected an id (text or a whole number), got {_kind(value)}")


def _number(value: Any, position: int) -> float:
    if value is None:
        return math.nan
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            raise _BadValueError(position, "expected a finite number") from None
        if math.isfinite(number):
            return number
        raise _BadValueError(position, "expected a finite number")
    raise _BadValueError(position, f"expected a number, got {_kind(value)}")
