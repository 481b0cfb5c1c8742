"""Who may use a gallery, and who did: keys with roles, kept as hashes; a log."""
