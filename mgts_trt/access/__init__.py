"""Who may use a gallery: keys with roles, kept as hashes."""
