"""Bodies of requests: JSON whatever the Content-Type says, and described in OpenAPI by the types that check them.

The hot routes decode with msgspec, in one pass. Others use pydantic models; FastAPI's own reading of those would refuse
what curl sends with `-d`, which calls itself a form.
"""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import msgspec
from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from app.errors import BadRequest, InvalidInput, ServiceError
from app.model_card import explain

LEFT = "the body: the client left before all of it had come"
REFUSAL = "refusal"
"""Where, on a request's state, the protocol says what it has told the client instead of reading on."""
T = TypeVar("T", bound=msgspec.Struct)
M = TypeVar("M", bound=BaseModel)
_COMPONENTS = "#/components/schemas/{name}"
MODEL_PARAMETER = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
"""The OpenAPI description of a path's model, for routes that read it themselves."""


def decode(content: bytes | bytearray, decoder: msgspec.json.Decoder[T]) -> T:
    """The body as the decoder's type. Raises InvalidInput saying what is wrong and where."""
    try:
        return decoder.decode(content)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the body: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise InvalidInput("the body is nested too deeply") from error


async def read_body(request: Request) -> bytes:
    """All of the body. Raises InvalidInput when the client leaves within it, BadRequest, BodyTooLarge."""
    try:
        return await request.body()
    except ClientDisconnect as error:
        # Nobody reads this answer, but it is counted, and as the client's doing.
        raise _cut_short(request) from error


def _cut_short(request: Request) -> ServiceError:
    """Why no more of the body comes: what the protocol has told the client, unless that has left."""
    refusal = getattr(request.state, REFUSAL, None)
    return InvalidInput(LEFT) if refusal is None else BadRequest(refusal)


def json_body(kind: type[M]) -> Any:
    """A dependency that gives the body as a pydantic model. It raises InvalidInput, BadRequest, BodyTooLarge."""

    async def read(request: Request) -> M:
        try:
            return kind.model_validate_json(await read_body(request))
        except ValidationError as error:
            raise InvalidInput(f"the body: {explain(error)}"[:1000]) from error

    reader: Callable[[Request], Coroutine[Any, Any, M]] = read
    return Depends(reader)


def described_model(kind: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of a route whose body is `kind`; its examples come with it."""
    schema = kind.model_json_schema()
    examples = {f"example {n}": {"value": one} for n, one in enumerate(schema.pop("examples", []), start=1)}
    definitions = schema.pop("$defs", {})
    for name, one in definitions.items():
        for node in (schema, *definitions.values()):
            _inline(node, f"#/$defs/{name}", one)
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "examples": examples}},
        }
    }


def _inline(node: Any, reference: str, definition: dict[str, Any]) -> None:
    """Put a definition in the place of every reference to it: OpenAPI would look for it elsewhere."""
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _inline(value, reference, definition)
    if isinstance(node, dict) and node.get("$ref") == reference:
        del node["$ref"]
        node.update(definition)


def described(kind: type[msgspec.Struct], examples: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The `openapi_extra` of a route whose body is `kind`; examples by name."""
    (schema,), components = msgspec.json.schema_components([kind], ref_template=_COMPONENTS)
    name = schema["$ref"].rpartition("/")[2]
    shown = {title: {"value": value} for title, value in examples.items()}
    content = {"application/json": {"schema": components[name], "examples": shown}}
    return {"requestBody": {"required": True, "content": content}}
