"""Pure: one condition of the status a file, each a chain of checks of which the first that applies wins."""
