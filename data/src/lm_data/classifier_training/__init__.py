"""Training of text classifiers: labelled text in, a model with its measured decision out."""
