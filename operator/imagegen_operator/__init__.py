"""The operator: an ImageModel becomes inference pods with a status that explains itself."""
