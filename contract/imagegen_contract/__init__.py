"""What two components must agree on: messages, settings, names. Imports only msgspec and the standard library."""
