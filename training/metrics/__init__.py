"""Metrics of generative models: pure functions of arrays, one file each, named by their protocol."""
