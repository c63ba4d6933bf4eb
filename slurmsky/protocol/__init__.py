"""The wire protocol: frames, job log, sealed messages. Runs on Python 3.9 with the standard library."""
