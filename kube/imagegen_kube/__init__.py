"""The way to the API server, for every program that needs one."""
