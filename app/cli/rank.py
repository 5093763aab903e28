"""`slimrank rank`: a request to a running service, and its answer as a table."""

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.errors import ConfigurationError, ServiceError

app = typer.Typer(add_completion=False)
_TIMEOUT_SECONDS = 60.0


@app.command()
def rank(  # noqa: PLR0913  (one parameter per flag)
    model: Annotated[str, typer.Argument(help="The model's name.")],
    *,
    user: Annotated[
        str | None, typer.Option(help="Raw id of the user; without one, an unknown user.")
    ] = None,
    candidates: Annotated[
        str | None,
        typer.Option(help="Raw ids of the items, with commas between; without any, the whole catalog."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many of the best to show.")] = 10,
    variant: Annotated[str, typer.Option(help="A variant's name, or auto.")] = "auto",
    user_key: Annotated[str, typer.Option(help="Name of the user's id in the model's schema.")] = "user_id",
    url: Annotated[
        str, typer.Option(envvar="SLIMRANK_URL", help="Where the service is.")
    ] = "http://127.0.0.1:8000",
) -> None:
    """Rank candidates for a user, best first; without candidates, recommend from the whole catalog."""
    body: dict[str, Any] = {"user": {} if user is None else {user_key: user}, "k": k, "variant": variant}
    action = "recommend"
    if candidates is not None:
        action = "rank"
        body["candidates"] = [one.strip() for one in candidates.split(",") if one.strip()]
    answer = _post(f"{url.rstrip('/')}/v1/models/{model}/{action}", body)
    _show(answer)


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"--url must begin with http:// or https://, not {url!r}")
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310  (checked above)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        raise ServiceError(_message_of(error)) from error
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise ServiceError(f"no answer from {url}: {reason}; is the service running?") from error
    except ValueError as error:
        raise ServiceError(f"the answer from {url} is not JSON") from error
    if not isinstance(answer, dict) or "items" not in answer:
        raise ServiceError(f"the answer from {url} is not that of slimrank")
    return answer


def _message_of(error: urllib.error.HTTPError) -> str:
    try:
        return f"{json.load(error)['error']['message']} (HTTP {error.code})"
    except (ValueError, KeyError, TypeError):
        return f"the service answered with HTTP {error.code}"


def _show(answer: dict[str, Any]) -> None:
    console = Console(highlight=False)
    items = answer["items"]
    display = list(dict.fromkeys(name for item in items for name in item.get("display") or {}))
    table = Table("rank", "item", "score", *display)
    for item in items:
        shown = item.get("display") or {}
        cells = [str(item["rank"]), str(item["item_id"]), f"{item['score']:.4f}"]
        table.add_row(*cells, *(escape(str(shown.get(name, ""))) for name in display))
    console.print(table)
    total_ms = answer["timing_ms"]["total"]
    console.print(f"{answer['model']} / {answer['variant']} {answer['version']}, {total_ms:.2f} ms")
    if answer.get("degraded"):
        console.print(f"degraded: {escape(str(answer['degraded_reason']))}", style="yellow")
    if answer.get("unknown_items"):
        console.print(f"unknown items: {escape(', '.join(answer['unknown_items']))}", style="yellow")
    if answer.get("unknown_user"):
        console.print("the user is unknown: ranked as a new one", style="yellow")
