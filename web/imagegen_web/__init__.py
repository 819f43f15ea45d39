"""What every program that speaks our HTTP API does alike: errors, request ids, the documentation pages, listening."""
