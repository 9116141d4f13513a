"""Images from files: where they may lie (`datasets.load`), and how each layout is read."""
