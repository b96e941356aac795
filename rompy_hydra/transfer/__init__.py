"""Files by URL: inputs that are fetched, results that are stored."""
