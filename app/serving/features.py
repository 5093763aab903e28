"""From a Query to arrays: the catalog's features, the request's own in their place, and errors a client can act on.

Raw ids stop here. A candidate is ranked when the catalog has its id, or the request brings item features of its own.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from app.catalog import Catalog
from app.encoding import Array
from app.errors import InvalidInput, UnknownFeature
from app.schema import Feature, Side
from app.serving.query import Candidates, Encoded, Features, Query

_PIECE_ROWS = 500
"""So many values of one feature are encoded in a few milliseconds."""
_ALWAYS_GIVEN = 10
"""What /recommend gives unless it is told otherwise."""
_NOTHING: Mapping[str, Array] = {}


class _IdsOfRows(Sequence[str]):
    """The ids of these rows, looked up when they are asked for: of a whole catalog few are."""

    def __init__(self, ids: Sequence[str], rows: Array) -> None:
        self._ids, self._rows = ids, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: Any) -> Any:
        return self._ids[self._rows[place]]

    def __iter__(self) -> Iterator[str]:
        return map(self._ids.__getitem__, self._rows.tolist())


class FeatureReader:
    """Encodes queries with one catalog. Raises InvalidInput and UnknownFeature."""

    def __init__(self, catalog: Catalog, max_candidates: int) -> None:
        self.catalog = catalog
        self.max_candidates = max_candidates
        self.schema = catalog.encoder.schema
        self._user_features = self.schema.of_side(Side.USER)
        self._context_features = self.schema.of_side(Side.CONTEXT)
        self._item_features = self.schema.item_features
        self._allowed = {
            "user": {f.name for f in self._user_features} | {self.schema.user_key},
            "context": {f.name for f in self._context_features},
            "candidates": {f.name for f in self._item_features} | {self.schema.item_key},
        }
        self.names = frozenset[str]().union(*self._allowed.values())
        """What may be named in a request, somewhere in it."""

    def encode_pieces(self, query: Query) -> Generator[None, None, tuple[Query, Mapping[str, Array]]]:
        """Encode what many candidates bring, some of it in each step.

        Gives what `encode` then needs: the query with its candidates as columns, and the encoded features.
        """
        if query.are_texts or query.candidates is None:
            return query, _NOTHING
        ids, columns = self._columns(query.candidates)
        self._check_count(ids)
        encoded: dict[str, Array] = {}
        for name, sent in columns.items():
            pieces = []
            for first in range(0, len(sent), _PIECE_ROWS):
                yield
                piece = sent[first : first + _PIECE_ROWS]
                pieces.append(self.catalog.encoder.encode(name, piece, first))
            encoded[name] = np.concatenate(pieces)
        if not columns:
            return query, _NOTHING
        yield
        return msgspec.structs.replace(query, candidates={self.schema.item_key: ids, **columns}), encoded

    def encode(self, query: Query, encoded: Mapping[str, Array] = _NOTHING) -> Encoded:
        """Everything the graph needs for this query; there may be no rows, when every candidate is unknown.

        `encoded`: what the candidates bring, of features for which that is done.
        """
        request, user_row = self._request_side(query)
        if query.candidates is None:
            return self._whole_catalog(query, request, user_row)
        ids: Sequence[Any] = query.candidates  # type: ignore[assignment]  # texts, or what they are taken out of
        columns: Mapping[str, Sequence[Any]] = {}
        if not query.are_texts:
            ids, columns = self._columns(query.candidates)
        self._check_count(ids)
        if not query.are_texts:
            self._check_texts(ids)
        rows = self.catalog.item_rows(ids)
        known = rows >= 0
        _check_distinct(ids, rows if known.all() else None)
        ranked = known | self._has_features(columns, len(ids)) if columns else known
        item_ids, unknown, kept = ids, list[str](), rows
        if not ranked.all():
            item_ids = [one for one, kept in zip(ids, ranked, strict=True) if kept]
            unknown = [one for one, kept in zip(ids, ranked, strict=True) if not kept]
            kept = rows[ranked]
        if columns:
            features = Features(
                request | self._item_inputs(ids, rows, columns, ranked, encoded), len(item_ids)
            )
        else:  # ids of the catalog and nothing else: the usual case
            features = Features(request, len(item_ids), kept)
        return Encoded(features, item_ids, kept, unknown, unknown_user=user_row < 0)

    def _item_inputs(
        self,
        ids: Sequence[str],
        rows: Array,
        columns: Mapping[str, Sequence[Any]],
        ranked: Array,
        encoded: Mapping[str, Array],
    ) -> dict[str, Array]:
        """Item features of the candidates that are ranked, some of which bring their own."""
        inputs = {f.name: self._item_values(f, rows, columns, encoded) for f in self._item_features}
        key = self.schema.item_key
        if key in inputs:  # the encoder may know an id that the catalog does not have
            strangers = np.flatnonzero(rows < 0).tolist()
            inputs[key][strangers] = self.catalog.encoder.encode(key, [ids[one] for one in strangers])
        return {name: values[ranked] for name, values in inputs.items()}

    def _whole_catalog(self, query: Query, request: dict[str, Array], user_row: int) -> Encoded:
        most = max(self.max_candidates, _ALWAYS_GIVEN)
        if query.k is not None and query.k > most:
            raise InvalidInput(f"k: {query.k:,} are too many; at most {most:,} are given", field="k")
        catalog = self.catalog
        wanted = np.ones(len(catalog.item_ids), dtype=bool)
        if query.exclude_seen:
            wanted[catalog.seen(user_row)] = False
        excluded = catalog.item_rows(query.exclude)
        wanted[excluded[excluded >= 0]] = False
        rows = np.flatnonzero(wanted)
        ids = _IdsOfRows(catalog.item_ids, rows)
        return Encoded(Features(request, len(rows), rows), ids, rows, [], unknown_user=user_row < 0)

    def _request_side(self, query: Query) -> tuple[dict[str, Array], int]:
        """User and context features, one row each, and the catalog's row of the user (-1: none)."""
        self._check_names("user", query.user)
        self._check_names("context", query.context)
        key = self.schema.user_key
        user_id = query.user.get(key)
        if user_id is not None and not isinstance(user_id, str):
            raise InvalidInput(f"user: {key!r} must be text", field=f"user.{key}")
        row = -1 if user_id is None else self.catalog.user_row(user_id)
        encoder, inputs = self.catalog.encoder, dict[str, Array]()
        for feature in (*self._user_features, *self._context_features):
            sent = query.user if feature.side is Side.USER else query.context
            if row >= 0 and feature.name == key:  # the catalog has encoded this id already
                inputs[key] = self.catalog.users[key][row : row + 1]
            elif sent.get(feature.name) is not None:
                inputs[feature.name] = encoder.encode(feature.name, [sent[feature.name]])
            elif feature.side is Side.USER and row >= 0:
                inputs[feature.name] = self.catalog.users[feature.name][row : row + 1]
            else:
                inputs[feature.name] = encoder.missing(feature.name, 1)
        return inputs, row

    def _columns(self, candidates: Candidates) -> tuple[Sequence[Any], Mapping[str, Sequence[Any]]]:
        """The three forms of candidates as one: ids, and for each feature that was sent its values (None: not sent)."""
        key = self.schema.item_key
        if isinstance(candidates, Mapping):
            self._check_names("candidates", candidates)
            if key not in candidates:
                raise InvalidInput(f"candidates: {key!r} is missing", field=f"candidates.{key}")
            count = len(candidates[key])
            for name, values in candidates.items():
                if len(values) != count:
                    raise InvalidInput(
                        f"candidates: {name!r} has {len(values)} values, and {key!r} has {count}",
                        field=f"candidates.{name}",
                    )
            columns = {name: values for name, values in candidates.items() if name != key}
            return candidates[key], columns
        if candidates and isinstance(candidates[0], Mapping):
            return self._columns_of_objects(candidates)
        return candidates, {}

    def _columns_of_objects(self, candidates: Sequence[Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        self._check_count(candidates)
        key = self.schema.item_key
        # Checked before the columns are built: their number must not grow with what a client invents.
        allowed = self._allowed["candidates"]
        for one in candidates:
            if not one.keys() <= allowed:
                self._check_names("candidates", one)
        names = {name for one in candidates for name in one} - {key}
        columns = {name: [one.get(name) for one in candidates] for name in names}
        return [one.get(key) for one in candidates], columns

    def _check_count(self, ids: Sequence[Any]) -> None:
        if not ids:
            raise InvalidInput("candidates: at least one is needed", field="candidates")
        if len(ids) > self.max_candidates:
            raise InvalidInput(
                f"candidates: {len(ids):,} are too many; at most {self.max_candidates:,} are taken",
                field="candidates",
                max_candidates=self.max_candidates,
            )

    def _check_texts(self, ids: Sequence[Any]) -> None:
        key = self.schema.item_key
        if set(map(type, ids)) != {str}:
            position = next(number for number, one in enumerate(ids) if type(one) is not str)
            raise InvalidInput(
                f"candidate {position}: {key!r} must be text", field=f"candidates.{key}", position=position
            )

    def _check_names(self, field: str, sent: Mapping[str, Any]) -> None:
        for name in sent:
            if name not in self._allowed[field]:
                known = ", ".join(sorted(self._allowed[field])) or "none"
                raise UnknownFeature(
                    f"{field}: there is no feature {name[:100]!r}; there are: {known}", field=field
                )

    @staticmethod
    def _has_features(columns: Mapping[str, Sequence[Any]], count: int) -> Array:
        """Whether each candidate brings a feature of its own, bool [count]."""
        found = np.zeros(count, dtype=bool)
        for values in columns.values():
            found |= np.fromiter((value is not None for value in values), dtype=bool, count=count)
        return found

    def _item_values(
        self,
        feature: Feature,
        rows: Array,
        columns: Mapping[str, Sequence[Any]],
        encoded: Mapping[str, Array],
    ) -> Array:
        """One feature of every candidate: what was sent, else what the catalog has, else the missing value."""
        encoder, name = self.catalog.encoder, feature.name
        values: Array
        if len(self.catalog.item_ids):
            values = self.catalog.items[name][rows]
            values[rows < 0] = 0
        else:
            values = encoder.missing(name, len(rows))
        if name in columns:
            sent = columns[name]
            given = np.fromiter((one is not None for one in sent), dtype=bool, count=len(rows))
            found = encoded[name] if name in encoded else encoder.encode(name, sent)
            values[given] = found[given]
        return values


def _check_distinct(ids: Sequence[str], rows: Array | None) -> None:
    """`rows` of the ids where the catalog has them all: it is quicker to look for two equal numbers than texts."""
    if rows is None:
        repeats = len(set(ids)) != len(ids)
    else:
        ordered = np.sort(rows)
        repeats = bool((ordered[1:] == ordered[:-1]).any())
    if repeats:
        met: set[str] = set()
        repeated = next(one for one in ids if one in met or met.add(one))  # type: ignore[func-returns-value]
        raise InvalidInput(f"candidates: {repeated[:100]!r} is named twice", field="candidates")
