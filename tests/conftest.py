"""What all tests share."""

from hypothesis import settings

# The same examples in every run, and no limit on the time of one: the machine may be busy.
settings.register_profile("slimrank", deadline=None, derandomize=True)
settings.load_profile("slimrank")
