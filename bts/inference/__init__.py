"""Inference: from a model folder and a slice to a prediction, and from predictions to files."""
