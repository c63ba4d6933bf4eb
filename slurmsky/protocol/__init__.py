"""The wire protocol: frames, job log, sealed messages. Python 3.9, standard library."""
