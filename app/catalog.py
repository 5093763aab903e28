"""The catalog: items, users and what users have seen, encoded once, so that a request need only name ids.

An artifact of its own, shared by all variants of a model that use the same encoder:

    encoder.json                  the Encoder
    items.json, users.json        raw ids in row order; items.json also holds the display fields
    item.<feature>.npy            [num_items, *trailing_shape], int64 or float32
    user.<feature>.npy            [num_users, *trailing_shape]; histories included
    seen.offsets.npy, seen.items.npy   rows of the items each user has interacted with, as compressed sparse rows

The arrays are memory-mapped: workers share them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np

from app.encoding import Array, Encoder
from app.errors import ArtifactCorrupt
from app.id_table import IdTable
from app.schema import Feature, Side, is_id, trailing_shape

ENCODER_FILE = "encoder.json"


class _Items(msgspec.Struct):
    ids: list[str]
    display: dict[str, list[Any]]


class _Users(msgspec.Struct):
    ids: list[str]


@dataclass(frozen=True)
class Catalog:
    """Encoded items and users; rows are positions in `item_ids` and `user_ids`."""

    encoder: Encoder
    item_ids: list[str]
    user_ids: list[str]
    items: Mapping[str, Array]
    """Item features, each [num_items, *trailing_shape]."""
    users: Mapping[str, Array]
    """User features, each [num_users, *trailing_shape]."""
    display: Mapping[str, Sequence[Any]]
    """Item columns that an answer shows, each of length num_items."""
    seen_offsets: Array
    """int64 [num_users + 1]: the items of user row u are seen_items[seen_offsets[u] : seen_offsets[u + 1]]."""
    seen_items: Array
    """int32 [num_seen]: item rows."""
    _item_rows: IdTable = field(init=False, repr=False)
    _user_rows: IdTable = field(init=False, repr=False)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "_item_rows", IdTable(self.item_ids))
            object.__setattr__(self, "_user_rows", IdTable(self.user_ids))
        except ValueError as error:
            raise ArtifactCorrupt(f"the catalog's items or users: {error}") from error
        self._check()

    def item_row(self, raw: str) -> int:
        """The row of an item, or -1 when the catalog does not have it."""
        return self._item_rows.row(raw)

    def item_rows(self, raw: Sequence[str]) -> Array:
        """The rows of items, int64 [len(raw)]; -1 where the catalog does not have them."""
        return self._item_rows.rows(raw)

    def user_row(self, raw: str) -> int:
        """The row of a user, or -1."""
        return self._user_rows.row(raw)

    def seen(self, user_row: int) -> Array:
        """The rows of the items that the user has interacted with; none for row -1."""
        if user_row < 0:
            return self.seen_items[:0]
        return self.seen_items[self.seen_offsets[user_row] : self.seen_offsets[user_row + 1]]

    def write(self, folder: Path) -> None:
        """Write the catalog's files into an empty folder."""
        (folder / ENCODER_FILE).write_bytes(self.encoder.to_json())
        items = _Items(self.item_ids, {name: list(values) for name, values in self.display.items()})
        (folder / "items.json").write_bytes(msgspec.json.encode(items))
        (folder / "users.json").write_bytes(msgspec.json.encode(_Users(self.user_ids)))
        arrays = {f"item.{name}": values for name, values in self.items.items()}
        arrays |= {f"user.{name}": values for name, values in self.users.items()}
        arrays |= {"seen.offsets": self.seen_offsets, "seen.items": self.seen_items}
        for name, values in arrays.items():
            np.save(folder / f"{name}.npy", values, allow_pickle=False)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map a catalog whose artifact was verified. Raises ArtifactCorrupt when its parts do not fit together."""
        try:
            encoder = Encoder.from_json((folder / ENCODER_FILE).read_bytes())
            items = msgspec.json.decode((folder / "items.json").read_bytes(), type=_Items)
            users = msgspec.json.decode((folder / "users.json").read_bytes(), type=_Users)
            schema = encoder.schema
            return cls(
                encoder=encoder,
                item_ids=items.ids,
                user_ids=users.ids,
                items={f.name: _load(folder, f"item.{f.name}") for f in schema.item_features},
                users={f.name: _load(folder, f"user.{f.name}") for f in schema.of_side(Side.USER)},
                display=items.display,
                seen_offsets=_load(folder, "seen.offsets"),
                seen_items=_load(folder, "seen.items"),
            )
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            reason = str(error)
            if isinstance(error, OSError):  # whose text may have the path, which is not for clients
                reason = f"{Path(error.filename or folder).name}: {error.strerror}"
            raise ArtifactCorrupt(f"the catalog {folder.name} cannot be read: {reason}") from error

    def _check(self) -> None:
        num_items, num_users = len(self.item_ids), len(self.user_ids)
        for feature in self.encoder.schema.item_features:
            _check_array(feature, self.items[feature.name], num_items)
        for feature in self.encoder.schema.of_side(Side.USER):
            _check_array(feature, self.users[feature.name], num_users)
        if any(len(values) != num_items for values in self.display.values()):
            raise ArtifactCorrupt("the catalog's display fields do not have one value per item")
        offsets = self.seen_offsets
        shaped = offsets.shape == (num_users + 1,) and offsets.dtype == np.int64
        ordered = shaped and offsets[0] == 0 and bool((np.diff(offsets) >= 0).all())
        if not ordered or offsets[-1] != len(self.seen_items):
            raise ArtifactCorrupt("the catalog's seen items do not fit its users")
        seen = self.seen_items
        inside = not seen.size or (seen.min() >= 0 and seen.max() < num_items)
        if not inside or seen.ndim != 1 or seen.dtype != np.int32:
            raise ArtifactCorrupt("the catalog's seen items do not fit its items")


def _check_array(feature: Feature, values: Array, rows: int) -> None:
    dtype = np.int64 if is_id(feature) else np.float32
    if values.shape != (rows, *trailing_shape(feature)) or values.dtype != dtype:
        raise ArtifactCorrupt(f"the catalog's feature {feature.name!r} has the wrong shape or type")


def _load(folder: Path, name: str) -> Array:
    """Map an array. Unlike np.load, this takes nothing but a .npy file: no pickle, no archive."""
    return np.asarray(np.lib.format.open_memmap(folder / f"{name}.npy", mode="r"))
