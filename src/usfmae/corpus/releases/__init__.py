"""What lies in an unpacked release: which files are frames, and what its tables say of them."""
