"""The waits between restarts."""

from app.backoff import LONG_LIFE_SECONDS, LONGEST_SECONDS, Backoff


def test_at_once_first_then_longer_and_longer_up_to_a_bound() -> None:
    backoff = Backoff()
    waits = [backoff.seconds_after(0.1) for _ in range(9)]
    assert waits == [0, 1, 2, 4, 8, 16, LONGEST_SECONDS, LONGEST_SECONDS, LONGEST_SECONDS]


def test_a_long_life_wipes_the_slate_clean() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.seconds_after(0.1)
    assert backoff.seconds_after(LONG_LIFE_SECONDS) == 0
    assert backoff.seconds_after(0.1) == 1


def test_it_survives_any_number_of_deaths() -> None:
    assert Backoff(deaths=100_000).seconds_after(0.1) == LONGEST_SECONDS
