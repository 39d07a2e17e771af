"""The text that models are fused on: reading, cutting into chunks, tokenising, and the models that read it."""
