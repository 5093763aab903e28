"""A student that begins with what it can take of the teacher's weights, instead of random ones.

What has the same name and shape is copied. Tables that are narrower take the directions in which the teacher's vectors
differ most (truncated singular value decomposition, which no other projection to that width comes nearer to: Eckart
and Young, 1936), and the first dense layer reads them through the same projection. Narrower dense layers keep the
neurons with the largest incoming and outgoing weights.
"""

import torch
from torch import Tensor, nn

from app.compression.chains import Hidden
from app.errors import CompressionFailed
from app.training.layers import MLP, FeatureEmbedding, SplitLinear


@torch.no_grad()
def inherit(student: nn.Module, teacher: nn.Module) -> None:
    """Fill `student` in place with what fits of the teacher's weights; the rest stays as it is.

    Cross layers of another width stay as they are: their products do not survive a change of basis. Raises
    CompressionFailed when nothing fits.
    """
    taken = _copy_equal_shapes(student, teacher)
    ours, theirs = dict(student.named_modules()), dict(teacher.named_modules())
    projections: tuple[Tensor, Tensor] | None = None
    for name in ours.keys() & theirs.keys():
        one, other = ours[name], theirs[name]
        if (
            isinstance(one, FeatureEmbedding)
            and isinstance(other, FeatureEmbedding)
            and one.dimension < other.dimension
        ):
            projections = _narrow_tables(one, other)
            taken += 1
    for name in ours.keys() & theirs.keys():
        one, other = ours[name], theirs[name]
        if isinstance(one, MLP) and isinstance(other, MLP):
            taken += _narrow_layers(one, other, projections)
    if not taken:
        raise CompressionFailed(
            "the student has no layer that the teacher has too: begin with random weights"
        )


def _copy_equal_shapes(student: nn.Module, teacher: nn.Module) -> int:
    theirs, taken = dict(teacher.named_parameters()), 0
    for name, values in student.named_parameters():
        if name in theirs and theirs[name].shape == values.shape:
            values.copy_(theirs[name])
            taken += 1
    return taken


def _narrow_tables(one: FeatureEmbedding, other: FeatureEmbedding) -> tuple[Tensor, Tensor]:
    """Fill narrower tables; gives what narrows each side: [teacher's width, student's width], block by block."""
    blocks: dict[str, Tensor] = {}
    for name, table in one.tables.items():
        wide = other.tables[name]
        assert isinstance(table, nn.Embedding)
        assert isinstance(wide, nn.Embedding)
        blocks[name] = _directions(wide.weight, one.dimension)
        table.weight.copy_(wide.weight @ blocks[name])
    for name, layer in one.projections.items():
        wide = other.projections[name]
        assert isinstance(layer, nn.Linear)
        assert isinstance(wide, nn.Linear)
        weight, bias = wide.weight, wide.bias
        blocks[name] = _directions(torch.cat([weight, bias[:, None]], dim=1).T, one.dimension)
        layer.weight.copy_(blocks[name].T @ weight)
        layer.bias.copy_(blocks[name].T @ bias)
    sides = [
        [blocks[getattr(feature, "of", feature.name)] for feature in features]
        for features in (one.request_features, one.item_features)
    ]
    request, item = (_block_diagonal(side) for side in sides)
    return request, item


def _block_diagonal(blocks: list[Tensor]) -> Tensor:
    joined: Tensor = torch.block_diag(*blocks) if blocks else torch.zeros(0, 0)  # type: ignore[no-untyped-call]
    return joined


def _directions(vectors: Tensor, count: int) -> Tensor:
    """The orthonormal directions that keep most of [rows, width]: [width, count]."""
    _, _, rows = torch.linalg.svd(vectors, full_matrices=False)
    found = rows[:count].T
    # Fewer vectors than directions: nothing lies in the others.
    return nn.functional.pad(found, (0, count - found.shape[1]))


def _narrow_layers(one: MLP, other: MLP, projections: tuple[Tensor, Tensor] | None) -> bool:
    """Fill layer by layer with the strongest neurons, as far as no layer is wider than the teacher's."""
    first, wide = one.layers[0], other.layers[0]
    if not (isinstance(first, SplitLinear) and isinstance(wide, SplitLinear)):
        return False
    request, item = projections or (torch.eye(_request_width(wide)), torch.eye(wide.item.in_features))
    ours, theirs = ((_request_width(one), one.item.in_features) for one in (first, wide))
    if (theirs, ours) != tuple(zip(request.shape, item.shape, strict=True)):
        return False  # it reads something besides the tables, as products of them
    neurons: Tensor | None = None
    for place, (layer, source) in enumerate(zip(one.layers, other.layers, strict=False)):
        last = place == len(one.layers) - 1
        width, available = _width(layer), _width(source)
        if width > available or last != (place == len(other.layers) - 1):
            return place > 0
        kept = torch.arange(width) if last else _strongest(source, other.layers[place + 1], width)
        if place == 0:
            _fill_split(first, wide, kept, request, item)
        else:
            assert neurons is not None
            assert isinstance(layer, nn.Linear)
            assert isinstance(source, nn.Linear)
            layer.weight.copy_(source.weight[kept][:, neurons])
            layer.bias.copy_(source.bias[kept])
        neurons = kept
    return True


def _fill_split(layer: SplitLinear, wide: SplitLinear, kept: Tensor, request: Tensor, item: Tensor) -> None:
    layer.item.weight.copy_(wide.item.weight[kept] @ item)
    layer.item.bias.copy_(wide.item.bias[kept])
    if layer.request is not None and wide.request is not None:
        layer.request.weight.copy_(wide.request.weight[kept] @ request)


def _request_width(layer: SplitLinear) -> int:
    return 0 if layer.request is None else layer.request.in_features


def _width(layer: nn.Module) -> int:
    inner = layer.item if isinstance(layer, SplitLinear) else layer
    assert isinstance(inner, nn.Linear)
    return inner.out_features


def _strongest(layer: nn.Module, reader: nn.Module, count: int) -> Tensor:
    assert isinstance(layer, nn.Linear | SplitLinear)
    assert isinstance(reader, nn.Linear)
    strength = Hidden(layer, reader).incoming.norm(dim=1) * reader.weight.norm(dim=0)
    return torch.topk(strength, count).indices.sort().values
