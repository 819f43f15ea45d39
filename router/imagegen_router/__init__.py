"""One OpenAI-compatible endpoint for all models and pods."""
