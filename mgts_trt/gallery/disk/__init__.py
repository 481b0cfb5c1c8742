"""What lies on the disk under a gallery: LanceDB's files, locks, checksums, and erasures that are under way."""
