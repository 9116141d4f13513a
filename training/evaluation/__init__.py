"""What `training.evaluate` measures, by subject: results that say how they were got."""
