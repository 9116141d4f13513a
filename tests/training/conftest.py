"""`make test` runs these tests in several processes: each with one thread, so that they are not in each other's way."""

import os

import torch

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # of what a test starts
    torch.set_num_threads(1)
