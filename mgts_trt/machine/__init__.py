"""What this computer has: CPU, GPUs, caches on disk, files written safely."""
