"""The `imagegen` command: makes pictures, lists models, checks catalogs. Imports only the contract."""
