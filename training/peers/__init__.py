"""What one would otherwise train: textbook models and another package's, for as long as ours, and measured alike."""
