"""What ClickHouse holds."""
