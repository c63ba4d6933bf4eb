"""What sacct, sreport and sacctmgr share."""
