"""Tests of everything: of parts beside the parts they are of, and of the whole in `e2e`."""

import os

# Such small networks are slower on several threads, the more so beside other tests. It is read when torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
