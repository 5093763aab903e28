"""Canary and shadow on the real service with two workers: set by an admin, kept over a restart, counted for all."""

from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
from app.serving.canary import place
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.running import admin, rank, running
from tests.processes import WAIT_SECONDS, Service, eventually
from tests.small_model import NAME, SmallModel

PERCENT = 37.5
POLICY = {
    "kind": "pinned",
    "variant": "baseline",
    "canary": {"variant": "int8-static", "percent": PERCENT},
    "shadow": {"variant": "int8-dynamic", "percent": 100},
}
USERS = [f"user {number}" for number in range(40)]
CANDIDATES = [f"i{number}" for number in range(30)]


def answered_by(one: Service) -> dict[str, str]:
    """Who answers each user; every request has a connection of its own, so that both workers are asked."""
    answers = {user: rank(one, user={"user_id": user}, candidates=CANDIDATES) for user in USERS}
    assert {answer.status_code for answer in answers.values()} == {200}
    return {user: answer.json()["variant"] for user, answer in answers.items()}


def expected() -> dict[str, str]:
    tried = {user: place(NAME, "int8-static", user.encode()) < PERCENT for user in USERS}
    return {user: "int8-static" if is_in else "baseline" for user, is_in in tried.items()}


def samples(one: Service, name: str) -> list[tuple[dict[str, str], float]]:
    text = httpx2.get(one.url + "/metrics", timeout=WAIT_SECONDS).text
    found = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return [(sample.labels, sample.value) for sample in found if sample.name == name]


def counted(one: Service) -> Counter[tuple[str, str]]:
    """Shadow requests by the variant that answered and the outcome."""
    found = samples(one, "slimrank_shadow_requests_total")
    return Counter({(labels["variant"], labels["outcome"]): int(value) for labels, value in found})


def compared(one: Service) -> int:
    return sum(number for (_, outcome), number in counted(one).items() if outcome == "compared")


def test_workers_agree_on_who_is_in_and_restarts_and_all_of_them_are_counted(
    small_model: SmallModel, tmp_path: Path
) -> None:
    small = small_model.copy(tmp_path / "small")
    settings: dict[str, Any] = {"workers": 2, "compressor": False}
    with running(small, **settings) as one:
        state = admin(one, "POST", f"/models/{NAME}/activate", {"policy": POLICY})
        assert (state["policy"], state["follows_card"]) == (POLICY, False)
        eventually(lambda: answered_by(one) == expected(), "the canary in both workers")
    with running(small, **settings) as one:
        assert one.get(f"/v1/models/{NAME}")["policy"] == POLICY
        assert answered_by(one) == answered_by(one) == expected()
        eventually(lambda: counted(one).total() == 2 * len(USERS), "every shadow")
        sent = Counter(expected().values())
        for variant in ("baseline", "int8-static"):
            assert sum(n for (by, _), n in counted(one).items() if by == variant) == 2 * sent[variant]
        # Under load some are dropped, by design: send on until enough were compared.
        eventually(lambda: answered_by(one) and compared(one) >= 20, "comparisons")
        eventually(lambda: samples_agree(one), "the histograms")
        admin(one, "POST", f"/models/{NAME}/rollback")
        eventually(lambda: not one.get(f"/v1/models/{NAME}")["policy"]["canary"], "the roll-back")


def samples_agree(one: Service) -> bool:
    """Whether each histogram has as many values as requests were compared, with sums that can be."""
    wanted = compared(one)
    for name, least, most in (
        ("overlap_at_10", 0.5, 1.0),
        ("kendall_tau", 0.5, 1.0),
        ("score_distance", 0.0, 0.1),
    ):
        whole = f"slimrank_shadow_{name}"
        found = {"_count": 0.0, "_sum": 0.0}
        for part in found:
            found[part] = sum(value for _, value in samples(one, whole + part))
        if found["_count"] != wanted or not least <= found["_sum"] / wanted <= most:
            return False
    differences = sum(value for _, value in samples(one, "slimrank_shadow_score_difference_count"))
    return differences == wanted
