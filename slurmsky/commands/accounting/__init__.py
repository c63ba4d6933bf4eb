"""Code shared by sacct, sreport and sacctmgr."""
