"""Second operating system processes for the cases: workers that write and are killed, and processes that fork."""
