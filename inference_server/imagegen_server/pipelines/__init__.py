"""The only room that imports torch, diffusers and transformers: one file a pipeline family, and what they share."""
