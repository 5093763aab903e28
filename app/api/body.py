"""Bodies of the hot routes: decoded and checked by msgspec in one pass, and described in OpenAPI by the same types."""

from typing import Any, TypeVar

import msgspec
from fastapi import Request

from app.errors import InvalidInput

T = TypeVar("T", bound=msgspec.Struct)
_COMPONENTS = "#/components/schemas/{name}"


async def read_body(request: Request, decoder: msgspec.json.Decoder[T]) -> T:
    """The body as the decoder's type. Raises InvalidInput saying what is wrong and where, BodyTooLarge."""
    content = await request.body()
    try:
        return decoder.decode(content)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the body: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise InvalidInput("the body is nested too deeply") from error


def described(kind: type[msgspec.Struct], examples: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The `openapi_extra` of a route whose body is `kind`; examples by name."""
    (schema,), components = msgspec.json.schema_components([kind], ref_template=_COMPONENTS)
    name = schema["$ref"].rpartition("/")[2]
    shown = {title: {"value": value} for title, value in examples.items()}
    content = {"application/json": {"schema": components[name], "examples": shown}}
    return {"requestBody": {"required": True, "content": content}}
