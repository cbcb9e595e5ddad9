"""States that were released: schema, rendered files and a few events of each, from which tests upgrade to today's."""
