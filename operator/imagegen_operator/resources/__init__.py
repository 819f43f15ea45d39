"""Builders of Kubernetes objects: pure, plain dictionaries out, one file a kind."""
