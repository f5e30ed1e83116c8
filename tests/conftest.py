"""One thread per test process: the models are tiny, and processes run side by side."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
