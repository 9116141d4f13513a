"""What people would otherwise write or install, each made to give Latentry's own answers; see docs/benchmarks.md."""
