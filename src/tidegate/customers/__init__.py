"""The customer model: records of many pipelines and accounts, of which one customer each becomes one profile."""
