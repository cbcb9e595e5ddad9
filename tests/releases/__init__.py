"""States that were released: schema, Vector's configuration and a few events of each, from which tests upgrade to today's."""
