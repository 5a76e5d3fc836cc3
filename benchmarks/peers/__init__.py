"""What users run today, as they would write it: measured beside headstart, in an environment of its own."""
