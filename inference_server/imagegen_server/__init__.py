"""The inference server: the OpenAI Images API over diffusers pipelines."""
