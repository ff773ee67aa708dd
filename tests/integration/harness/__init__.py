"""What the integration tests are built from: PostgreSQL, the pooler, a raw protocol client, fake servers."""
