"""Heads that need no parsing again: the same bytes before just as many bytes, and nothing else."""

from app.api.known_heads import KnownHeads

HEAD = b"POST /v1/models/m/rank HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"


def known() -> KnownHeads:
    heads = KnownHeads()
    heads.learn(HEAD + b"abcd", "m", "rank", 4)
    return heads


def test_the_same_head_with_another_body_is_known() -> None:
    found = known().find(HEAD + b"wxyz")
    assert found is not None
    assert (found.model, found.route) == ("m", "rank")
    assert (HEAD + b"wxyz")[found.body_at :] == b"wxyz"


def test_whatever_else_is_parsed() -> None:
    heads = known()
    for data in (
        HEAD + b"wxy",
        HEAD + b"wxyzz",
        HEAD + b"wxyz" + HEAD + b"wxyz",
        HEAD,
        HEAD[:-2],
        b"",
        b"\r\n" + HEAD + b"wxyz",
        HEAD.replace(b"Host", b"host") + b"wxyz",
    ):
        assert heads.find(data) is None, data


def test_only_a_head_with_its_whole_body_and_no_more_is_learned() -> None:
    heads = KnownHeads()
    heads.learn(HEAD + b"abcd" + HEAD + b"abcd", "m", "rank", 4)
    heads.learn(
        HEAD.replace(b"Content-Length: 4", b"Transfer-Encoding: chunked") + b"4\r\nabcd\r\n0\r\n\r\n",
        "m",
        "rank",
        4,
    )
    heads.learn(HEAD.replace(b"Host: x", b"Host: " + b"x" * 2000) + b"abcd", "m", "rank", 4)
    assert len(heads) == 0


def test_the_number_of_heads_is_bounded() -> None:
    heads = KnownHeads()
    for number in range(2000):
        heads.learn(HEAD.replace(b"x", b"%d" % number) + b"abcd", "m", "rank", 4)
    assert 0 < len(heads) <= 512
