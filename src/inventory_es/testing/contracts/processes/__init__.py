"""Second processes of the cases: workers that write and are killed, and processes that fork."""
